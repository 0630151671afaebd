"""Celery's door, rung by beat. What rings it is in rauskuclaw/celery.py."""

from __future__ import annotations

from jobs.tasks import database_may_be_away
from providers import ledger
from rauskuclaw.celery import app


@app.task(name="providers.settle_lost_calls", ignore_result=True)
def settle_lost_calls() -> None:
    """Settle calls whose workers died. Twice is harmless: one run holds the rows, the other passes."""
    with database_may_be_away():
        while ledger.sweep() == ledger.SWEEP_BATCH:
            pass
