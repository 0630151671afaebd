"""Cron expressions: the dialect, and the clocks of ten zones through a year against brute force."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from schedules import cron
from schedules.cron import CronInvalid

ZONES = (
    "UTC", "Europe/Helsinki", "Europe/London", "America/New_York", "America/St_Johns", "America/Havana",
    "Africa/Cairo", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Chatham", "America/Santiago",
    "Africa/Casablanca",
)  # fmt: skip
"""Gaps and overlaps of an hour and of half an hour, at midnight and at night, twice a year and four times, and none."""
YEAR = 2026
UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)
"""Brute force is too slow to try a finding a thousand times in smaller forms; as found it is plain enough."""


def times(text: str, zone: str, start: str, count: int) -> list[str]:
    """The next times as clocks show them, with their offset."""
    found: list[str] = []
    moment = datetime.fromisoformat(start).astimezone(UTC)
    while len(found) < count:
        after = cron.first_after(text, ZoneInfo(zone), moment)
        assert after is not None
        moment = after
        found.append(moment.astimezone(ZoneInfo(zone)).isoformat(timespec="seconds"))
    return found


# The dialect


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("*/5 * * * *", "0 */5 * * * *"),
        ("*/5 * * * * *", "*/5 * * * * *"),
        ("30 3 * * mon-fri", "0 30 3 * * MON-FRI"),
        ("0 12 ? JAN,jul ?", "0 0 12 * JAN,JUL *"),
        ("0 0 L * *", "0 0 0 L * *"),
        ("0 0 * * 5L", "0 0 0 * * 5L"),
        ("0 0 * * 1#2", "0 0 0 * * 1#2"),
        ("5 1-7/2 * *", "0 * 5 1-7/2 * *"),
        ("5", "0 * * * * 5"),
        ("@daily", "0 0 0 * * *"),
        (" @WEEKLY ", "0 0 0 * * 0"),
        ("0 0 */2 * 1", "0 0 0 1-31/2 * 1"),
        ("49-49/5 1-10/2 * * *", "0 49 1-10/2 * * *"),
    ],
)
def test_the_dialect_comes_to_six_fields(text: str, fields: str) -> None:
    assert cron.parse(text) == fields


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "* * * * * * *", "@never", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 13 *",
        "* * * * 8", "*/0 * * * *", "5-1 * * * *", "a * * * *", "1,,2 * * * *", "* * * * L", "L * * * *", "0 0 30 2 *",
        "0 0 31 4,6 *", "* * * * 1#6", "-1 * * * *", "1.5 * * * *", "１ * * * *",
    ],
)  # fmt: skip
def test_what_is_no_expression_or_never_comes_is_refused(text: str) -> None:
    with pytest.raises(CronInvalid):
        cron.parse(text)


@given(st.text(alphabet="0123456789*/,-?#@LWlwSUNMOjan \t²", max_size=30))
def test_no_text_does_worse_than_being_refused(text: str) -> None:
    try:
        expression = cron.parse(text)
    except CronInvalid:
        return
    assert cron.parse(expression) == expression


def test_days_of_month_and_week_are_alternatives_unless_one_is_a_star() -> None:
    either = times("0 0 13 * 5", "UTC", "2026-01-31T00:00:00+00:00", 5)
    step = times("0 0 */10 * 1", "UTC", "2026-03-01T00:00:00+00:00", 5)
    both = times("0 0 1-7 * ?", "UTC", "2026-01-31T00:00:00+00:00", 2)

    assert [day[5:10] for day in either] == ["02-06", "02-13", "02-20", "02-27", "03-06"]
    assert [day[5:10] for day in step] == ["03-02", "03-09", "03-11", "03-16", "03-21"]
    assert [day[5:10] for day in both] == ["02-01", "02-02"]


def test_last_days() -> None:
    assert [day[5:10] for day in times("0 0 L * *", "UTC", "2026-01-01T00:00:00+00:00", 3)] == [
        "01-31", "02-28", "03-31",
    ]  # fmt: skip
    fridays = times("0 0 * * FRI#5", "UTC", "2026-01-01T00:00:00+00:00", 2)
    assert [day[5:10] for day in fridays] == ["01-30", "05-29"]
    assert [day[5:10] for day in times("0 0 * * 5L", "UTC", "2026-01-01T00:00:00+00:00", 2)] == ["01-30", "02-27"]


def test_a_leap_day_is_waited_for() -> None:
    assert times("0 0 29 2 *", "UTC", "2026-11-21T00:00:00+00:00", 2) == [
        "2028-02-29T00:00:00+00:00", "2032-02-29T00:00:00+00:00",
    ]  # fmt: skip


def test_after_the_last_year_there_is_nothing() -> None:
    assert cron.first_after("0 0 1 1 *", ZoneInfo("UTC"), datetime(9999, 12, 31, 12, tzinfo=UTC)) is None


# The gap and the overlap


@pytest.mark.parametrize("text", ["30 2 * * *", "0 30 2 * * *", "0,30 2 * * *", "30 2 8 3 *"])
def test_a_fixed_time_that_is_skipped_comes_when_the_clocks_jump(text: str) -> None:
    assert times(text, "America/New_York", "2026-03-08T00:00:00-05:00", 1) == ["2026-03-08T03:00:00-04:00"]


def test_what_the_gap_swallowed_and_what_comes_at_its_end_are_one() -> None:
    assert times("0 2,3 * * *", "America/New_York", "2026-03-08T00:00:00-05:00", 2) == [
        "2026-03-08T03:00:00-04:00", "2026-03-09T02:00:00-04:00",
    ]  # fmt: skip


def test_a_fixed_time_that_is_repeated_comes_once() -> None:
    once = ["2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"]
    assert times("30 1 * * *", "America/New_York", "2026-11-01T00:00:00-04:00", 2) == once
    # Asked in the second pass, after it has come.
    assert times("30 1 * * *", "America/New_York", "2026-11-01T01:10:00-05:00", 1) == once[1:]


def test_every_half_hour_goes_on_through_both() -> None:
    assert times("*/30 * * * *", "America/New_York", "2026-03-08T01:00:00-05:00", 2) == [
        "2026-03-08T01:30:00-05:00", "2026-03-08T03:00:00-04:00",
    ]  # fmt: skip
    assert times("*/30 * * * *", "America/New_York", "2026-11-01T01:00:00-04:00", 4) == [
        "2026-11-01T01:30:00-04:00", "2026-11-01T01:00:00-05:00", "2026-11-01T01:30:00-05:00",
        "2026-11-01T02:00:00-05:00",
    ]  # fmt: skip


def test_half_an_hour_of_lord_howe_and_midnight_of_cairo_lose_nothing() -> None:
    assert times("*/15 3 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00+10:30", 4) == [
        "2026-10-04T03:00:00+11:00", "2026-10-04T03:15:00+11:00", "2026-10-04T03:30:00+11:00",
        "2026-10-04T03:45:00+11:00",
    ]  # fmt: skip
    assert times("*/20 1 24 4 *", "Africa/Cairo", "2026-04-02T12:00:00+02:00", 2) == [
        "2026-04-24T01:00:00+03:00", "2026-04-24T01:20:00+03:00",
    ]  # fmt: skip
    assert times("0 0 24 4 *", "Africa/Cairo", "2026-04-02T12:00:00+02:00", 1) == ["2026-04-24T01:00:00+03:00"]


# A year against brute force


def _field(low: int, high: int) -> st.SearchStrategy[tuple[str, frozenset[int]]]:
    """A field, and the numbers it means."""
    number = st.integers(low, min(high, 28) if low == 1 else high)  # no 30th of February
    every = frozenset(range(low, high + 1))

    def stepped(pair: tuple[int, int]) -> tuple[str, frozenset[int]]:
        start, step = pair
        return f"{start}/{step}", frozenset(range(start, high + 1, step))

    def ranged(triple: tuple[int, int, int]) -> tuple[str, frozenset[int]]:
        first, last, step = min(triple[:2]), max(triple[:2]), triple[2]
        return f"{first}-{last}/{step}", frozenset(range(first, last + 1, step))

    return st.one_of(
        st.just(("*", every)),
        number.map(lambda one: (str(one), frozenset({one}))),
        st.lists(number, min_size=2, max_size=4, unique=True).map(
            lambda some: (",".join(map(str, some)), frozenset(some))
        ),
        st.integers(2, max(2, (high - low) // 2)).map(lambda n: (f"*/{n}", frozenset(range(low, high + 1, n)))),
        st.tuples(number, st.integers(1, 20)).map(stepped),
        st.tuples(number, number, st.integers(1, 5)).map(ranged),
    )


Fields = tuple[tuple[str, frozenset[int]], ...]


QUARTERS = st.sampled_from(
    [("0", {0}), ("15", {15}), ("0,30", {0, 30}), ("*/15", {0, 15, 30, 45}), ("30/15", {30, 45})]
)


@st.composite
def expressions(draw: st.DrawFn, *, quarters: bool = False) -> Fields:
    """Minute, hour, day, month, day of the week; no day that never comes. quarters: of the hour only."""
    minute = draw(QUARTERS.map(lambda it: (it[0], frozenset(it[1])))) if quarters else draw(_field(0, 59))
    hour, day, month, weekday = draw(_field(0, 23)), draw(_field(1, 31)), draw(_field(1, 12)), draw(_field(0, 7))
    return minute, hour, day, month, (weekday[0], frozenset(number % 7 for number in weekday[1]))  # 7 is Sunday, too


def matches(fields: Fields, wall: datetime) -> bool:
    (_, minutes), (_, hours), (day, days), (_, months), (weekday, weekdays) = fields
    if wall.minute not in minutes or wall.hour not in hours or wall.month not in months:
        return False
    by_day, by_weekday = wall.day in days, (wall.weekday() + 1) % 7 in weekdays
    if day == "*" or weekday == "*":
        return (day == "*" or by_day) and (weekday == "*" or by_weekday)
    return by_day or by_weekday


def brute_force(fields: Fields, zone: ZoneInfo, start: datetime, until: datetime, step: timedelta) -> list[datetime]:
    """Every due time after `start` and before `until`: the clocks are looked at each `step`, and each of their jumps.

    It knows nothing of offsets, only of what the clocks show.
    """
    fixed = not fields[0][0].startswith("*") and not fields[1][0].startswith("*")
    found: list[datetime] = []
    seen: set[datetime] = set()
    moment = start - timedelta(hours=3)
    before = moment.astimezone(zone).replace(tzinfo=None)
    while moment < until:
        wall = moment.astimezone(zone).replace(tzinfo=None, fold=0)
        due = matches(fields, wall)
        if fixed:
            due = due and wall not in seen
            seen.add(wall)
            while (before := before + step) < wall:
                due |= matches(fields, before)
        if due and moment > start:
            found.append(moment)
        before, moment = wall, moment + step
    return found


@cache
def transitions(zone: str) -> list[datetime]:
    """The hours of the year in which the clocks of `zone` change."""
    hours = [datetime(YEAR, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(365 * 24)]
    offsets = [hour.astimezone(ZoneInfo(zone)).utcoffset() for hour in hours]
    return [hour for hour, one, other in zip(hours, offsets, offsets[1:], strict=False) if one != other]


@pytest.mark.parametrize("name", ZONES)
@settings(max_examples=15, deadline=None, phases=UNSHRUNK)
@given(fields=expressions(), data=st.data())
def test_the_hours_around_a_change_of_the_clocks_are_as_brute_force_says(
    name: str, fields: Fields, data: st.DataObject
) -> None:
    change = data.draw(st.sampled_from(transitions(name) or [datetime(YEAR, 7, 1, tzinfo=UTC)]))
    start = change + timedelta(minutes=data.draw(st.integers(-10 * 60, 3 * 60)))

    _compare(fields, ZoneInfo(name), start, change + timedelta(hours=27), step=timedelta(minutes=1))


@pytest.mark.parametrize("name", ZONES)
@settings(max_examples=5, deadline=None, phases=UNSHRUNK)
@given(fields=expressions(quarters=True))
def test_a_whole_year_is_as_brute_force_says(name: str, fields: Fields) -> None:
    year = datetime(YEAR, 1, 1, tzinfo=UTC), datetime(YEAR + 1, 1, 1, tzinfo=UTC)

    _compare(fields, ZoneInfo(name), *year, step=timedelta(minutes=15))


def _compare(fields: Fields, zone: ZoneInfo, start: datetime, until: datetime, *, step: timedelta) -> None:
    text, due, moment = " ".join(field for field, _ in fields), [], start
    while (after := cron.first_after(text, zone, moment)) is not None and after < until:
        assert after > moment
        due.append(moment := after)

    assert due == brute_force(fields, zone, start, until, step)
