from __future__ import annotations

import pytest

from upon import UsageError
from upon_build.cli.exits import Exit, exit_of
from upon_build.registry.errors import InvalidReference, RegistryError, RegistryUnavailable
from upon_build.registry.reference import Reference, is_loopback, parse_reference

DIGEST = "sha256:" + "a1" * 32


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("python", Reference("docker.io", "library/python")),
        ("python:3.11-slim", Reference("docker.io", "library/python", "3.11-slim")),
        ("acme/app", Reference("docker.io", "acme/app")),
        ("docker.io/python", Reference("docker.io", "library/python")),
        ("index.docker.io/acme/app", Reference("docker.io", "acme/app")),
        ("registry-1.docker.io/acme/app", Reference("docker.io", "acme/app")),
        ("ghcr.io/acme/team/app:v1", Reference("ghcr.io", "acme/team/app", "v1")),
        ("localhost/app", Reference("localhost", "app")),
        ("localhost:5000/app", Reference("localhost:5000", "app")),
        ("127.0.0.1:5000/a/b:c", Reference("127.0.0.1:5000", "a/b", "c")),
        ("[::1]:5000/app:c", Reference("[::1]:5000", "app", "c")),
        (f"ghcr.io/acme/app@{DIGEST}", Reference("ghcr.io", "acme/app", None, DIGEST)),
        (f"ghcr.io/acme/app:v1@{DIGEST}", Reference("ghcr.io", "acme/app", "v1", DIGEST)),
        ("Example/app", Reference("Example", "app")),
        ("a/b__c/d-e--f.g_h", Reference("docker.io", "a/b__c/d-e--f.g_h")),
    ],
)
def test_a_reference_is_read_by_dockers_rules_and_written_back_whole(text: str, expected: Reference) -> None:
    found = parse_reference(text)
    assert expected == found
    assert expected == parse_reference(str(found))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "no repository"),
        ("https://ghcr.io/acme/app", "has a scheme"),
        ("ghcr.io/Acme/app", "'Acme/app' is no repository"),
        ("ghcr.io/acme//app", "no repository"),
        ("ghcr.io/acme/app/", "no repository"),
        ("ghcr.io/../app", "no repository"),
        ("app:", "is no tag"),
        ("app:bad tag", "is no tag"),
        (f"app:{'x' * 129}", "is no tag"),
        ("app@sha256:12", "'sha256:12' is no digest"),
        (f"app@md5:{'a' * 32}", "is no digest"),
        ("user@host.io:5000/app", "is no digest"),
        ("-host.io/app", "'-host.io' is no host"),
        ("host.io:port/app", "'host.io:port' is no host"),
        (f"ghcr.io/{'a' * 256}", "no repository"),
    ],
)
def test_what_names_no_image_is_refused_with_the_part_that_is_wrong(text: str, fault: str) -> None:
    with pytest.raises(InvalidReference, match=fault) as raised:
        parse_reference(text)
    assert repr(text[:200]) in str(raised.value)
    assert isinstance(raised.value, UsageError)


def test_the_endpoint_of_docker_hub_has_another_name() -> None:
    assert "registry-1.docker.io" == parse_reference("python").endpoint
    assert "ghcr.io" == parse_reference("ghcr.io/acme/app").endpoint


def test_the_digest_is_wanted_before_the_tag_and_the_tag_before_latest() -> None:
    assert DIGEST == parse_reference(f"app:v1@{DIGEST}").wanted
    assert "v1" == parse_reference("app:v1").wanted
    assert "latest" == parse_reference("app").wanted


def test_a_reference_can_be_turned_to_a_digest() -> None:
    assert f"ghcr.io/acme/app@{DIGEST}" == str(parse_reference("ghcr.io/acme/app:v1").at(DIGEST))


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1:5000", True),
        ("localhost:5000", True),
        ("[::1]:5000", True),
        ("[::1]", True),
        ("128.0.0.1", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("[::2]:5000", False),
        ("registry.local:5000", False),
    ],
)
def test_only_names_of_this_machine_are_local(host: str, expected: bool) -> None:
    assert expected == is_loopback(host)


def test_errors_have_their_exit_codes() -> None:
    assert Exit.UNAVAILABLE == exit_of(RegistryUnavailable("nobody there"))
    assert Exit.FAILED == exit_of(RegistryError("500"))
    assert Exit.USAGE == exit_of(InvalidReference("no"))
