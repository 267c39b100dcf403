"""A run's figures for people."""

from __future__ import annotations

from chaos.run import Result
from upon_triggers.kafka.ownership import COMMIT_EVERY, COMMIT_RECORDS


def summary(result: Result) -> str:
    plan = result.plan
    lines = [
        "",
        f"{plan.events} events, {plan.kills} kills, seed {plan.seed}, {plan.mode}: {result.seconds:.0f} s,"
        f" {plan.events / max(result.seconds, 1):.0f}/s",
        f"done: {_counts(result.did)}",
        f"members: {_counts(result.members)}",
        f"at most {plan.max_in_flight} in flight a partition (delivery.maxInFlight), a commit every {COMMIT_EVERY:g} s"
        f" or {COMMIT_RECORDS} records",
        f"bound: {result.disturbances} kills and freezes x ({plan.max_in_flight} + {COMMIT_RECORDS})",
        "",
        f"{'function':<11}{'events':>9}{'handled':>9}{'dead':>7}{'tries':>9}{'duplicates':>12}{'bound':>9}"
        f"{'of one process':>16}{'most a second':>15}",
    ]
    lines += [
        f"{kept.function:<11}{kept.events:>9}{kept.handled:>9}{sum(kept.dead.values()):>7}{kept.deliveries:>9}"
        f"{kept.duplicates:>12}{kept.bound:>9}{kept.most_of_one_process:>16}{kept.most_in_a_second:>15}"
        for kept in result.functions
    ]
    lines += [f"  dead letters of {kept.function}: {_counts(kept.dead)}" for kept in result.functions]
    lines += [f"  given up as crashed, {kept.function}: {text}" for kept in result.functions for text in kept.crashed]
    problems = result.problems + [f"{kept.function}: {text}" for kept in result.functions for text in kept.problems]
    lines += ["", "PASSED: nothing lost, in order, duplicates within the bound" if result.passed else "FAILED"]
    lines += [f"- {problem}" for problem in problems]
    return "\n".join(lines)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "nothing"
