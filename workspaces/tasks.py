"""Celery's doors, rung by beat. What they ring is in rauskuclaw/celery.py."""

from __future__ import annotations

from rauskuclaw.celery import app
from workspaces import upkeep
from workspaces.tree import workspace


@app.task(name="workspaces.sweep", ignore_result=True)
def sweep() -> None:
    """Remove what killed writes have left. Any number may run at once."""
    upkeep.sweep(workspace())
