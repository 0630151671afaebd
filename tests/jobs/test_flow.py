"""What runs next under pauses, limits and fair turns, and what a new job does to others of its key."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from jobs import dispatch, lifecycle
from jobs.flow import Flow, Unique, at_pointer
from jobs.lifecycle import claim
from jobs.models import Job, JobType, Queue, Status
from jobs.reconciler import reconcile
from jobs.requests import NewJob
from jobs.submission import Submitted, submit, submit_batch
from jobs.transitions import Claim, Claimable
from rauskuclaw.errors import Problem
from tests.conftest import NODE, WORKER, error_of
from tests.running import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("wire", "whole_places")]

TYPE = "report.generate"
MakeType = Callable[..., JobType]


def make(key: str = "", *, type: str = TYPE, count: int = 1, **fields: Any) -> list[Job]:
    """Jobs made in one batch."""
    flow = fields.pop("flow", Flow(concurrency_key=key))
    done = submit_batch([NewJob(type=type, flow=flow, **fields)] * count, created_by="test")
    return [item.job for item in done if isinstance(item, Submitted)]


def published() -> list[Job]:
    return list(Job.objects.exclude(published_at=None).order_by("published_at"))


def run_one(job: Job) -> Claim:
    job.refresh_from_db()
    claimed = claim(Claimable(job.id, job.fence, worker=WORKER, node=NODE, lease_sec=30))
    assert claimed is not None
    return claimed


def end(claimed: Claim) -> None:
    assert lifecycle.succeed(claimed.id, claimed.fence, result=None)


def active() -> int:
    return Job.objects.filter(status=Status.RUNNING).count() + len(published())


@pytest.mark.parametrize(
    ("rule", "most"),
    [
        ({"max_running": 3}, 3),
        ({"max_running_per_key": 2}, 4),
        ({"max_running": 3, "max_running_per_key": 2}, 3),
        ({}, 8),
    ],
    ids=["type", "key", "both", "none"],
)
def test_a_limit_counts_what_is_published_and_what_runs(make_type: MakeType, rule: dict[str, int], most: int) -> None:
    make_type(**rule)
    make("a", count=10)
    make("b", count=10)
    assert active() == most

    claims = [run_one(job) for job in published()]
    dispatch.fill("default", "process")
    assert active() == (most if rule else 16)

    end(claims[0])
    dispatch.fill("default", "process")
    assert active() == (most if rule else 15)


def test_a_limit_of_a_type_holds_over_queues_and_fillers_at_once(make_type: MakeType) -> None:
    make_type(max_running=5)
    Queue.objects.bulk_create(Queue(name=f"q{n}", paused=True) for n in range(4))
    for n in range(4):
        make(count=10, queue=f"q{n}")
    assert active() == 0
    Queue.objects.update(paused=False)

    def fill(n: int) -> None:
        try:
            dispatch.fill(f"q{n % 4}", "process")
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(fill, range(16)))

    assert active() == 5


def test_a_job_without_a_key_has_no_limit_of_its_key(make_type: MakeType) -> None:
    make_type(max_running_per_key=1)
    make(count=5)

    assert active() == 5


def test_the_key_comes_from_the_input_by_the_types_pointer(make_type: MakeType) -> None:
    make_type(max_running_per_key=1, key_pointer="/title")
    for title in ("x", "x", "y"):
        submit(NewJob(type=TYPE, input={"title": title}), created_by="test")

    assert sorted(job.concurrency_key for job in published()) == ["x", "y"]


@pytest.mark.parametrize(
    ("pointer", "found"),
    [("/a/b", 1), ("/a~1b", 2), ("/m~0n", 3), ("/list/1", "two"), ("/list/9", None), ("/nope/x", None), ("", "whole")],
)
def test_pointers_are_those_of_rfc_6901(pointer: str, found: Any) -> None:
    document = {"a": {"b": 1}, "a/b": 2, "m~n": 3, "list": ["one", "two"]}

    assert at_pointer(document, pointer) == (document if found == "whole" else found)


def test_a_queue_has_a_limit_of_its_own(make_type: MakeType) -> None:
    make_type()
    Queue.objects.create(name="default", max_running=2)
    make(count=5)
    make(count=1, queue="other")

    assert sorted(job.queue for job in published()) == ["default", "default", "other"]


@pytest.mark.parametrize("single", [True, False])
def test_a_pause_holds_new_jobs_and_a_resume_lets_them_go(make_type: MakeType, single: bool) -> None:
    make_type()
    Queue.objects.create(name="default", paused=True)
    if single:
        submit(NewJob(type=TYPE), created_by="test")
    else:
        make(count=3)
    reconcile()
    assert published() == []

    Queue.objects.update(paused=False)
    reconcile()

    assert len(published()) == (1 if single else 3)


def test_a_paused_type_does_not_hold_up_others(make_type: MakeType) -> None:
    make_type()
    make_type("deploy.run", paused=True)
    make(type="deploy.run", count=20, priority=10)
    make(count=2, priority=0)

    assert {job.type for job in published()} == {TYPE}


def test_one_tenants_jobs_do_not_delay_anothers_first(make_type: MakeType) -> None:
    make_type()
    make("big", count=500)
    claims = [run_one(job) for job in published()]
    small = make("small", count=3)
    for held in claims[:3]:
        end(held)

    dispatch.fill("default", "process")

    assert small[0].id in [job.id for job in published()]


def test_turns_go_round_between_keys(make_type: MakeType) -> None:
    make_type()
    Queue.objects.create(name="default", paused=True)
    for key in "abcd":
        make(key, count=10)
    Queue.objects.update(paused=False)

    dispatch.fill("default", "process")

    order = [json_key(message) for message in range(8)]
    assert sorted(order[:4]) == list("abcd")
    assert sorted(order[4:]) == list("abcd")


def json_key(place: int) -> str:
    from jobs.dispatch import take_next

    message = take_next(["default"], max_timeout_sec=3600)
    assert message is not None, place
    return Job.objects.get(pk=message.attempts[0][0]).concurrency_key


def test_age_counts_as_priority_so_nothing_is_starved(make_type: MakeType) -> None:
    make_type()
    Queue.objects.create(name="default", paused=True)
    (old,) = make(priority=1)
    Job.objects.filter(pk=old.pk).update(turn_at=old.turn_at - timedelta(minutes=91))
    urgent = make(priority=10, count=8)
    Queue.objects.update(paused=False)

    dispatch.fill("default", "process")

    assert old.id in [job.id for job in published()]
    assert len({job.id for job in published()} & {job.id for job in urgent}) == 7


def test_a_rate_limit_lets_n_begin_in_any_period(make_type: MakeType) -> None:
    make_type(rate_limit=3, rate_period_sec=60)
    make(count=10)
    assert active() == 3

    for job in published():
        end(run_one(job))
    dispatch.fill("default", "process")
    assert active() == 0

    two_minutes_ago = timezone.now() - timedelta(minutes=2)
    Job.objects.filter(status="succeeded").first().attempt_rows.update(started_at=two_minutes_ago)  # type: ignore[union-attr]
    dispatch.fill("default", "process")
    assert active() == 1


def test_a_rate_limit_may_be_each_keys_own(make_type: MakeType) -> None:
    make_type(rate_limit=2, rate_per_key=True)
    make("a", count=5)
    make("b", count=5)
    for job in published():
        end(run_one(job))

    dispatch.fill("default", "process")

    assert active() == 0
    assert Job.objects.filter(status="succeeded", concurrency_key="a").count() == 2
    assert Job.objects.filter(status="succeeded", concurrency_key="b").count() == 2


def test_the_newest_of_a_key_cancels_the_one_that_runs(make_type: MakeType) -> None:
    make_type(max_running_per_key=1, on_limit="cancel_running")
    (first,) = make("x")
    run_one(first)

    (second,) = make("x")

    first.refresh_from_db()
    assert (first.status, error_of(first)["code"]) == ("cancelled", "REPLACED")
    dispatch.fill("default", "process")
    assert [job.id for job in published()] == [second.id]


def test_what_ends_while_it_is_to_be_replaced_stays_as_it_ended(make_type: MakeType) -> None:
    make_type(max_running_per_key=1, on_limit="cancel_running")
    (first,) = make("x")
    held = run_one(first)
    locked = threading.Event()

    def finish() -> None:
        try:
            with transaction.atomic():
                end(held)
                locked.set()
                wait_until(waits_for_a_row, what="the new job to wait for the row")
        finally:
            connection.close()

    def waits_for_a_row() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            return bool(cursor.fetchone()[0])

    with ThreadPoolExecutor(1) as pool:
        finishing = pool.submit(finish)
        assert locked.wait(10)
        (second,) = make("x")
        finishing.result()

    assert [Job.objects.get(pk=job.pk).status for job in (first, second)] == ["succeeded", "queued"]


def test_the_newest_of_a_key_may_be_dropped(make_type: MakeType) -> None:
    make_type(max_running_per_key=2, on_limit="drop_new")
    first, second, third = (make("x")[0] for _ in range(3))
    other = make("y")[0]

    assert [job.status for job in (first, second, third, other)] == ["queued", "queued", "cancelled", "queued"]
    assert error_of(third)["code"] == "DROPPED"


def test_of_a_hundred_made_at_once_the_limit_is_left(make_type: MakeType) -> None:
    make_type(max_running_per_key=1, on_limit="drop_new")

    def one(_: int) -> None:
        try:
            submit(NewJob(type=TYPE, flow=Flow(concurrency_key="x")), created_by="test")
        finally:
            connection.close()

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(one, range(40)))

    assert Job.objects.filter(status="queued").count() == 1
    assert Job.objects.filter(status="cancelled").count() == 39


def unique(policy: Any, window_sec: int = 60) -> NewJob:
    return NewJob(type=TYPE, flow=Flow(unique=Unique("u", window_sec, policy)))


def test_keep_answers_with_the_first(make_type: MakeType) -> None:
    make_type()
    first = submit(unique("keep"), created_by="test")
    again = submit(unique("keep"), created_by="test")
    in_a_batch = submit_batch([unique("keep")] * 2, created_by="test")

    assert not first.idempotent
    assert again == Submitted(again.job, idempotent=True)
    assert {item.job.id for item in in_a_batch if isinstance(item, Submitted)} == {first.job.id} == {again.job.id}

    Job.objects.update(created_at=timezone.now() - timedelta(seconds=61))
    assert submit(unique("keep"), created_by="test").job.id != first.job.id


def test_an_idempotency_key_keeps_its_answer_when_the_window_is_over(make_type: MakeType) -> None:
    make_type()
    first = submit(unique("keep"), created_by="test", idempotency_key="maker").job
    assert submit(unique("keep"), created_by="test", idempotency_key="late").job.id == first.id
    Job.objects.update(created_at=timezone.now() - timedelta(seconds=61))
    second = submit(unique("keep"), created_by="test").job
    assert second.id != first.id

    answers = [submit(unique("keep"), created_by="test", idempotency_key=key).job.id for key in ("maker", "late")]

    assert answers == [first.id, first.id]
    with pytest.raises(Problem, match="another request"):
        submit(unique("replace"), created_by="test", idempotency_key="late")


def test_replace_runs_the_last_once_the_window_has_passed(make_type: MakeType) -> None:
    make_type()
    jobs = [submit(unique("replace"), created_by="test").job for _ in range(3)]

    assert [Job.objects.get(pk=job.pk).status for job in jobs] == ["cancelled", "cancelled", "queued"]
    assert published() == []
    assert 55 < (jobs[-1].available_at - timezone.now()).total_seconds() <= 60

    Job.objects.filter(status="queued").update(available_at=timezone.now())
    dispatch.fill("default", "process")
    assert [job.id for job in published()] == [jobs[-1].id]


def test_a_job_that_did_not_begin_in_time_fails_and_its_dependants_with_it(make_type: MakeType) -> None:
    make_type()
    (late,) = make(flow=Flow(expires_in_sec=60), callback_url="http://127.0.0.1/")
    dependant = submit(NewJob(type=TYPE, input={"depends_on": [str(late.id)]}), created_by="test").job
    Job.objects.filter(pk=late.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert claim(Claimable(late.id, 0, worker=WORKER, node=NODE, lease_sec=30)) is None

    reconcile()

    late.refresh_from_db()
    assert (late.status, error_of(late)["code"], late.callbacks.count()) == ("failed", "JOB_EXPIRED", 1)
    assert Job.objects.get(pk=dependant.pk).status == "failed"


def test_a_retry_does_not_expire(make_type: MakeType) -> None:
    make_type()
    (job,) = make(flow=Flow(expires_in_sec=60), max_attempts=2)
    held = run_one(job)
    lifecycle.fail(held.id, held.fence, code=None, message="no", retry=True)
    Job.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    reconcile()

    assert Job.objects.get(pk=job.pk).status == "queued"
