"""The heartbeat's doors into metrics."""

from __future__ import annotations

from jobs.tasks import database_may_be_away
from metrics import counting
from rauskuclaw.celery import app


@app.task(name="metrics.count", ignore_result=True)
def count() -> None:
    """Count the minutes that are over. Twice is harmless: one run holds the row, the other passes."""
    with database_may_be_away():
        counting.count_up()
