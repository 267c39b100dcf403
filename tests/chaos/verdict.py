"""Were the promises kept? Logs, dead letters and replies against what the seed says must have happened."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos import behaviour
from chaos.journal import EXAMPLES, Journal
from chaos.plan import Plan

KIND = "upon-error-kind"
ERROR = "upon-error"


@dataclass
class Kept:
    """One function's figures, and what is wrong with them."""

    function: str
    events: int
    handled: int
    dead: dict[str, int]
    letters: int
    deliveries: int
    duplicates: int
    bound: int
    most_of_one_process: int
    most_in_a_second: int
    torn_lines: int
    crashed: list[str]
    problems: list[str] = field(default_factory=list)


def bound_of(plan: Plan, disturbances: int, commit_records: int) -> int:
    """How many duplicates one function may see: each disturbance repeats what was in flight or not yet committed."""
    return disturbances * (plan.max_in_flight + commit_records)


def judge(plan: Plan, journal: Journal, letters: Sequence[Any], bound: int) -> Kept:
    """letters: the messages of the function's dead-letter topic."""
    kinds: dict[int, set[str]] = defaultdict(set)
    for letter in letters:
        headers = dict(letter.headers() or [])
        kinds[json.loads(letter.value())["n"]].add((headers.get(KIND) or b"?").decode())
    kept = Kept(
        function=journal.function.name,
        events=journal.count,
        handled=len(journal.done),
        dead=dict(Counter(kind for found in kinds.values() for kind in found)),
        letters=len(letters),
        deliveries=journal.lines,
        duplicates=journal.repeated,
        bound=bound,
        most_of_one_process=max(journal.blamed.values(), default=0),
        most_in_a_second=journal.most_in_a_second,
        torn_lines=journal.torn,
        crashed=_crashed(plan, journal, letters),
    )
    kept.problems += _fates(plan, journal, kinds)
    kept.problems += _order(journal, kinds)
    if journal.repeated > bound:
        kept.problems.append(f"{journal.repeated} duplicates, and at most {bound} may be")
    if journal.written_twice:
        kept.problems.append(f"the harness wrote {journal.written_twice} events twice")
    return kept


def _crashed(plan: Plan, journal: Journal, letters: Sequence[Any]) -> list[str]:
    """Events that were given up because processes died while they were handled: unlucky, but said to happen."""
    found = []
    for letter in letters:
        headers = dict(letter.headers() or [])
        if headers.get(KIND) == b"crashed":
            number = json.loads(letter.value())["n"]
            destiny = behaviour.fate(plan.seed, journal.function.name, number)
            found.append(f"{number} ({destiny}): {(headers.get(ERROR) or b'').decode()}")
    return found


def _fates(plan: Plan, journal: Journal, kinds: Mapping[int, set[str]]) -> list[str]:
    """Every event is handled or in the dead letter, and there for the right reason."""
    function, done = journal.function.name, journal.done
    problems = []
    lost = [number for number in range(journal.count) if number not in done and number not in kinds]
    if lost:
        problems.append(f"{len(lost)} events are lost: {lost[:EXAMPLES]}")
    expected = {"rejected": "rejected", "broken": "error"}
    wrong = []
    for number in range(journal.count):
        wanted = expected.get(behaviour.fate(plan.seed, function, number))
        found = kinds.get(number, set())
        if plan.kills:  # it may have been there whenever a process was killed
            found = found - {"crashed"}
        if found - {wanted} or (wanted in expected.values() and not kinds.get(number)):
            wrong.append((number, wanted, sorted(found)))
    if wrong:
        problems.append(f"{len(wrong)} events with the wrong dead letter (event, wanted, found): {wrong[:EXAMPLES]}")
    return problems


def _order(journal: Journal, kinds: Mapping[int, set[str]]) -> list[str]:
    problems = [f"out of order: {example}" for example in journal.disorder]
    # One that was given up because processes die of it is given up without a last word of its handler.
    overtaken = [pair for pair in journal.overtaken if "crashed" not in kinds.get(pair[0], set())]
    if overtaken:
        problems.append(
            f"{len(overtaken)} events began before the one before them was finished (earlier, later):"
            f" {overtaken[:EXAMPLES]}"
        )
    return problems


def judge_replies(journal: Journal, replies: Sequence[Any]) -> list[str]:
    """Every handled event has its reply; a repeated one has the same id."""
    ids: dict[int, set[bytes]] = defaultdict(set)
    for reply in replies:
        ids[json.loads(reply.value())["n"]].add(dict(reply.headers() or [])["ce_id"])
    problems = []
    if missing := journal.done - ids.keys():
        problems.append(f"{len(missing)} events were handled and not answered: {sorted(missing)[:EXAMPLES]}")
    if differing := [number for number, found in ids.items() if len(found) > 1]:
        problems.append(f"{len(differing)} events have answers with different ids: {differing[:EXAMPLES]}")
    return problems
