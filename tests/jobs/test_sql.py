"""That the statements of jobs/sql are prepared, and what that asks of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection

from jobs.models import Job
from jobs.transitions import Claim

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_statement_is_parsed_and_planned_once_a_connection(claimed: Callable[..., Claim]) -> None:
    for _ in range(5):
        claimed()

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements"
            " WHERE statement LIKE '%%''Job claimed''%%' AND statement NOT LIKE '%%pg_prepared_statements%%'"
        )
        plans = cursor.fetchall()

    assert sum(generic for generic, _ in plans) >= 5
    assert sum(custom for _, custom in plans) == 0


def test_a_new_column_does_not_disturb_a_process_that_runs(make_job: Callable[..., Job]) -> None:
    make_job()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE jobs_job ADD COLUMN of_a_newer_version int")
    try:
        assert make_job().status == "queued"
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE jobs_job DROP COLUMN of_a_newer_version")
