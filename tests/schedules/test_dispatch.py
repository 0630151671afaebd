"""The tick: each due time makes one job, whoever else ticks, whatever clocks do, whichever schedule is at fault."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from pytest_django import DjangoAssertNumQueries

from jobs.models import Job, JobType
from jobs.retention import run as retention
from schedules import dispatch, sql
from schedules.dispatch import tick
from schedules.models import Result, Run, Schedule
from tests.bench.plans import captured
from tests.schedules.conftest import Make, jobs_of, let_pass, results_of

pytestmark = pytest.mark.django_db(transaction=True)


def many(make_schedule: Make, count: int) -> None:
    """Copies of a due schedule; the first is there already."""
    first = make_schedule()
    Schedule.objects.bulk_create(
        Schedule(
            type=first.type, input={}, timeout_sec=60, max_attempts=1, interval_sec=60,
            next_run_at=first.next_run_at, due_at=first.due_at,
        )
        for _ in range(count - 1)
    )  # fmt: skip


def test_two_ticks_at_once_make_one_job_for_each_due_time(
    make_schedule: Make, configure: Callable[..., object]
) -> None:
    many(make_schedule, 200)
    configure(SCHEDULER_BATCH_SIZE=20)
    begin, ticks = threading.Barrier(4), []

    def run() -> None:
        begin.wait()
        try:
            ticks.append(tick())
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(done.jobs for done in ticks) == Job.objects.count() == Run.objects.count() == 200
    assert set(Run.objects.values_list("schedule_id").distinct()) == set(Schedule.objects.values_list("id"))
    assert tick().jobs == 0


def test_a_clock_that_was_set_back_makes_no_second_job(make_schedule: Make) -> None:
    schedule = make_schedule(cron="* * * * *")
    let_pass(120)
    tick()
    schedule.refresh_from_db()
    made_for = schedule.last_due_at
    assert made_for is not None

    # The next due time as it would be, had it been worked out by a clock that was behind.
    Schedule.objects.update(due_at=made_for, next_run_at=made_for)
    assert tick().jobs == 0

    schedule.refresh_from_db()
    assert len(jobs_of(schedule)) == 1
    assert schedule.due_at > made_for
    assert schedule.last_error is None


def test_the_database_refuses_a_second_job_for_a_due_time(make_schedule: Make) -> None:
    schedule = make_schedule()
    tick()
    run = schedule.runs.get()

    with pytest.raises(IntegrityError, match="run_has_a_job_iff_it_made_one"), transaction.atomic():
        sql.rows("settle", {"schedules": "[]", "runs": _runs_json(run)})
    with pytest.raises(IntegrityError, match="run_is_once_for_each_due_time"), transaction.atomic():
        Run.objects.create(schedule=schedule, due_at=run.due_at, result=Result.MISSED)


def _runs_json(run: Run) -> str:
    facts = f'"schedule_id": "{run.schedule_id}", "due_at": "{run.due_at.isoformat()}", "trigger": "due"'
    return f'[{{{facts}, "result": "made", "job_id": "8f14e45f-ceea-4e7a-9f2d-0f3a5c6b7d8e"}}]'


def test_nothing_is_made_when_the_tick_fails_at_its_end(make_schedule: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = make_schedule()

    def fail(*_: object) -> None:
        raise RuntimeError("killed here")

    with monkeypatch.context() as patch:
        patch.setattr(dispatch, "_settle", fail)
        with pytest.raises(RuntimeError, match="killed here"):
            tick()

    assert not Job.objects.exists()
    assert tick().jobs == 1
    assert results_of(schedule) == ["made"]


def test_one_that_the_database_refuses_holds_up_nobody(make_schedule: Make) -> None:
    sound = [make_schedule() for _ in range(3)]
    faulty = make_schedule()
    # As no request can: the jobs' table takes no such queue.
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE jobs_job ADD CONSTRAINT no_such_queue CHECK (queue <> 'refused')")
    try:
        Schedule.objects.filter(pk=faulty.pk).update(queue="refused")
        tick()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE jobs_job DROP CONSTRAINT no_such_queue")

    faulty.refresh_from_db()
    assert faulty.last_error is not None
    assert faulty.last_error["code"] == "SCHEDULE_DISPATCH_ERROR"
    assert [results_of(schedule) for schedule in (*sound, faulty)] == [["made"]] * 3 + [["failed"]]
    let_pass(61, faulty)
    tick()
    assert results_of(faulty) == ["made"]


@pytest.mark.parametrize("where", ["schedules.dispatch.decide", "jobs.submission.check_input"])
def test_what_nobody_foresaw_holds_up_nobody_else(
    make_schedule: Make, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    sound, faulty = make_schedule(), make_schedule(input={"faulty": True})
    module, _, name = where.rpartition(".")
    found = getattr(import_module(module), name)

    def broken(first: Any, *rest: Any) -> Any:
        if getattr(first, "input", first) == {"faulty": True}:
            raise ZeroDivisionError("in somebody's handler")
        return found(first, *rest)

    monkeypatch.setattr(where, broken)
    tick()

    faulty.refresh_from_db()
    assert faulty.last_error is not None
    assert faulty.last_error["message"] == "ZeroDivisionError: in somebody's handler"
    assert (results_of(sound), results_of(faulty)) == (["made"], ["failed"])


def test_a_batch_costs_the_same_statements_however_large(
    make_schedule: Make, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    many(make_schedule, 100)

    with django_assert_max_num_queries(20):
        assert tick().jobs == 100


def test_a_tick_goes_on_until_nothing_is_due(make_schedule: Make, configure: Callable[..., object]) -> None:
    many(make_schedule, 25)
    configure(SCHEDULER_BATCH_SIZE=10)

    assert tick().schedules == 25


def test_the_job_has_the_flow_of_the_schedule_and_takes_its_turn(
    make_schedule: Make, make_type: Callable[..., JobType]
) -> None:
    unique = {"key": "k", "window_sec": 600, "policy": "keep"}
    schedule = make_schedule(
        concurrency_key="tenant", expires_in_sec=60, unique=unique, callback_url="https://a.example/"
    )

    for _ in range(2):
        tick()
        let_pass(61)

    (job,) = Job.objects.all()
    assert (job.concurrency_key, job.unique_key, job.callback_url) == ("tenant", "k", "https://a.example/")
    assert job.expires_at is not None
    assert job.created_by == f"schedule {schedule.id}"
    assert [found.id for found in jobs_of(schedule)] == [job.id, job.id]


def test_no_plan_of_the_tick_reads_more_than_is_due(make_schedule: Make) -> None:
    many(make_schedule, 2_000)
    Schedule.objects.update(next_run_at=datetime.now(UTC) + timedelta(hours=1))
    due = make_schedule(policy={"overlap": "queue_one", "pause_after_failures": 2})
    tick()
    let_pass(61, due)

    with captured(as_if_large=True) as plans:
        tick()

    read = [node for plan in plans for node in plan.nodes() if node.get("Relation Name", "").startswith("schedules_")]
    assert results_of(due) == ["made", "waiting"]
    assert read
    assert max(node["Actual Rows"] * node["Actual Loops"] for node in read) < 50
    assert not [node for node in read if node["Node Type"] == "Seq Scan"]


def test_old_runs_are_forgotten_and_their_jobs_are_not(make_schedule: Make) -> None:
    schedule = make_schedule()
    tick()
    schedule.runs.update(at=datetime.now(UTC) - timedelta(days=31))
    let_pass(61)
    tick()

    report = retention.run()
    assert report is not None
    assert report.removed["schedule_runs"] == 1

    assert results_of(schedule) == ["made"]
    assert Job.objects.count() == 2
