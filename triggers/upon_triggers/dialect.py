"""Cron expressions as other tools write them, translated where five fields can say it."""

from __future__ import annotations

import re
from itertools import pairwise

FIELDS = ("minute", "hour", "day-of-month", "month", "day-of-week")
MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_RANGES = {"minute": (0, 59), "hour": (0, 23), "day-of-month": (1, 31), "month": (1, 12), "day-of-week": (0, 7)}


def unfold(expression: str) -> str | None:
    """An expression without its macro; None for a macro that is not known."""
    text = expression.strip()
    return MACROS.get(text.lower()) if text.startswith("@") else text


def wrong_macro(expression: str) -> str:
    text = expression.strip().lower()
    if text == "@reboot":
        return (
            f"schedule {expression!r} is no time: open what is needed at the start as a @upon.resource, or fire once"
            " with `func run --tick`"
        )
    every = re.fullmatch(r"@every\s+(\d+)\s*([smh])", text)
    if every:
        return f"schedule {expression!r} is not known: {_every(int(every[1]), every[2])}"
    return f"schedule {expression!r} is not known: use five fields or one of {', '.join(MACROS)}"


def wrong_call(expression: str) -> str | None:
    """AWS's `cron(...)` and `rate(...)`."""
    found = re.fullmatch(r"(cron|rate)\((.*)\)", expression.strip(), re.IGNORECASE)
    if found is None:
        return None
    head = f"schedule {expression!r} is written for AWS"
    if found[1].lower() == "cron":
        fields = found[2].split()
        return f"{head}: write {_quartz(fields[:5])!r}" if len(fields) == 6 else f"{head}: write five fields"
    rate = re.fullmatch(r"\s*(\d+)\s+(minute|hour|day)s?\s*", found[2], re.IGNORECASE)
    return f"{head}: {_every(int(rate[1]), rate[2][0].lower())}" if rate else f"{head}: write five fields"


def _every(number: int, unit: str) -> str:
    """What to write for a period; unit: s, m, h or d."""
    for small, large, factor in (("s", "m", 60), ("m", "h", 60), ("h", "d", 24)):
        if unit == small and number % factor == 0:
            number, unit = number // factor, large
    step = "*" if number == 1 else f"*/{number}"
    if unit == "d" and number == 1:
        return "write '0 0 * * *'"
    if unit == "h" and number and 24 % number == 0:
        return f"write '0 {step} * * *'"
    if unit == "m" and number and 60 % number == 0:
        return f"write '{step} * * * *'"
    if unit == "s":
        return "nothing fires more often than once a minute, and on whole minutes"
    return "five fields name times of the day, and can't count from one tick to the next"


def wrong_count(expression: str, fields: list[str]) -> str:
    message = f"schedule {expression!r} has {_counted(fields)} instead of five ({' '.join(FIELDS)})"
    if len(fields) not in (6, 7):
        return f"{message}: write for instance '0 3 * * *'"
    if len(fields) == 6 and "?" in (fields[2], fields[4]):  # only AWS has a year and no seconds
        return f"{message}: the year comes off the end, so write {_quartz(fields[:5])!r}"
    kept = _quartz(fields[1:6]) if "?" in fields or len(fields) == 7 else " ".join(fields[1:6])
    lost = "" if fields[0] == "0" else "; nothing fires more often than once a minute"
    return f"{message}: the seconds come off the front, so write {kept!r}{lost}"


def _counted(fields: list[str]) -> str:
    return f"{len(fields)} field{'' if len(fields) == 1 else 's'}"


def _quartz(fields: list[str]) -> str:
    """Quartz and AWS have `?` for "any", and count the days of the week from 1, which is Sunday."""
    *rest, weekday = ["*" if field == "?" else field for field in fields]
    head, step, every = weekday.partition("/")
    days = re.sub(r"(?<![\d#])[1-7](?![\d])", lambda found: _DAYS[int(found[0]) - 1], head)
    days = re.sub(r"(SUN|MON|TUE|WED|THU|FRI|SAT)L", lambda found: f"{_DAYS.index(found[1])}L", days)
    return " ".join([*rest, days + step + every])


def wrong_field(expression: str, fields: list[str], name: str) -> str:
    """A field that can't be read, with what to write instead."""
    if "?" in fields:
        plain = " ".join("*" if field == "?" else field for field in fields)
        return f"schedule {expression!r}: '?' is Quartz's sign for any: write {plain!r}"
    value = fields[FIELDS.index(name)] if name in FIELDS else expression
    message = f"schedule {expression!r}: {name} {value!r} can't be read"
    if re.fullmatch(r"H(\(.*\))?(/\d+)?", value, re.IGNORECASE):
        return f"{message}: write a time, and jitter= (seconds) to spread what would fire at once"
    if name == "day-of-month" and re.fullmatch(r"\d+W", value, re.IGNORECASE):
        return f"{message}: nothing finds the nearest weekday; fire daily, and let the function look at event.time"
    better = _better(name, value)
    if better is not None:
        fields = [better if field == name else kept for field, kept in zip(FIELDS, fields, strict=True)]
        return f"{message}: write {' '.join(fields)!r}"
    return f"{message}: use a number of its range, '*', a list '1,2', a range '1-5' or a step '*/5'"


def _better(name: str, value: str) -> str | None:
    """The field in our own words, where there is no doubt what was meant."""
    terms = [_term(name, term) for term in value.upper().split(",")]
    better = ",".join(term for term in terms if term is not None)
    return better if None not in terms and better != value.upper() else None


def _term(name: str, term: str) -> str | None:
    low, high = _RANGES[name]
    names = {"day-of-week": _DAYS, "month": _MONTHS}.get(name, ())
    term = re.sub(r"[A-Z]{4,}", lambda found: found[0][:3] if found[0][:3] in names else found[0], term)
    if (name, term) == ("hour", "24"):
        return "0"
    ends = [_number(end, names, low) for end in term.split("-")]
    if any(end is None or not low <= end <= high for end in ends):
        return None
    numbers = [end for end in ends if end is not None]
    if len(numbers) != 2 or all(a <= b for a, b in pairwise(numbers)):
        return term if len(numbers) <= 2 else None
    first, last = term.split("-")
    if name == "day-of-week":  # a week's end is written out: SUN is 0 and 7
        days = [*range(numbers[0], 7), *range(numbers[1] % 7 + 1)]
        return "*" if len(days) == 7 else ",".join(_DAYS[day] for day in days)
    return f"{first}-{high},{low}-{last}"


def _number(text: str, names: tuple[str, ...], low: int) -> int | None:
    if text in names:
        return names.index(text) + low
    return int(text) if text.isdigit() else None
