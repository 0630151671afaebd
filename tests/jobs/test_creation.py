"""What making a job returns: its row, though most of it is not read back."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest

from jobs import dispatch
from jobs.flow import Flow, Unique
from jobs.models import Job, JobType
from jobs.requests import NewJob
from jobs.submission import submit, submit_batch

pytestmark = pytest.mark.django_db(transaction=True)

PLAIN = NewJob("test.noop")
NEW_JOBS = {
    "plain": PLAIN,
    "all fields": NewJob(
        "test.noop",
        queue="elsewhere",
        input={"b": [1, 2.5, 1e16, None, True], "a": {"ä": "\U0001f600"}},
        priority=9,
        timeout_sec=3600,
        max_attempts=10,
        callback_url="https://example.com/done",
        tags=("x", "y"),
    ),
    "input that is no object": replace(PLAIN, input=[1, "two"]),
    "text that Postgres cannot store": replace(PLAIN, input={"a\x00": "b\x00", "c": "\ud800"}, tags=("\x00",)),
    "a key and an end": replace(PLAIN, flow=Flow(concurrency_key="tenant", expires_in_sec=60)),
    "kept": replace(PLAIN, flow=Flow(unique=Unique("k", 60))),
    "replaced": replace(PLAIN, flow=Flow(unique=Unique("k", 60, "replace"))),
}


@pytest.fixture(autouse=True)
def job_type(monkeypatch: pytest.MonkeyPatch) -> None:
    JobType.objects.create(name="test.noop", handler="test:noop")
    monkeypatch.setattr(dispatch, "fill", lambda *_args, **_options: 0)


def facts(job: Job) -> dict[str, Any]:
    return {field.attname: getattr(job, field.attname) for field in Job._meta.concrete_fields}


def assert_is_its_row(made: Job) -> None:
    kept = Job.objects.get(pk=made.pk)
    assert facts(made) == facts(kept)
    assert not made._state.adding
    assert made._state.db == kept._state.db


@pytest.mark.parametrize("name", NEW_JOBS)
def test_a_submitted_job_is_its_row(name: str) -> None:
    made = submit(NEW_JOBS[name], created_by="tests").job

    assert_is_its_row(made)


def test_the_jobs_of_a_batch_are_their_rows_in_order() -> None:
    dependency = submit(PLAIN, created_by="tests").job
    waiting = replace(PLAIN, input={"depends_on": [str(dependency.id)]})
    items = [NewJob("test.noop", priority=n % 10, tags=(str(n),)) for n in range(20)] + [waiting]

    made = [done.job for done in submit_batch(items, created_by="tests")]  # type: ignore[union-attr]

    for job in made:
        assert_is_its_row(job)
    assert [job.tags for job in made] == [list(item.tags) for item in items]
    assert [job.created_at for job in made] == sorted({job.created_at for job in made})
    assert made[-1].waiting_on == 1


def test_a_taken_idempotency_key_makes_nothing() -> None:
    key = str(uuid.uuid4())
    made = submit(PLAIN, created_by="tests", idempotency_key=key)

    again = submit(PLAIN, created_by="tests", idempotency_key=key)

    assert not made.idempotent
    assert again.idempotent
    assert again.job.id == made.job.id
    assert Job.objects.count() == 1
