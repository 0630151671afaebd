"""GET /v1/jobs/{id}/explain: each state a job can be in, told in codes and words."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from jobs import lifecycle, queries
from jobs.models import Job, JobType, Node
from jobs.transitions import Claim
from rauskuclaw import errors
from tests.apiclient import Api

Make = Callable[..., Job]
Claimed = Callable[..., Claim]


@pytest.fixture
def make_worker(db: None) -> Callable[..., Node]:
    """A worker that was heard of just now."""

    def make(*queues: str, silent_sec: float = 0, **columns: Any) -> Node:
        seen_at = timezone.now() - timedelta(seconds=silent_sec)
        facts = {"name": "w1", "host": "h", "pid": 1, "pid_created_at": 0.0, "version": "1", "concurrency": 2}
        return Node.objects.create(
            kind=Node.Kind.WORKER, queues=list(queues) or ["default"], seen_at=seen_at, **facts | columns
        )

    return make


@pytest.fixture
def explain(api: Api) -> Callable[[Any], dict[str, Any]]:
    """The explanation of a job; `codes` lists the reasons' codes, `first` is the heaviest reason."""

    def ask(job_id: uuid.UUID) -> dict[str, Any]:
        answer = api.get(f"/v1/jobs/{job_id}/explain")
        assert answer.status == 200, answer.text
        reasons = answer.json["reasons"]
        assert answer.json["summary"] == reasons[0]["message"]
        assert {reason["code"] for reason in reasons} <= errors.REGISTRY.keys()
        return {**answer.json, "codes": [reason["code"] for reason in reasons], "first": reasons[0]}

    return ask


Explain = Callable[[uuid.UUID], dict[str, Any]]


def queue_up(*jobs: Job) -> None:
    """Take the jobs out of the window, as if it had been full when they came, the first one first."""
    for age, job in enumerate(reversed(jobs)):
        turn_at = timezone.now() - timedelta(seconds=age + job.priority * 600)
        Job.objects.filter(pk=job.pk).update(published_at=None, turn_at=turn_at)


def test_a_queue_without_worker_is_the_heaviest_reason(explain: Explain, make_job: Make) -> None:
    found = explain(make_job(queue="gpu").id)

    assert found["codes"][0] == "NO_WORKER_ON_QUEUE"
    assert "'gpu'" in found["summary"]
    assert "WORKER_QUEUE_ALLOWLIST" in found["first"]["remedy"]


def test_a_job_that_waits_for_the_network_needs_an_io_worker(
    explain: Explain, make_job: Make, make_worker: Callable[..., Node], make_type: Callable[..., Any]
) -> None:
    make_type("data.fetch", handler="builtin:data.fetch")
    job = make_job("data.fetch", input={"url": "https://example.com/"})
    make_worker()

    assert explain(job.id)["summary"] == "No live worker of the io pool consumes the queue 'default'."

    make_worker(pool="io", concurrency=200)
    assert explain(job.id)["codes"] == ["PUBLISHED_WAITING_FOR_SLOT"]


@pytest.mark.parametrize("worker", [{"queues": ("cpu",)}, {"queues": ("gpu",), "silent_sec": 16}])
def test_workers_of_other_queues_and_silent_ones_do_not_count(
    explain: Explain, make_job: Make, make_worker: Callable[..., Node], worker: dict[str, Any]
) -> None:
    make_worker(*worker.pop("queues"), **worker)

    assert "NO_WORKER_ON_QUEUE" in explain(make_job(queue="gpu").id)["codes"]


def test_a_published_job_waits_for_a_free_process(
    explain: Explain, make_job: Make, make_worker: Callable[..., Node]
) -> None:
    make_worker()
    make_job()
    found = explain(make_job().id)

    assert found["codes"] == ["PUBLISHED_WAITING_FOR_SLOT"]
    assert found["first"]["details"] | {"published_at": ""} == {
        "ahead": 0, "in_window": 1, "running": 0, "workers": 1, "slots": 2, "published_at": "",
    }  # fmt: skip


def test_more_urgent_and_older_jobs_are_counted_as_ahead(
    explain: Explain, make_job: Make, make_worker: Callable[..., Node]
) -> None:
    make_worker()
    ahead = [make_job(priority=9), make_job(priority=5)]
    job = make_job(priority=5)
    behind = [make_job(priority=5), make_job(priority=1), make_job(priority=9, queue="other")]
    queue_up(*ahead, job, *behind)

    found = explain(job.id)

    assert found["codes"] == ["QUEUE_AHEAD"]
    assert found["first"]["details"]["ahead"] == 2
    assert found["summary"].startswith("2 queued jobs of higher priority or greater age")


