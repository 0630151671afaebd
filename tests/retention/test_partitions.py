"""The log's partitions: where lines go, what reads them, and that none is ever missing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from jobs import lifecycle, queries
from jobs.models import Job, JobLog
from jobs.retention import partitions
from tests.bench.plans import captured
from tests.retention.conftest import DAY, drop_all, midnight, named, shift, sql

pytestmark = pytest.mark.django_db(transaction=True)
Make = Callable[..., Job]


def home_of(job: Job) -> set[str]:
    """The partitions that hold the job's lines."""
    return {
        row[0] for row in sql("SELECT DISTINCT tableoid::regclass::text FROM jobs_joblog WHERE job_id = %s", job.pk)
    }


def age(job: Job, days: float) -> None:
    shift(job, days * DAY)


def test_the_lines_of_a_job_lie_together_in_the_partition_of_its_day(make_job: Make) -> None:
    job = make_job()
    lifecycle.append_logs(job.id, [("info", "more", None)])

    assert home_of(job) == {named(job.created_at)}
    assert [line.message for line in queries.log_tail(job, tail=9)] == ["Job created", "more"]


def test_ids_are_one_sequence_over_all_partitions(make_job: Make) -> None:
    old, new = make_job(), make_job()
    age(old, 3)
    for job in (old, new, old):
        lifecycle.append_logs(job.id, [("info", "more", None)])

    rows = sql("SELECT id, job_id FROM jobs_joblog WHERE message = 'more' ORDER BY id")

    assert [job_id for _, job_id in rows] == [old.id, new.id, old.id]
    assert len({number for (number, *_) in sql("SELECT id FROM jobs_joblog")}) == JobLog.objects.count()


def test_partitions_are_there_ahead_and_made_once() -> None:
    drop_all()

    assert partitions.make_ahead() == partitions.AHEAD_DAYS + 1
    assert partitions.make_ahead() == 0
    assert [it.lower for it in partitions.partitions()] == [midnight(n) for n in range(partitions.AHEAD_DAYS + 1)]


def test_two_at_once_make_each_partition_once() -> None:
    drop_all()
    made: list[int] = []

    def run() -> None:
        made.append(partitions.make_ahead())
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    partitions.make_ahead()

    assert [it.lower for it in partitions.partitions()] == [midnight(n) for n in range(partitions.AHEAD_DAYS + 1)]


def test_after_a_week_without_beat_there_is_still_a_partition(make_job: Make) -> None:
    drop_all()
    partitions.make_ahead()
    # A week later: what is today was 7 days ahead.
    for day in range(7):
        sql(f"DROP TABLE {named(midnight(10 - day))}")

    job = make_job()

    assert home_of(job) == {named(midnight())}
    assert partitions.make_ahead() == 7


def test_without_any_partition_jobs_go_on_and_their_log_is_whole(make_job: Make, claimed: Callable[..., Any]) -> None:
    drop_all()
    held = claimed()
    assert lifecycle.succeed(held.id, held.fence, result={"x": 1})
    job = Job.objects.get(pk=held.id)

    assert home_of(job) == {"jobs_joblog_default"}
    # Today's lines are in the default partition and stay there; the days to come get their own.
    assert partitions.make_ahead() == partitions.AHEAD_DAYS
    lifecycle.append_logs(job.id, [("info", "later", None)])
    assert [line.message for line in queries.log_tail(job, tail=9)] == [
        "Job created", "Job claimed", "Job succeeded", "later",
    ]  # fmt: skip


def test_whoever_waits_for_a_lock_is_passed_by(make_job: Make) -> None:
    drop_all()
    make_job()
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("LOCK TABLE jobs_joblog_default IN ACCESS SHARE MODE")
            entered.set()
            leave.wait(30)
            cursor.execute("ROLLBACK")
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait(30)
    try:
        assert partitions.make_ahead(days=1) == 0
    finally:
        leave.set()
        holder.join()
    assert partitions.make_ahead(days=1) == 1


def test_the_log_of_a_job_is_read_from_one_partition(make_job: Make) -> None:
    job = make_job()

    with captured() as plans:
        queries.log_tail(job, tail=10)

    (plan,) = plans
    assert {node["Relation Name"] for node in plan.nodes() if "Relation Name" in node} == {named(job.created_at)}


def test_deleting_a_job_looks_through_no_partition() -> None:
    constraints = sql(
        "SELECT conrelid::regclass::text FROM pg_constraint"
        " WHERE confrelid = 'jobs_job'::regclass AND contype = 'f'"
        " AND starts_with(conrelid::regclass::text, 'jobs_joblog')"
    )

    assert constraints == []
