"""Jobs that wait for others."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable

import pytest
from django.db import connection

from jobs import lifecycle
from jobs.models import Job, JobLog, Status
from jobs.requests import NewJob
from jobs.submission import submit
from jobs.transitions import Claimable
from rauskuclaw.errors import Problem
from tests.conftest import NODE, WORKER, error_of

pytestmark = pytest.mark.django_db(transaction=True)
Make = Callable[..., Job]


def after(*jobs: Job) -> dict[str, list[str]]:
    return {"depends_on": [str(job.id) for job in jobs]}


def finish(job: Job, *, well: bool = True) -> None:
    Job.objects.filter(pk=job.pk, published_at=None).update(published_at=job.created_at)
    held = lifecycle.claim(Claimable(job.id, Job.objects.get(pk=job.pk).fence, worker=WORKER, node=NODE, lease_sec=30))
    assert held is not None
    if well:
        assert lifecycle.succeed(held.id, held.fence, result=None)
    else:
        assert lifecycle.fail(held.id, held.fence, code=None, message="no", retry=False)


def status(job: Job) -> str:
    return Job.objects.get(pk=job.pk).status


def test_a_dependant_waits_and_is_published_by_the_last_success(make_job: Make) -> None:
    first, second = make_job(), make_job()
    third = make_job(input=after(first, second))
    assert (third.waiting_on, third.published_at) == (2, None)

    finish(first)
    assert Job.objects.get(pk=third.pk).published_at is None
    finish(second)

    assert Job.objects.get(pk=third.pk).published_at is not None


def test_a_failure_blocks_dependants_and_theirs(make_job: Make) -> None:
    first = make_job()
    second = make_job(input=after(first))
    third = make_job(input=after(second))

    finish(first, well=False)

    assert (status(second), status(third)) == ("failed", "failed")
    error = error_of(Job.objects.get(pk=second.pk))
    assert (error["code"], error["details"]["failed_dependencies"]) == ("DEPENDENCY_BLOCKED", [str(first.id)])
    assert Job.objects.get(pk=second.pk).attempts == 0
    assert JobLog.objects.filter(job=third, message="Dependency blocked job").exists()


def test_cancelling_a_dependency_blocks_its_dependants(make_job: Make) -> None:
    first = make_job()
    second = make_job(input=after(first))

    lifecycle.cancel(first.id, by="test")

    assert status(second) == "failed"


def test_a_missing_dependency_blocks_the_job_at_once(make_job: Make) -> None:
    missing = str(uuid.uuid4())

    job = make_job(input={"depends_on": [missing, "no-uuid"]}, callback_url="https://example.org/x")

    assert job.status == "failed"
    assert error_of(job)["details"]["missing_dependencies"] == [missing, "no-uuid"]
    assert job.callbacks.count() == 1


def test_a_dependency_that_has_succeeded_does_not_hold_a_job(make_job: Make) -> None:
    first = make_job()
    finish(first)

    assert make_job(input=after(first)).published_at is not None


def test_dependencies_that_end_at_once_release_exactly_once(make_job: Make) -> None:
    for _ in range(5):
        parents = [make_job() for _ in range(4)]
        child = make_job(input=after(*parents))
        threads = [threading.Thread(target=in_thread, args=(parent,)) for parent in parents]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert Job.objects.get(pk=child.pk).waiting_on == 0


def in_thread(job: Job) -> None:
    finish(job)
    connection.close()


def test_a_job_made_while_its_dependency_ends_is_never_forgotten(make_job: Make) -> None:
    children: list[uuid.UUID] = []

    def create(parent: Job) -> None:
        children.append(submit(NewJob(type="report.generate", input=after(parent)), created_by="t").job.id)
        connection.close()

    for _ in range(10):
        parent = make_job()
        threads = [threading.Thread(target=in_thread, args=(parent,)), threading.Thread(target=create, args=(parent,))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert Job.objects.filter(pk__in=children, waiting_on=0).count() == 10


def test_a_blocked_job_is_retried_after_its_dependency(make_job: Make) -> None:
    first = make_job()
    second = make_job(input=after(first))
    finish(first, well=False)
    with pytest.raises(Problem, match="retry that first"):
        lifecycle.reopen(second.id, by="test")

    lifecycle.reopen(first.id, by="test")
    assert lifecycle.reopen(second.id, by="test").waiting_on == 1
    finish(first)

    assert Job.objects.get(pk=second.pk).waiting_on == 0
    assert status(second) == Status.QUEUED
