"""Redis may lose everything and workers may die: the reconciler makes it right."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import redis as redis_py
from django.db import connection, transaction
from django.utils import timezone

from jobs import dispatch, lifecycle, reconciler
from jobs.models import IdempotencyKey, Job, Status
from jobs.requests import NewJob
from jobs.retention import run as retention
from jobs.submission import submit
from jobs.transitions import Claim

pytestmark = pytest.mark.django_db(transaction=True)

Make = Callable[..., Job]
Claimed = Callable[..., Claim]
Messages = Callable[..., list[bytes]]
LONG_AGO = timezone.now() - timedelta(hours=1)


def test_what_a_flush_lost_is_published_again(make_job: Make, wire: redis_py.Redis, published: Messages) -> None:
    make_job()
    Job.objects.update(published_at=LONG_AGO)
    wire.flushdb()

    report = reconciler.reconcile()

    assert (report.republished, len(published())) == (1, 1)


def test_what_is_still_in_redis_is_not_published_twice(
    make_job: Make, wire: redis_py.Redis, published: Messages
) -> None:
    for _ in range(3):
        make_job()
    Job.objects.update(published_at=LONG_AGO)
    wire.rpop("rauskuclaw:job:default\x06\x165")

    report = reconciler.reconcile()

    assert (report.republished, len(published())) == (1, 3)


def test_what_more_urgent_jobs_pass_over_goes_before_them_after_a_while(
    make_job: Make, wire: redis_py.Redis, published: Messages
) -> None:
    low, young = make_job(priority=0), make_job(priority=0)
    Job.objects.filter(pk=low.pk).update(published_at=LONG_AGO)
    Job.objects.filter(pk=young.pk).update(published_at=timezone.now() - timedelta(seconds=5))
    before = make_job(priority=10)
    for _ in range(2):
        reconciler.reconcile()
    after = make_job(priority=10)

    assert len(published()) == 4
    taken = [dispatch.take_next(["default"], max_timeout_sec=3600) for _ in range(4)]

    assert [message and message.attempts[0][0] for message in taken] == [before.id, low.id, after.id, young.id]


def test_a_due_retry_is_published(claimed: Claimed, wire: redis_py.Redis, published: Messages) -> None:
    held = claimed(max_attempts=2)
    wire.flushdb()
    lifecycle.fail(held.id, held.fence, code=None, message="no", retry=True, retry_in_sec=0)

    assert reconciler.reconcile().published == 1
    assert len(published()) == 1


def test_an_expired_lease_is_taken_back(claimed: Claimed, wire: redis_py.Redis, configure: Any) -> None:
    configure(LEASE_SEC=3)
    held = claimed(max_attempts=2)
    Job.objects.update(lease_expires_at=LONG_AGO)

    with_postgres_up_for_an_hour(reconciler.take_back_expired_leases)

    assert Job.objects.get(pk=held.id).status == Status.QUEUED


def test_a_lease_that_is_alive_is_left_alone(claimed: Claimed, wire: redis_py.Redis) -> None:
    held = claimed()

    reconciler.reconcile()

    assert Job.objects.get(pk=held.id).status == Status.RUNNING


def test_any_number_of_reconcilers_may_run_at_once(claimed: Claimed, wire: redis_py.Redis, published: Messages) -> None:
    from tests.jobs.test_lifecycle import run_together

    held = [claimed(max_attempts=2) for _ in range(10)]
    Job.objects.update(lease_expires_at=LONG_AGO)

    def reconcile() -> None:
        with_postgres_up_for_an_hour(reconciler.reconcile)

    run_together([reconcile] * 4)

    assert {Job.objects.get(pk=claim.id).worker_losses for claim in held} == {1}


def test_with_redis_away_the_rest_goes_on(claimed: Claimed, configure: Any) -> None:
    from rauskuclaw import redis

    configure(REDIS_URL="redis://127.0.0.1:1/0")
    redis.forget()
    held = claimed(max_attempts=2)
    Job.objects.update(lease_expires_at=LONG_AGO)

    with_postgres_up_for_an_hour(reconciler.reconcile)

    assert Job.objects.get(pk=held.id).status == Status.QUEUED
    redis.forget()


def test_an_expired_idempotency_key_may_be_used_again_and_is_pruned(make_type: Any, wire: redis_py.Redis) -> None:
    make_type()
    first = submit(NewJob(type="report.generate"), created_by="a", idempotency_key="k")
    IdempotencyKey.objects.update(expires_at=LONG_AGO)

    second = submit(NewJob(type="report.generate", priority=1), created_by="a", idempotency_key="k")

    assert first.job.id != second.job.id
    IdempotencyKey.objects.update(expires_at=LONG_AGO)
    report = retention.run()
    assert report is not None
    assert report.removed["idempotency_keys"] == 1


def with_postgres_up_for_an_hour(step: Callable[[], object]) -> None:
    """The server of the tests started a moment ago, and leases rest just after a start."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(1)")  # IF NOT EXISTS is no help against a neighbour's CREATE
        cursor.execute("CREATE SCHEMA IF NOT EXISTS fake_clock")
        cursor.execute(
            "CREATE OR REPLACE FUNCTION fake_clock.pg_postmaster_start_time() RETURNS timestamptz"
            " LANGUAGE sql AS $$ SELECT now() - interval '1 hour' $$"
        )
        cursor.execute("SET search_path TO fake_clock, public, pg_catalog")
    try:
        step()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SET search_path TO DEFAULT")
