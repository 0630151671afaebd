"""Cron expressions: the contract's dialect, and what they mean in a time zone whose clocks are put forward and back.

The calendar is cronsim's. The zones are ours: cronsim's own rules for them are Debian's for expressions of 5 fields
only, and lose or repeat runs in some zones (docs/adr/0018-schedules.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

FIELDS = 6
MAX_CHARS = 200
ALIASES = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
    "@minutely": "0 * * * * *",
    "@secondly": "* * * * * *",
    "@weekdays": "0 0 0 * * 1-5",
    "@weekends": "0 0 0 * * 0,6",
}
_PADDING = ("0", "*", "*", "*", "*", "*")
_WHOLE = {3: "1-31", 5: "0-7"}
"""Day of the month and of the week, where a star is part of something."""
_ONE_STEPPED = re.compile(r"\b(\w+)-\1/0*[1-9]\d*\b")
_SECOND = timedelta(seconds=1)
_ANYWHERE = datetime(2024, 1, 1)  # noqa: DTZ001 - a time on the wall


class CronInvalid(ValueError):
    """No such expression, or one that never comes. Says what is wrong with it and what would do."""


@lru_cache(maxsize=10_000)
def parse(text: str) -> str:
    """The expression as six fields that cronsim takes. Raises CronInvalid.

    Seconds come first where there are six fields. Fewer fields are padded on the left with `0 * * * * *`. `?` is `*`.
    Days of the month and of the week are alternatives unless one of them is a plain star.
    """
    fields = ALIASES.get(text.strip().lower(), text).upper().split()
    if text.strip().startswith("@") and text.strip().lower() not in ALIASES:
        raise CronInvalid(f"there is no {text.strip()[:20]!r}; there are {', '.join(ALIASES)}")
    if not fields or len(fields) > FIELDS or len(text) > MAX_CHARS:
        raise CronInvalid(
            f"{len(fields)} fields; it takes 5 (minute, hour, day of month, month, day of week) or 6 (seconds first),"
            " e.g. 30 3 * * 1-5"
        )
    fields = [field.replace("?", "*") for field in [*_PADDING[: FIELDS - len(fields)], *fields]]
    for place, whole in _WHOLE.items():
        if fields[place] != "*":
            # Debian's cron, and so cronsim, takes */2 as a star; the contract's dialect does not.
            fields[place] = fields[place].replace("*", whole)
    # cronsim takes 7-7/2 as 7/2, which goes on to the end.
    expression = _ONE_STEPPED.sub(r"\1", " ".join(fields))
    try:
        next(CronSim(expression, _ANYWHERE))
    except CronSimError as error:
        raise CronInvalid(f"{str(error)[:1].lower()}{str(error)[1:]} in {text[:60]!r}, e.g. 30 3 * * 1-5") from None
    except StopIteration:
        raise CronInvalid(f"{text[:60]!r} does not come within 50 years") from None
    return expression


def first_after(text: str, zone: ZoneInfo, moment: datetime) -> datetime | None:
    """The first moment (UTC) strictly after `moment` that `text` names on the clocks of `zone`; None: never again.

    A fixed time (neither the minute nor the hour begins with a star) comes once a day that has it: in the hour that is
    skipped when clocks go forward, at the moment they do; in the hour that is repeated when they go back, the first
    time. Anything more frequent goes by the clock as it is: nothing in the skipped hour, again in the repeated one.

    Raises CronInvalid.
    """
    expression = parse(text)
    wall = moment.astimezone(zone)
    first, second = (wall.replace(fold=fold).utcoffset() for fold in (0, 1))
    if is_fixed(expression):
        found = [_first(expression, zone, wall, moment, fold=0, gap_counts=True)]
    elif first == second:
        found = [_first(expression, zone, wall, moment, fold=0)]
    else:
        # Clocks show this time twice. What is due in the second pass may come before what comes after it in the first.
        assert first is not None
        assert second is not None
        start = wall - abs(first - second)
        found = [_first(expression, zone, start, moment, fold=fold) for fold in (0, 1)]
    return min(filter(None, found), default=None)


def is_fixed(expression: str) -> bool:
    """Whether a parsed expression names times of the day, and not every hour or every so many minutes."""
    _, minute, hour, *_ = expression.split()
    return not minute.startswith("*") and not hour.startswith("*")


def _first(
    expression: str, zone: ZoneInfo, start: datetime, moment: datetime, *, fold: int, gap_counts: bool = False
) -> datetime | None:
    """The first of the matching times on the wall after `start` whose moment is after `moment`.

    fold: which pass of a repeated hour is meant.
    """
    for wall in _walls(expression, start.replace(tzinfo=None, fold=0)):
        shown = wall.replace(tzinfo=zone, fold=fold)
        found = shown.astimezone(UTC)
        if found.astimezone(zone).replace(tzinfo=None, fold=0) != wall:
            if not gap_counts:
                continue
            found = _end_of_gap(wall, zone)
        if found > moment:
            return found
    return None


def _walls(expression: str, start: datetime) -> Iterator[datetime]:
    # cronsim may not be asked for years that datetime does not have.
    try:
        yield from CronSim(expression, start)
    except OverflowError:
        return


def _end_of_gap(wall: datetime, zone: ZoneInfo) -> datetime:
    """The moment at which the clocks of `zone` jump over `wall`, a time they never show."""
    before, after = (wall.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    assert before is not None
    assert after is not None
    # With the offset after the jump it has not happened yet, with that before it has: it is between the two.
    low, high = (wall - after).replace(tzinfo=UTC), (wall - before).replace(tzinfo=UTC)
    while high - low > _SECOND:
        middle = low + (high - low) // 2
        middle = middle.replace(microsecond=0)
        low, high = (low, middle) if middle.astimezone(zone).utcoffset() == after else (middle, high)
    return high
