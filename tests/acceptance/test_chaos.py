"""The promise of delivery under kill -9, at a small size; `make chaos EVENTS=1000000 KILLS=100` is the full one."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.plan import Plan
from chaos.report import summary
from chaos.run import Result, run
from support.kafka import KafkaUnavailable

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(420)]


def performed(plan: Plan, folder: Path) -> Result:
    try:
        result = run(plan, folder, print)
    except KafkaUnavailable as error:
        pytest.skip(str(error))
    print(summary(result))
    return result


def test_kill_dash_nine_of_members_and_broker_loses_nothing_and_keeps_the_order(tmp_path: Path) -> None:
    result = performed(Plan(seed=1, events=5000, kills=4), tmp_path)
    assert [] == result.problems
    assert [] == [problem for kept in result.functions for problem in kept.problems]
    assert {"kill member": 3, "kill broker": 1} == {act: n for act, n in result.did.items() if act.startswith("kill")}
    assert 5000 == sum(kept.events for kept in result.functions)


def test_kill_dash_nine_of_triggers_function_and_broker_loses_nothing(tmp_path: Path) -> None:
    result = performed(Plan(seed=3, events=4000, kills=4, members=2, mode="host"), tmp_path)
    assert [] == result.problems
    assert [] == [problem for kept in result.functions for problem in kept.problems]
    kills = {"kill member": 1, "kill function": 2, "kill broker": 1}
    assert kills == {act: n for act, n in result.did.items() if act.startswith("kill")}


def test_without_kills_and_rebalances_nothing_is_delivered_twice(tmp_path: Path) -> None:
    result = performed(Plan(seed=2, events=5000, kills=0), tmp_path)
    assert result.passed, summary(result)
    assert [0, 0, 0, 0] == [kept.duplicates for kept in result.functions]
    assert 5000 == sum(kept.handled + sum(kept.dead.values()) for kept in result.functions)
