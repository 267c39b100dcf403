from __future__ import annotations

import pytest

from upon_build.registry.challenge import Challenge, merge_scopes, parse_challenges


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], []),
        (["Basic"], [Challenge("basic")]),
        (['Basic realm="a registry"'], [Challenge("basic", {"realm": "a registry"})]),
        (
            ['Bearer realm="https://auth.example/token",service="r.example",scope="repository:a/b:pull,push"'],
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://auth.example/token",
                        "service": "r.example",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
        ),
        (["bearer REALM = x , service=y"], [Challenge("bearer", {"realm": "x", "service": "y"})]),
        ([r'Bearer realm="with \"quotes\""'], [Challenge("bearer", {"realm": 'with "quotes"'})]),
        (
            ['Basic realm="one", Bearer realm="two",service="s"'],
            [Challenge("basic", {"realm": "one"}), Challenge("bearer", {"realm": "two", "service": "s"})],
        ),
        (
            ["Basic realm=a", "Bearer realm=b"],
            [Challenge("basic", {"realm": "a"}), Challenge("bearer", {"realm": "b"})],
        ),
        (['Bearer realm="never ends'], [Challenge("bearer")]),
        (["\x00"], []),
    ],
)
def test_challenges_are_read(headers: list[str], expected: list[Challenge]) -> None:
    assert expected == parse_challenges(headers)


def test_scopes_of_one_repository_become_one() -> None:
    assert ("repository:a:pull,push", "repository:b/c:pull") == merge_scopes(
        ["repository:b/c:pull", "repository:a:push"], ["repository:a:pull"]
    )
