"""When a schedule is due: every so many seconds, or by a cron expression on the clocks of a zone."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

from rauskuclaw.config import load
from schedules import cron

_FIRST_LOOK = timedelta(minutes=1)


class ZoneUnknown(ValueError):
    """No such time zone."""


def zone(name: str) -> ZoneInfo:
    """The IANA time zone; empty: SCHEDULER_CRON_TZ. Raises ZoneUnknown."""
    wanted = name or load().scheduler_cron_tz
    if wanted != "UTC" and wanted not in _zones():
        raise ZoneUnknown(f"{wanted[:60]!r} is no IANA time zone, e.g. Europe/Helsinki or UTC")
    return ZoneInfo(wanted)


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    # These mean something else on each machine, or nothing.
    return frozenset(available_timezones() - {"localtime", "Factory"})


@dataclass(frozen=True)
class Cadence:
    """Either `interval_sec` or `cron` is set. zone: its name; empty for the default one."""

    interval_sec: int | None
    cron: str | None
    zone: str = ""

    def after(self, moment: datetime) -> datetime | None:
        """The first due time strictly after `moment`, counted from it for an interval. None: there is none any more.

        Raises CronInvalid, ZoneUnknown.
        """
        if self.cron is None:
            assert self.interval_sec is not None
            return moment + timedelta(seconds=self.interval_sec)
        return cron.first_after(self.cron, zone(self.zone), moment)

    def following(self, moment: datetime, count: int) -> list[datetime]:
        """The next `count` due times after `moment`; fewer where there are no more."""
        found: list[datetime] = []
        at = self.after(moment)
        while at is not None and len(found) < count:
            found.append(at)
            at = self.after(at)
        return found

    def latest(self, due_at: datetime, now: datetime, count: int) -> list[datetime]:
        """The newest `count` of the due times from `due_at`, which is one, to `now`; the oldest first.

        However long ago `due_at` is, it looks at about twice as many due times as it returns.
        """
        if self.cron is None:
            assert self.interval_sec is not None
            every = timedelta(seconds=self.interval_sec)
            last = (now - due_at) // every
            return [due_at + n * every for n in range(max(0, last - count + 1), last + 1)]
        following = self.after(due_at)
        if following is None or following > now:
            return [due_at]
        look = _FIRST_LOOK
        while True:
            begin = now - look
            found = deque([due_at] if begin < due_at else [], maxlen=count)
            at = self.after(max(begin, due_at))
            while at is not None and at <= now:
                found.append(at)
                at = self.after(at)
            if begin < due_at or len(found) == count:
                return list(found)
            look *= 2


@dataclass(frozen=True)
class ZoneChange:
    """The clocks were put forward or back since the due time before. Offsets from UTC, in seconds."""

    before_sec: int
    after_sec: int


def zone_changes(moments: list[datetime], in_zone: ZoneInfo) -> list[ZoneChange | None]:
    """Of each moment, what happened to the clocks since the one before."""
    offsets = [round((moment.astimezone(in_zone).utcoffset() or timedelta()).total_seconds()) for moment in moments]
    changes = [ZoneChange(before, after) if before != after else None for before, after in pairwise(offsets)]
    return [None, *changes] if moments else []
