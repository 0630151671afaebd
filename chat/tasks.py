"""Celery's doors, rung by beat. What they ring is in rauskuclaw/celery.py."""

from __future__ import annotations

from chat import settling
from jobs.tasks import database_may_be_away
from rauskuclaw.celery import app


@app.task(name="chat.settle", ignore_result=True)
def settle() -> None:
    """Each second. Any number may run at once: each answer is taken by one."""
    with database_may_be_away():
        settling.settle()