def test_jobs_ahead_that_wait_themselves_are_not_counted(
    explain: Explain, make_job: Make, make_worker: Callable[..., Node]
) -> None:
    make_worker()
    due_later, job = make_job(), make_job()
    queue_up(due_later, job)
    Job.objects.filter(pk=due_later.pk).update(available_at=timezone.now() + timedelta(hours=1))

    assert explain(job.id)["codes"] == ["NEXT_IN_QUEUE"]


def test_counting_stops_at_its_bound_and_says_so(
    explain: Explain, make_job: Make, make_worker: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "COUNTED_JOBS", 2)
    make_worker()
    jobs = [make_job() for _ in range(4)]
    queue_up(*jobs)

    assert explain(jobs[-1].id)["summary"].startswith("at least 2 queued jobs")


def test_open_dependencies_are_named(explain: Explain, make_job: Make, make_worker: Callable[..., Node]) -> None:
    make_worker()
    parent = make_job()
    child = make_job(input={"depends_on": [str(parent.id)]})

    found = explain(child.id)

    assert found["codes"] == ["WAITING_FOR_DEPENDENCIES"]
    assert str(parent.id) in found["summary"]
    assert found["first"]["details"]["open_dependencies"] == [
        {"id": str(parent.id), "type": parent.type, "status": "queued"}
    ]


def test_a_retry_says_when_it_is_due_and_what_went_wrong(
    explain: Explain, claimed: Claimed, make_worker: Callable[..., Node]
) -> None:
    make_worker()
    claim = claimed(max_attempts=3)
    lifecycle.fail(claim.id, claim.fence, code=errors.UPSTREAM_ERROR.name, message="502", retry=True, retry_in_sec=600)

    found = explain(claim.id)

    assert found["codes"] == ["RETRY_DUE_AT", "LAST_ERROR"]
    assert found["summary"].startswith("Attempt 2 of 3 is due at ")
    assert found["reasons"][1]["message"] == "The last error was UPSTREAM_ERROR: 502"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"enabled": False}, "JOB_TYPE_DISABLED"),
        ({"handler": "no:such"}, "HANDLER_UNKNOWN"),
        (None, "JOB_TYPE_UNKNOWN"),
    ],
)
def test_a_type_that_cannot_run_is_said_first(
    explain: Explain, make_job: Make, change: dict[str, Any] | None, code: str
) -> None:
    job = make_job()
    job_type = JobType.objects.filter(name=job.type)
    job_type.delete() if change is None else job_type.update(**change)

    assert explain(job.id)["codes"][0] == code


def test_a_running_job_names_its_worker_lease_and_progress(explain: Explain, claimed: Claimed) -> None:
    claim = claimed()
    Job.objects.filter(pk=claim.id).update(progress={"fraction": 0.5, "message": "half way"})

    found = explain(claim.id)

    assert found["codes"] == ["RUNNING"]
    assert "'test-worker' has run attempt 1 of 1 since" in found["summary"]
    assert "50% done (half way)" in found["summary"]


def test_a_silent_worker_is_told_apart_from_a_running_one(explain: Explain, claimed: Claimed) -> None:
    claim = claimed()
    Job.objects.filter(pk=claim.id).update(lease_expires_at=timezone.now() - timedelta(seconds=1))

    assert explain(claim.id)["codes"] == ["LEASE_EXPIRED"]


def test_a_failed_job_says_why_and_how_to_run_it_again(explain: Explain, claimed: Claimed) -> None:
    claim = claimed()
    lifecycle.fail(claim.id, claim.fence, code=errors.JOB_TIMEOUT.name, message="timeout", retry=True)

    found = explain(claim.id)

    assert found["codes"] == ["FAILED", "LAST_ERROR"]
    assert errors.JOB_TIMEOUT.meaning in found["summary"]
    assert f"POST /v1/jobs/{claim.id}/retry" in found["first"]["remedy"]


def test_a_succeeded_and_a_cancelled_job_say_so(explain: Explain, claimed: Claimed, make_job: Make) -> None:
    claim, job = claimed(), make_job()
    lifecycle.succeed(claim.id, claim.fence, result={})
    lifecycle.cancel(job.id, by="test")

    assert explain(claim.id)["codes"] == ["SUCCEEDED"]
    assert explain(job.id)["codes"] == ["CANCELLED"]


def test_an_explanation_costs_at_most_four_statements(
    explain: Explain, make_job: Make, claimed: Claimed, django_assert_max_num_queries: Any
) -> None:
    parent = make_job()
    jobs = [parent.id, make_job(input={"depends_on": [str(parent.id)]}).id, claimed().id]

    for job_id in jobs:
        with django_assert_max_num_queries(4):
            explain(job_id)
