"""Beat's scheduler: the heartbeat by the monotonic clock, and beside it what operators plan in the admin.

django-celery-beat keeps the time of each entry's last run in the database, by the wall clock of whichever beat ran it.
One beat whose clock is an hour ahead, or was and is set right again, would stop the heartbeat of all beats for an hour.
So the entries of the code (`beat_schedule`) never reach the database: each beat rings them on its own.
"""

from __future__ import annotations

import time
from typing import Any

from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler

from jobs import dispatch


class Scheduler(DatabaseScheduler):  # type: ignore[misc]  # django-celery-beat ships no types
    """Rings `beat_schedule`, entries of a task without arguments and an interval in seconds; the rest is inherited."""

    def setup_schedule(self) -> None:
        """All of the heartbeat is due at the start."""
        schedule = self.app.conf.beat_schedule
        self._intervals_sec: dict[str, float] = {entry["task"]: entry["schedule"] for entry in schedule.values()}
        self._due_at = dict.fromkeys(self._intervals_sec, 0.0)
        # Earlier versions kept the heartbeat there, where it would now ring twice.
        PeriodicTask.objects.filter(name__in=schedule).delete()
        self.install_default_entries(self.schedule)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Ring what is due, then do one step of the database's schedule. Seconds until the next call."""
        now = time.monotonic()
        for task, due_at in self._due_at.items():
            if due_at <= now:
                dispatch.ring(task)
                next_at = due_at + self._intervals_sec[task]
                # What was missed while this process slept is not made up for.
                self._due_at[task] = next_at if next_at > now else now + self._intervals_sec[task]
        next_due_sec = min(self._due_at.values()) - time.monotonic()
        return float(min(max(0.0, next_due_sec), super().tick(*args, **kwargs)))
