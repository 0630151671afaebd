"""Cancelling and retrying by filter, and the jobs that have failed for good."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from access.models import AuditEntry
from access.principals import Principal
from jobs import bulk_run, execution, lifecycle, queries
from jobs.bulk import BULK_TYPE
from jobs.handlers.base import Cancelled
from jobs.handlers.bulk import STATUSES
from jobs.job_types import seed
from jobs.models import Job, JobLog, Node, Queue, Status
from jobs.queries import JobFilter
from jobs.slots import Slots
from jobs.transitions import Claim, Claimable
from tests.apiclient import GPU_ONLY, READER, Api
from tests.conftest import NODE, WORKER
from tests.large_table import large_table

pytestmark = pytest.mark.django_db(transaction=True)

Make = Callable[..., Job]
Claimed = Callable[..., Claim]
NOON = timezone.now() - timedelta(hours=1)


@pytest.fixture(autouse=True)
def types(db: None) -> None:
    seed()


def bulk(api: Api, action: str, filter: Any, **options: Any) -> Job:
    """The bulk job, made over HTTP."""
    answer = api.post("/v1/jobs/bulk", {"action": action, "filter": filter}, **options)
    assert answer.status == 201, answer.text
    return Job.objects.get(pk=answer.json["job"]["id"])


def run(job: Job) -> Job:
    """One attempt, as a worker runs it."""
    slots = Slots(1)
    slots.join()
    job.refresh_from_db()
    Job.objects.filter(pk=job.pk, published_at=None).update(published_at=timezone.now())
    execution.run_attempts([[Claimable(job.id, job.fence, WORKER, None)]], slots=slots)
    job.refresh_from_db()
    return job


def counts(job: Job) -> tuple[int, int, int]:
    assert job.status == "succeeded", job.error
    assert isinstance(job.result, dict)
    return job.result["done"], job.result["skipped"], job.result["failed"]


def fail(claim: Claim, code: str = "UPSTREAM_ERROR") -> uuid.UUID:
    lifecycle.fail(claim.id, claim.fence, code=code, message="no", retry=False)
    return claim.id


def statuses(*ids: uuid.UUID) -> list[str]:
    found = dict(Job.objects.filter(pk__in=ids).values_list("pk", "status"))
    return [found[pk] for pk in ids]


def test_cancel_ends_what_the_filter_finds_and_no_more(api: Api, make_job: Make, claimed: Claimed) -> None:
    queued, running, other = make_job(tags=("x",)).id, claimed(tags=("x",)).id, make_job().id
    job = bulk(api, "cancel", {"tag": "x"})
    later = make_job(tags=("x",)).id

    ended = run(job)

    assert counts(ended) == (2, 0, 0)
    assert statuses(queued, running, other, later) == ["cancelled", "cancelled", "queued", "queued"]
    assert JobLog.objects.get(job=queued, message="Job cancelled").meta == {
        "by": f"bulk job {job.id} of key:ci", "was": "queued",
    }  # fmt: skip


def test_cancel_of_everything_spares_itself(api: Api, make_job: Make) -> None:
    ids = [make_job().id for _ in range(5)]

    ended = run(bulk(api, "cancel", {"status": "queued"}))

    assert counts(ended) == (5, 0, 0)
    assert statuses(*ids) == ["cancelled"] * 5


def test_retry_runs_failed_jobs_again_by_their_error(api: Api, make_job: Make, claimed: Claimed) -> None:
    upstream = [fail(claimed()) for _ in range(3)]
    other, cancelled = fail(claimed(), "HANDLER_ERROR"), make_job().id
    lifecycle.cancel(cancelled, by="test")

    ended = run(bulk(api, "retry", {"error_code": "UPSTREAM_ERROR"}))

    assert counts(ended) == (3, 0, 0)
    assert statuses(*upstream, other, cancelled) == ["queued"] * 3 + ["failed", "cancelled"]
    assert AuditEntry.objects.filter(action="job.retried").count() == 3


def test_retry_takes_cancelled_jobs_when_it_is_told(api: Api, make_job: Make) -> None:
    cancelled = make_job().id
    lifecycle.cancel(cancelled, by="test")

    assert counts(run(bulk(api, "retry", {"status": "cancelled"}))) == (1, 0, 0)
    assert statuses(cancelled) == ["queued"]


def test_a_chain_of_failed_jobs_is_retried_from_its_root(api: Api, make_job: Make, claimed: Claimed) -> None:
    """Newest first: the dependants are met before what they depend on, and take another pass."""
    root = claimed()
    chain = [root.id]
    for _ in range(3):
        chain.append(make_job(input={"depends_on": [str(chain[-1])]}).id)
    fail(root)
    assert statuses(*chain) == ["failed"] * 4

    ended = run(bulk(api, "retry", {"type": "report.generate"}))

    assert counts(ended) == (4, 0, 0)
    assert statuses(*chain) == ["queued"] * 4


def test_what_cannot_be_retried_is_counted_and_named(api: Api, claimed: Claimed, make_job: Make) -> None:
    root = claimed()
    child = make_job(input={"depends_on": [str(root.id)]}).id
    fail(root)

    ended = run(bulk(api, "retry", {"error_code": "DEPENDENCY_BLOCKED"}))

    assert counts(ended) == (0, 0, 1)
    assert ended.result["faults"][0]["job_id"] == str(child)  # type: ignore[index]
    assert "retry that first" in ended.result["faults"][0]["message"]  # type: ignore[index]


def test_what_has_moved_on_is_skipped(api: Api, make_job: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    moved, left = make_job(), make_job()
    real = lifecycle.cancel

    def finish_first(job_id: uuid.UUID, *, by: str) -> Job:
        claim = (
            lifecycle.claim(Claimable(moved.id, 0, worker=WORKER, node=NODE, lease_sec=30))
            if job_id == moved.id
            else None
        )
        if claim is not None:
            lifecycle.succeed(claim.id, claim.fence, result=None)
        return real(job_id, by=by)

    monkeypatch.setattr(lifecycle, "cancel", finish_first)

    ended = run(bulk(api, "cancel", {"status": "queued"}))

    assert counts(ended) == (1, 1, 0)
    assert statuses(moved.id, left.id) == ["succeeded", "cancelled"]


def test_a_job_that_fails_again_meanwhile_is_not_retried_twice(
    api: Api, claimed: Claimed, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = fail(claimed())
    real = lifecycle.reopen

    def fail_at_once(job_id: uuid.UUID, *, by: str) -> Job:
        job = real(job_id, by=by)
        Job.objects.filter(pk=job_id).update(published_at=timezone.now())
        again = lifecycle.claim(Claimable(job_id, job.fence, worker=WORKER, node=NODE, lease_sec=30))
        assert again is not None
        fail(again)
        return job

    monkeypatch.setattr(lifecycle, "reopen", fail_at_once)

    assert counts(run(bulk(api, "retry", {"error_code": "UPSTREAM_ERROR"}))) == (1, 0, 0)
    assert Job.objects.get(pk=failed).series == 2


def test_a_second_attempt_goes_on_where_the_first_was_killed(
    api: Api, make_job: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_run, "BATCH", 2)
    ids = [make_job().id for _ in range(7)]
    real, seen = lifecycle.cancel, list[uuid.UUID]()

    def break_at_the_sixth(job_id: uuid.UUID, *, by: str) -> Job:
        seen.append(job_id)
        if len(seen) == 6:
            raise RuntimeError("killed")
        return real(job_id, by=by)

    monkeypatch.setattr(lifecycle, "cancel", break_at_the_sixth)
    job = bulk(api, "cancel", {"status": "queued"})
    first = run(job)
    assert (first.status, first.attempts) == ("queued", 1)
    assert statuses(*ids).count("cancelled") == 5

    Job.objects.filter(pk=job.pk).update(available_at=timezone.now())
    second = run(job)

    assert statuses(*ids) == ["cancelled"] * 7
    assert len(seen) == len({*seen}) + 1
    # The fifth was done after the last note of how far it was.
    assert counts(second) == (6, 0, 0)


def test_a_cancelled_bulk_job_stops(api: Api, make_job: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [make_job().id for _ in range(4)]
    job = bulk(api, "cancel", {"status": "queued"})
    real, seen = lifecycle.cancel, list[uuid.UUID]()

    def stop_after_two(job_id: uuid.UUID, *, by: str) -> Job:
        if len(seen) == 2:
            real(job.id, by="test")
            raise Cancelled
        seen.append(job_id)
        return real(job_id, by=by)

    monkeypatch.setattr(lifecycle, "cancel", stop_after_two)

    assert run(job).status == "cancelled"
    assert statuses(*ids).count("queued") == 2


def test_progress_is_told_in_batches(api: Api, make_job: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_run, "BATCH", 2)
    for _ in range(4):
        make_job()

    job = run(bulk(api, "cancel", {"status": "queued"}))

    notes = JobLog.objects.filter(job=job, message=bulk_run.NOTE).order_by("id")
    assert [note.meta["done"] for note in notes if note.meta] == [2, 4]


def test_a_limited_key_reaches_its_own_queues_only(api: Api, make_job: Make) -> None:
    own, foreign = make_job(queue="gpu").id, make_job(queue="cpu").id
    job = bulk(api, "cancel", {"status": "queued"}, key=GPU_ONLY)

    assert job.queue == "gpu"
    assert counts(run(job)) == (1, 0, 0)
    assert statuses(own, foreign) == ["cancelled", "queued"]


@pytest.mark.parametrize(
    "body",
    [
        {"action": "cancel", "filter": {"queue": "cpu"}},
        {"action": "cancel", "filter": {"queue": "gpu"}, "queue": "cpu"},
    ],
    ids=["filter", "where it runs"],
)
def test_a_limited_key_may_not_name_a_foreign_queue(api: Api, body: dict[str, Any]) -> None:
    assert api.post("/v1/jobs/bulk", body, key=GPU_ONLY).code == "FORBIDDEN"
    assert not Job.objects.exists()


def test_a_limited_key_cannot_reach_further_by_making_the_job_itself(api: Api) -> None:
    wanted = {"action": "cancel", "filter": {"status": "queued"}, "queues": None}
    api.post("/v1/job-types", {"name": "my.bulk", "handler": "builtin:jobs.bulk"}, key=GPU_ONLY)

    for type_ in (BULK_TYPE, "my.bulk"):
        body = {"type": type_, "queue": "gpu", "input": wanted}
        assert api.post("/v1/jobs", body, key=GPU_ONLY).code == "FORBIDDEN"
        (item,) = api.post("/v1/jobs/batch", {"jobs": [body]}, key=GPU_ONLY).json["results"]
        assert item["error"]["code"] == "FORBIDDEN"
    assert api.post("/v1/jobs", {"type": BULK_TYPE, "input": wanted}).status == 201


def test_a_reader_makes_no_bulk_job(api: Api) -> None:
    body = {"action": "cancel", "filter": {"status": "queued"}}

    assert api.post("/v1/jobs/bulk", body, key=READER).code == "FORBIDDEN"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"filter": {"type": "x"}}, "action"),
        ({"action": "delete", "filter": {"type": "x"}}, "action"),
        ({"action": "cancel"}, "filter"),
        ({"action": "cancel", "filter": []}, "filter"),
        ({"action": "cancel", "filter": {}}, "filter"),
        ({"action": "cancel", "filter": {"status": None}}, "filter"),
        ({"action": "cancel", "filter": {"colour": "red"}}, "filter.colour"),
        ({"action": "cancel", "filter": {"status": "succeeded"}}, "filter.status"),
        ({"action": "cancel", "filter": {"status": "failed"}}, "filter.status"),
        ({"action": "retry", "filter": {"status": "queued"}}, "filter.status"),
        ({"action": "cancel", "filter": {"since": "yesterday"}}, "filter.since"),
        ({"action": "cancel", "filter": {"type": "x"}, "queue": "no queue"}, "queue"),
        ({"action": "cancel", "filter": {"type": "x"}, "force": True}, "force"),
    ],
)
def test_a_bad_request_names_the_field(api: Api, body: dict[str, Any], path: str) -> None:
    answer = api.post("/v1/jobs/bulk", body)

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert [fault["path"] for fault in answer.json["error"]["details"]["errors"]] == [path]
    assert not Job.objects.exists()


def test_a_bulk_job_is_recorded_and_made_once_for_an_idempotency_key(api: Api) -> None:
    body = {"action": "cancel", "filter": {"status": "queued"}}

    first, again = (api.post("/v1/jobs/bulk", body, Idempotency_Key="k") for _ in range(2))

    assert (first.status, again.status, again.json["idempotent"]) == (201, 200, True)
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.action) == ("key:ci", "jobs.bulk_cancel_requested")
    assert (entry.object_id, entry.details) == (first.json["job"]["id"], {"filter": {"status": "queued"}})
    assert first.json["job"]["priority"] == 10


def test_it_runs_where_a_worker_is_and_no_pause(api: Api) -> None:
    for queue in ("default", "side"):
        Node.objects.create(
            kind=Node.Kind.WORKER, name=queue, host="h", pid=1, pid_created_at=0, queues=[queue], version="1",
            concurrency=1, seen_at=timezone.now(),
        )  # fmt: skip
    assert bulk(api, "cancel", {"type": "x"}).queue == "default"

    Queue.objects.create(name="default", paused=True)

    assert bulk(api, "cancel", {"type": "x"}).queue == "side"


def test_the_moments_of_a_filter_are_those_of_the_list(api: Api, make_job: Make) -> None:
    old, new = make_job().id, make_job().id
    Job.objects.filter(pk=old).update(created_at=NOON)
    border = (NOON + timedelta(minutes=1)).isoformat()

    assert counts(run(bulk(api, "cancel", {"until": border}))) == (1, 0, 0)
    assert statuses(old, new) == ["cancelled", "queued"]


def test_an_action_is_offered_for_what_the_lifecycle_allows() -> None:
    rules = {"cancel": lifecycle.RULES["cancel"], "retry": lifecycle.RULES["reopen"]}

    assert {action: {*names} for action, names in STATUSES.items()} == {
        action: {*rule.sources} for action, rule in rules.items()
    }


def test_dead_jobs_are_grouped_by_type_and_error(api: Api, make_job: Make, claimed: Claimed) -> None:
    upstream = [fail(claimed()) for _ in range(2)]
    other = fail(claimed(type="deploy.run"), "HANDLER_ERROR")
    make_job()

    answer = api.get("/v1/jobs/dead").json

    found = [(group["type"], group["error_code"], group["count"]) for group in answer["groups"]]
    assert found == [("report.generate", "UPSTREAM_ERROR", 2), ("deploy.run", "HANDLER_ERROR", 1)]
    assert answer["groups"][0]["last_failed_at"].endswith("Z")
    assert [job["id"] for job in answer["jobs"]] == [str(pk) for pk in (other, *upstream[::-1])]
    assert (answer["grouped"], answer["count"], answer["next_cursor"]) == (3, 3, None)


def test_dead_jobs_are_narrowed_and_paged(api: Api, claimed: Claimed) -> None:
    ids = [str(fail(claimed())) for _ in range(3)]
    fail(claimed(), "HANDLER_ERROR")

    first = api.get("/v1/jobs/dead?error_code=UPSTREAM_ERROR&limit=2").json
    second = api.get(f"/v1/jobs/dead?error_code=UPSTREAM_ERROR&limit=2&cursor={first['next_cursor']}").json

    assert [job["id"] for job in first["jobs"] + second["jobs"]] == ids[::-1]
    assert (first["grouped"], second["grouped"]) == (3, 3)
    assert api.get("/v1/jobs/dead?type=deploy.run").json["groups"] == []


def test_a_job_that_failed_without_a_code_has_none_in_its_group(api: Api, claimed: Claimed) -> None:
    claim = claimed()
    lifecycle.fail(claim.id, claim.fence, code=None, message="no", retry=False)

    (group,) = api.get("/v1/jobs/dead").json["groups"]

    assert group["error_code"] is None


def test_dead_jobs_of_foreign_queues_are_not_shown(api: Api, claimed: Claimed) -> None:
    fail(claimed(queue="gpu"))
    fail(claimed(queue="cpu"))

    answer = api.get("/v1/jobs/dead", key=GPU_ONLY).json

    assert [job["queue"] for job in answer["jobs"]] == ["gpu"]
    assert answer["grouped"] == 1
    assert api.get("/v1/jobs/dead?queue=cpu", key=GPU_ONLY).code == "FORBIDDEN"


def test_the_list_is_narrowed_by_error_whatever_the_status(api: Api, make_job: Make, claimed: Claimed) -> None:
    failed, waiting = fail(claimed()), claimed(max_attempts=2)
    lifecycle.fail(waiting.id, waiting.fence, code="UPSTREAM_ERROR", message="no", retry=True, retry_in_sec=60)
    make_job()

    answer = api.get("/v1/jobs?error_code=UPSTREAM_ERROR").json

    assert {job["id"] for job in answer["jobs"]} == {str(failed), str(waiting.id)}


def test_finding_failed_jobs_never_scans_the_table(claimed: Claimed) -> None:
    fail(claimed())
    with large_table():
        admin = Principal(name="test", role="admin")
        wanted = [
            JobFilter(status=Status.FAILED),
            JobFilter(error_code="UPSTREAM_ERROR"),
            JobFilter(status=Status.FAILED, error_code="UPSTREAM_ERROR", ended_by=timezone.now()),
        ]

        plans = [queries.listed(it, admin).explain() for it in wanted]

    assert not [plan for plan in plans if "Seq Scan" in plan]
    assert "job_by_error_code" in plans[1]
