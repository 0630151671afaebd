from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection

from metrics import counting
from tests.schedules.conftest import make_schedule

__all__ = ["make_schedule"]


@pytest.fixture(autouse=True)
def counting_begins_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not an hour back, which takes several runs to count."""
    monkeypatch.setattr(counting, "BEGIN_BACK", timedelta(0))


@pytest.fixture
def ago(db: None) -> Callable[[float], None]:
    """`ago(300)`: everything that has happened so far happened 300 seconds earlier."""

    def shift(seconds: float) -> None:
        with connection.cursor() as cursor:
            for table, columns in {
                "jobs_job": "created_at updated_at available_at turn_at started_at finished_at published_at",
                "jobs_attempt": "started_at ended_at",
                "jobs_joblog": "ts job_created_at",
                "jobs_callbackdelivery": "created_at next_try_at delivered_at",
                "metrics_progress": "counted_to",
            }.items():
                changes = ", ".join(f"{name} = {name} - make_interval(secs => %(sec)s)" for name in columns.split())
                cursor.execute(f"UPDATE {table} SET {changes}", {"sec": seconds})

    return shift
