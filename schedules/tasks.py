"""Celery's doors, rung by beat. What they ring is in rauskuclaw/celery.py."""

from __future__ import annotations

from jobs.signals import happened
from jobs.tasks import database_may_be_away
from rauskuclaw.celery import app
from schedules import dispatch


@app.task(name="schedules.tick", ignore_result=True)
def tick() -> None:
    """Each second. Any number may run at once: each due schedule is taken by one."""
    with database_may_be_away():
        try:
            dispatch.tick()
        except Exception:
            happened.send(sender=None, name="schedule.tick_failed", labels={}, count=1)
            raise
