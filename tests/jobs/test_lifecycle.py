"""The state machine: each transition, each fence, each race."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from jobs import lifecycle
from jobs.lifecycle import RULES
from jobs.models import TERMINAL, Attempt, CallbackDelivery, Job, JobGroup, JobLog, OnFailure, Outcome, Status
from jobs.storable import log_line
from jobs.transitions import Claim, Claimable, Group
from rauskuclaw.errors import Problem
from tests.conftest import NODE, WORKER, error_of
from tests.running import wait_until

Make = Callable[..., Job]
Claimed = Callable[..., Claim]

EVENTS: dict[str, Callable[[Job], object]] = {
    "claim": lambda job: lifecycle.claim(Claimable(job.id, job.fence, worker=WORKER, node=NODE, lease_sec=30)),
    "succeed": lambda job: lifecycle.succeed(job.id, job.fence, result={"n": 1}),
    "fail": lambda job: lifecycle.fail(job.id, job.fence, code="X", message="no", retry=False),
    "give_back": lambda job: lifecycle.give_back([(job.id, job.fence)], reason="not its turn"),
    "lose": lambda job: lifecycle.lose(job.id, job.fence, reason="gone"),
    "cancel": lambda job: lifecycle.cancel(job.id, by="test"),
    "reopen": lambda job: lifecycle.reopen(job.id, by="test"),
    "block": lambda job: lifecycle.block(job.id, missing=["x"]),
    "suspend": lambda job: lifecycle.suspend(
        job.id, job.fence, group=Group(uuid.uuid4(), 1, 1, OnFailure.FAIL, state=None)
    ),
    "resume": lambda job: lifecycle.settle_groups([group_without_children(job).id]),
    "expire": lambda job: too_late(job) and lifecycle.expire(limit=10),
}


def too_late(job: Job) -> int:
    return Job.objects.filter(pk=job.pk).update(expires_at=job.created_at)


def group_without_children(job: Job) -> JobGroup:
    """One that the job waits for, if it waits at all."""
    Job.objects.filter(pk=job.pk).update(phase=1)
    Job.objects.filter(pk=job.pk, status=Status.QUEUED).update(waiting_on=1)
    return JobGroup.objects.create(parent=job, series=job.series, phase=1, depth=1, size=1)


def bring_to(status: Status, claimed: Claimed, make_job: Make) -> Job:
    if status == Status.QUEUED:
        job = make_job(max_attempts=2)
        Job.objects.filter(pk=job.pk).update(published_at=job.created_at)
    else:
        held = claimed(max_attempts=2)
        if status == Status.SUCCEEDED:
            lifecycle.succeed(held.id, held.fence, result=None)
        elif status == Status.FAILED:
            lifecycle.fail(held.id, held.fence, code=None, message="no", retry=False)
        elif status == Status.CANCELLED:
            lifecycle.cancel(held.id, by="test")
        job = Job.objects.get(pk=held.id)
    return Job.objects.get(pk=job.pk)


def messages(job_id: uuid.UUID) -> list[str]:
    return list(JobLog.objects.filter(job_id=job_id).values_list("message", flat=True))


@pytest.mark.parametrize(("event", "status"), list(itertools.product(RULES, Status)), ids=str)
def test_an_event_moves_a_job_only_from_the_states_its_rule_names(
    event: str, status: Status, claimed: Claimed, make_job: Make
) -> None:
    job = bring_to(status, claimed, make_job)

    refused = False
    try:
        EVENTS[event](job)
    except Problem as problem:
        refused = problem.code.name == "CONFLICT"

    after = Job.objects.get(pk=job.pk).status
    if status in RULES[event].sources:
        assert after in RULES[event].targets
    else:
        assert after == status
        assert refused == (event in ("cancel", "reopen") and not (event == "cancel" and status == Status.CANCELLED))


@pytest.mark.django_db(transaction=True)
def test_of_eight_claimers_one_wins(make_job: Make) -> None:
    job = make_job()
    won: list[object] = []
    barrier = threading.Barrier(8)

    def take() -> None:
        barrier.wait()
        won.append(lifecycle.claim(Claimable(job.id, 0, worker=WORKER, node=NODE, lease_sec=30)))

    run_together([take] * 8)

    assert sum(claim is not None for claim in won) == 1
    assert Attempt.objects.filter(job=job).count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("round_", range(10))
def test_cancel_racing_succeed_ends_in_exactly_one_state(round_: int, claimed: Claimed) -> None:
    held = claimed(callback_url="http://127.0.0.1/")
    outcomes: list[str] = []
    barrier = threading.Barrier(2)

    def finish() -> None:
        barrier.wait()
        if lifecycle.succeed(held.id, held.fence, result=1):
            outcomes.append("succeeded")

    def stop() -> None:
        barrier.wait()
        try:
            lifecycle.cancel(held.id, by="test")
            outcomes.append("cancelled")
        except Problem:
            pass

    run_together([finish, stop])

    assert outcomes == [Job.objects.get(pk=held.id).status]
    assert CallbackDelivery.objects.filter(job_id=held.id).count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_cancel_that_waited_for_a_claim_ends_the_claimed_attempt(make_job: Make) -> None:
    job = make_job()
    Job.objects.filter(pk=job.pk).update(published_at=job.created_at)

    def stop() -> None:
        lifecycle.cancel(job.id, by="test")
        connection.close()

    canceller = threading.Thread(target=stop)
    with transaction.atomic():
        lifecycle.claim(Claimable(job.id, job.fence, worker=WORKER, node=NODE, lease_sec=30))
        canceller.start()
        wait_until(somebody_waits_for_a_lock, what="the cancel to wait for the claim")
    canceller.join()

    assert Job.objects.get(pk=job.pk).status == Status.CANCELLED
    assert Attempt.objects.get(job=job).outcome == Outcome.CANCELLED


def somebody_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])


def test_a_late_worker_cannot_finish_a_rescued_job(claimed: Claimed) -> None:
    held = claimed(max_attempts=3)
    lifecycle.lose(held.id, held.fence, reason="silent")
    Job.objects.filter(pk=held.id).update(published_at="2026-01-01T00:00:00Z")
    second = lifecycle.claim(Claimable(held.id, held.fence, worker="other", node=None, lease_sec=30))
    assert second is not None

    assert not lifecycle.succeed(held.id, held.fence, result="late")

    assert Job.objects.get(pk=held.id).status == Status.RUNNING
    assert lifecycle.succeed(held.id, second.fence, result="right")
    assert Job.objects.get(pk=held.id).result == "right"


def test_a_message_of_an_earlier_attempt_claims_nothing(claimed: Claimed) -> None:
    held = claimed(max_attempts=3)
    lifecycle.fail(held.id, held.fence, code=None, message="no", retry=True)
    Job.objects.filter(pk=held.id).update(published_at="2026-01-01T00:00:00Z")

    assert lifecycle.claim(Claimable(held.id, held.fence - 1, worker=WORKER, node=NODE, lease_sec=30)) is None


def test_a_retried_failure_waits_and_says_so(claimed: Claimed) -> None:
    held = claimed(max_attempts=2)

    lifecycle.fail(held.id, held.fence, code="X", message="no", retry=True, retry_in_sec=30)

    job = Job.objects.get(pk=held.id)
    assert (job.status, job.attempts, job.published_at) == (Status.QUEUED, 1, None)
    assert 29 < (job.available_at - job.updated_at).total_seconds() < 31
    assert messages(held.id) == ["Job created", "Job claimed", "Job failed", "Re-queued for retry"]


def test_a_job_that_costs_too_many_workers_fails_with_worker_lost(claimed: Claimed, configure: Any) -> None:
    configure(WORKER_LOST_LIMIT=2)
    held = claimed(max_attempts=10)
    lifecycle.lose(held.id, held.fence, reason="killed")
    Job.objects.filter(pk=held.id).update(published_at="2026-01-01T00:00:00Z")
    again = lifecycle.claim(Claimable(held.id, held.fence, worker=WORKER, node=NODE, lease_sec=30))
    assert again is not None

    lifecycle.lose(held.id, again.fence, reason="killed")

    job = Job.objects.get(pk=held.id)
    assert (job.status, error_of(job)["code"], job.attempts) == (Status.FAILED, "WORKER_LOST", 2)


def test_ending_writes_the_attempts_lines_before_its_own(claimed: Claimed) -> None:
    held = claimed()
    lines = [log_line(n, f"line {n}", "info", None, None) for n in range(3)]

    lifecycle.succeed(held.id, held.fence, result={}, lines=lines)

    assert messages(held.id)[2:] == ["line 0", "line 1", "line 2", "Job succeeded"]
    attempt = Attempt.objects.get(job_id=held.id)
    assert (attempt.outcome, attempt.ended_at is not None) == (Outcome.SUCCEEDED, True)


def test_each_end_writes_one_callback_with_the_contracts_payload(claimed: Claimed) -> None:
    held = claimed(callback_url="https://example.org/hook")

    lifecycle.succeed(held.id, held.fence, result={"n": 1})

    delivery = CallbackDelivery.objects.get(job_id=held.id)
    assert set(delivery.payload) == {
        "id", "type", "status", "attempts", "max_attempts", "result", "error", "updated_at"
    }  # fmt: skip
    assert (delivery.payload["status"], delivery.payload["result"]) == ("succeeded", {"n": 1})


def test_a_retry_is_no_end_and_calls_nobody(claimed: Claimed) -> None:
    held = claimed(callback_url="https://example.org/hook", max_attempts=2)

    lifecycle.fail(held.id, held.fence, code="X", message="no", retry=True)

    assert not CallbackDelivery.objects.exists()


def test_reopening_starts_a_new_series_that_old_attempts_cannot_touch(claimed: Claimed) -> None:
    held = claimed()
    lifecycle.fail(held.id, held.fence, code="X", message="no", retry=True)

    job = lifecycle.reopen(held.id, by="key:ops")

    assert (job.status, job.series, job.attempts, job.fence) == (Status.QUEUED, 2, 0, held.fence)
    assert not lifecycle.succeed(held.id, held.fence, result="late")


def test_cancelling_twice_is_fine_and_a_finished_job_is_a_conflict(claimed: Claimed) -> None:
    held, done = claimed(), claimed()
    lifecycle.succeed(done.id, done.fence, result=None)

    lifecycle.cancel(held.id, by="a")
    assert lifecycle.cancel(held.id, by="b").status == Status.CANCELLED

    with pytest.raises(Problem, match="already succeeded"):
        lifecycle.cancel(done.id, by="a")
    assert messages(held.id).count("Job cancelled") == 2


def test_postgres_refuses_a_status_that_forgets_its_columns(claimed: Claimed) -> None:
    held = claimed()

    for status in (*TERMINAL, Status.QUEUED):
        with pytest.raises(IntegrityError, match="job_is_"), transaction.atomic():
            Job.objects.filter(pk=held.id).update(status=status)


def test_hostile_text_is_stored_harmlessly(claimed: Claimed) -> None:
    held = claimed(max_attempts=1)

    lifecycle.append_logs(held.id, [("info", "nul \x00 and \ud800", {"k\x00": ["\udfff", float("inf")]})])
    lifecycle.fail(held.id, held.fence, code=None, message="bad \x00", details={"x": "\x00"}, retry=False)

    line = JobLog.objects.filter(job_id=held.id, message__startswith="nul").get()
    assert line.message == "nul \ufffd and \ufffd"
    assert "meta left out" in str(line.meta)
    assert error_of(Job.objects.get(pk=held.id))["message"] == "bad \ufffd"


def run_together(steps: list[Callable[[], None]]) -> None:
    """Each in a thread with a connection of its own. Raises what the first of them raised."""

    def run(step: Callable[[], None]) -> None:
        try:
            step()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(steps)) as pool:
        for future in [pool.submit(run, step) for step in steps]:
            future.result()
