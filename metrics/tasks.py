"""The heartbeat's doors into metrics."""

from __future__ import annotations

from jobs.tasks import database_may_be_away
from metrics import counting
from metrics.alerts import evaluate
from rauskuclaw.celery import app


@app.task(name="metrics.count", ignore_result=True)
def count() -> None:
    """Count the minutes that are over. Twice is harmless: one run holds the row, the other passes."""
    with database_may_be_away():
        counting.count_up()


@app.task(name="metrics.evaluate_alerts", ignore_result=True)
def evaluate_alerts() -> None:
    """Fire and resolve alerts. Twice is harmless: one run holds the lock, the other passes."""
    with database_may_be_away():
        evaluate.evaluate()
