"""What is published, in which order, and how Redis may fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis as redis_py
from django.db import OperationalError
from django.utils import timezone
from kombu import Connection

from jobs import dispatch, lifecycle
from jobs.models import Job, JobType
from jobs.reconciler import reconcile
from jobs.requests import NewJob
from jobs.submission import submit, submit_batch
from rauskuclaw import redis
from rauskuclaw.celery import app
from rauskuclaw.config import load
from rauskuclaw.errors import Problem
from rauskuclaw.wire import job_queue
from tests.large_table import large_table

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("whole_places")]

Make = Callable[..., Job]
Messages = Callable[..., list[bytes]]


def job_ids(messages: list[bytes]) -> list[str]:
    return [json.loads(message)["headers"]["id"].split(":")[0] for message in messages]


def test_below_saturation_a_new_job_is_published_at_once(make_job: Make, published: Messages) -> None:
    job = make_job()

    assert job_ids(published()) == [str(job.id)]
    assert Job.objects.get(pk=job.pk).published_at is not None


def test_jobs_are_made_though_their_window_cannot_be_filled_now(
    make_type: Callable[..., JobType], published: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> int:
        raise OperationalError("the connection is closed")

    make_type("report.generate")
    with monkeypatch.context() as patched:
        patched.setattr(dispatch, "fill", away)
        made = submit_batch([NewJob(type="report.generate")] * 2, created_by="test")
    assert len(made) == Job.objects.count() == 2
    assert published() == []

    reconcile()

    assert len(published()) == 2


def test_celery_reads_the_message_with_the_jobs_own_limits(make_job: Make, wire: redis_py.Redis) -> None:
    job = make_job(timeout_sec=7)

    with Connection(app.conf.broker_url, transport_options=app.conf.broker_transport_options) as broker:
        message: Any = broker.SimpleQueue(app.amqp.queues[job_queue("default")]).get(timeout=5)  # type: ignore[arg-type]

    assert message.headers["task"] == "jobs.run_attempt"
    soft = 7 + dispatch.CHAIN_SEC
    assert message.headers["timelimit"] == [soft + load().hard_limit_grace_sec, soft]
    assert dispatch.Message.of(message.decode()[1], message.headers["timelimit"]) == dispatch.Message(((job.id, 0),), 7)


def test_a_process_takes_the_next_message_in_the_order_of_the_consumer(make_job: Make, wire: redis_py.Redis) -> None:
    plain, urgent, other = make_job(), make_job(priority=9, timeout_sec=7), make_job(queue="other", priority=7)
    queues = ["default", "other"]

    taken = [dispatch.take_next(queues, max_timeout_sec=3600) for _ in range(4)]

    assert taken[0] == dispatch.Message(((urgent.id, 0),), timeout_sec=7)
    assert [message and message.attempts[0][0] for message in taken] == [urgent.id, other.id, plain.id, None]


def test_a_message_that_needs_more_time_is_left_to_celery(make_job: Make, published: Messages) -> None:
    first, second = make_job(timeout_sec=600), make_job(timeout_sec=5)

    assert dispatch.take_next(["default"], max_timeout_sec=599) is None

    assert job_ids(published()) == [str(first.id), str(second.id)]


def test_there_is_no_next_message_without_redis(make_job: Make, wire: redis_py.Redis, configure: Any) -> None:
    make_job()
    configure(REDIS_URL="redis://127.0.0.1:1/0")
    redis.forget()

    assert dispatch.take_next(["default"], max_timeout_sec=3600) is None


def test_the_window_is_bounded_and_twice_the_workers(make_job: Make, published: Messages, make_node: Any) -> None:
    make_node(concurrency=10)

    for _ in range(30):
        make_job()

    assert len(published()) == 20


def test_an_urgent_job_overtakes_all_but_the_window(make_job: Make, published: Messages) -> None:
    for _ in range(dispatch.WINDOW_MIN + 50):
        make_job(priority=1)
    urgent = make_job(priority=10)
    assert str(urgent.id) not in job_ids(published())

    for job in Job.objects.exclude(published_at=None)[:1]:
        lifecycle.cancel(job.id, by="test")
    dispatch.fill("default", "process")

    assert job_ids(published())[0] == str(urgent.id)


def test_a_batch_is_published_by_priority_then_in_its_own_order(make_type: Any, published: Messages) -> None:
    make_type()
    items = [NewJob(type="report.generate", priority=priority) for priority in (1, 5, 5, 9)]

    results = submit_batch(items, created_by="test")

    order = [str(result.job.id) for result in results]  # type: ignore[union-attr]
    assert job_ids(published()) == [order[3], order[1], order[2], order[0]]


def test_jobs_that_are_not_due_or_wait_for_others_are_not_published(make_job: Make, published: Messages) -> None:
    first = make_job()
    make_job(input={"depends_on": [str(first.id)]})
    Job.objects.filter(pk=first.pk).update(published_at=None, available_at=timezone.now() + timedelta(hours=1))

    assert dispatch.fill("default", "process") == 0


def test_two_fillers_at_once_do_not_overfill(make_job: Make, published: Messages) -> None:
    from tests.jobs.test_lifecycle import run_together

    for _ in range(dispatch.WINDOW_MIN * 3):
        make_job()
    Job.objects.update(published_at=None)

    def fill() -> None:
        from django.db import connection

        dispatch.fill("default", "process")
        connection.close()

    run_together([fill] * 6)

    assert Job.objects.exclude(published_at=None).count() <= dispatch.WINDOW_MIN


@pytest.fixture
def dead_redis(configure: Callable[..., Any]) -> Any:
    configure(REDIS_URL="redis://127.0.0.1:1/0")
    redis.forget()
    yield
    redis.forget()


def test_without_redis_jobs_are_created_read_and_cancelled(make_job: Make, dead_redis: None) -> None:
    job = make_job()

    assert lifecycle.cancel(job.id, by="test").status == "cancelled"


def test_posting_another_job_of_a_type_costs_one_statement(
    make_job: Make, wire: redis_py.Redis, django_assert_num_queries: Any
) -> None:
    make_job()

    with django_assert_num_queries(1):
        submit(NewJob(type="report.generate"), created_by="test")


def test_a_type_that_changed_decides_as_it_is_now(make_job: Make) -> None:
    types = JobType.objects.filter(name=make_job().type)

    types.update(enabled=False)
    with pytest.raises(Problem, match="is disabled"):
        submit(NewJob(type="report.generate"), created_by="test")
    types.update(enabled=True, default_timeout_sec=7)
    job = submit(NewJob(type="report.generate"), created_by="test", idempotency_key="k").job

    assert job.timeout_sec == 7
    types.update(default_timeout_sec=8)
    assert submit(NewJob(type="report.generate", timeout_sec=7), created_by="test", idempotency_key="k").idempotent


def test_posting_a_job_costs_at_most_three_statements_and_no_transaction_around_them(
    make_type: Any, wire: redis_py.Redis, django_assert_max_num_queries: Any
) -> None:
    make_type()

    with django_assert_max_num_queries(3) as queries:
        submit(NewJob(type="report.generate"), created_by="test", idempotency_key="k")

    assert not any(query["sql"] == "BEGIN" for query in queries.captured_queries)


def test_fill_and_claim_use_their_indexes_in_a_table_of_finished_jobs(make_type: Any, make_job: Make) -> None:
    """The plans that must not scan: with 20,000 finished jobs, a sequential scan would be seen here."""
    from jobs.sql import statement

    make_type()
    with large_table() as cursor:
        plans = ""
        for name, params in {
            "fill": {"queue": "default", "pool": "io", "ageing_sec": 600.0, **dispatch.window_params()},
            "expire": {"limit": 10, "error": "{}"},
            "queues_with_backlog": {},
            "expired_leases": {"lease_sec": 15, "limit": 10},
            "stale_in_window": {"lost_after_sec": 2, "passed_over_sec": 10, "limit": 10},
        }.items():
            cursor.execute("EXPLAIN " + statement(name), params)
            plans += "\n".join(row[0] for row in cursor.fetchall())

    assert "Seq Scan on jobs_job " not in plans
