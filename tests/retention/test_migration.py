"""A log that was one table becomes one of partitions, and can be put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from jobs import lifecycle, queries
from jobs.models import Job, JobLog

pytestmark = pytest.mark.django_db(transaction=True)
BEFORE = "0009_trace"


def migrate(name: str) -> None:
    MigrationExecutor(connection).migrate([("jobs", name)])


def migrate_to_the_newest() -> None:
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes("jobs"))


@pytest.fixture
def as_before() -> Iterator[None]:
    yield
    migrate_to_the_newest()


def rows(statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def test_the_lines_stay_with_their_ids_and_no_id_is_given_twice(make_job: Callable[..., Job], as_before: None) -> None:
    jobs = [make_job() for _ in range(3)]
    migrate(BEFORE)
    with connection.cursor() as cursor:
        for job, days in zip(jobs, (0, 5, 400), strict=True):
            moment = job.created_at - timedelta(days=days)
            cursor.execute("UPDATE jobs_job SET created_at = %s WHERE id = %s", [moment, job.pk])
        # The newest line is gone; its id must not come again.
        cursor.execute(
            "INSERT INTO jobs_joblog (job_id, level, message) VALUES (%s, 'info', 'gone') RETURNING id", [jobs[0].pk]
        )
        gone = cursor.fetchone()[0]
        cursor.execute("DELETE FROM jobs_joblog WHERE id = %s", [gone])
    before = rows("SELECT id, job_id, ts, level, message, meta FROM jobs_joblog ORDER BY id")

    migrate_to_the_newest()

    assert rows("SELECT id, job_id, ts, level, message, meta FROM jobs_joblog ORDER BY id") == before
    today = f"jobs_joblog_{jobs[0].created_at:%Y%m%d}"
    homes = [home for (home,) in rows("SELECT tableoid::regclass::text FROM jobs_joblog ORDER BY job_created_at")]
    assert homes == ["jobs_joblog_before", f"jobs_joblog_{jobs[1].created_at - timedelta(days=5):%Y%m%d}", today]
    for job in Job.objects.all():
        lifecycle.append_logs(job.id, [("info", "more", None)])
        assert [line.message for line in queries.log_tail(job, tail=9)] == ["Job created", "more"]
    assert min(JobLog.objects.filter(message="more").values_list("id", flat=True)) > gone

    migrate(BEFORE)

    assert [row[:2] for row in rows("SELECT id, job_id FROM jobs_joblog ORDER BY id")][:3] == [
        row[:2] for row in before
    ]
    assert len(rows("SELECT id FROM jobs_joblog")) == 6
