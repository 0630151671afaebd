"""Celery's doors, rung by beat. What they ring is in rauskuclaw/celery.py."""

from __future__ import annotations

from jobs.tasks import database_may_be_away
from memory import store, upkeep
from rauskuclaw.celery import app


@app.task(name="memory.purge", ignore_result=True)
def purge() -> None:
    """Delete memories and sessions that have expired. Any number may run at once."""
    with database_may_be_away():
        store.purge()


@app.task(name="memory.tend", ignore_result=True)
def tend() -> None:
    """Make jobs for what waits to be embedded. Any number may run at once."""
    with database_may_be_away():
        upkeep.tend()
