"""Batches, retries, attempts, callbacks and dev jobs over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobs import lifecycle
from jobs.models import CallbackDelivery, Job, JobLog
from jobs.transitions import Claim
from tests.apiclient import GPU_ONLY, READER, Api

Make = Callable[..., Job]
Claimed = Callable[..., Claim]
NOBODY = "00000000-0000-4000-8000-00000000dead"


def fail(claim: Claim) -> None:
    lifecycle.fail(claim.id, claim.fence, code="HANDLER_ERROR", message="broke", retry=False)


def test_a_batch_answers_each_item_in_order(api: Api, make_type: Callable[..., Any]) -> None:
    make_type("report.generate")
    bodies = [{"type": "report.generate", "tags": ["a"]}, {"type": "no.such"}, "no object", {"type": "report.generate"}]

    answer = api.post("/v1/jobs/batch", {"jobs": bodies})

    assert (answer.status, answer.json["created"], answer.json["failed"]) == (200, 2, 2)
    assert [item["ok"] for item in answer.json["results"]] == [True, False, False, True]
    assert answer.json["results"][0]["job"]["tags"] == ["a"]
    assert answer.json["results"][1]["error"]["code"] == "VALIDATION_ERROR"
    assert Job.objects.count() == 2


def test_a_batch_refuses_foreign_queues_item_by_item(api: Api, make_type: Callable[..., Any]) -> None:
    make_type("report.generate")
    bodies = [{"type": "report.generate", "queue": "gpu"}, {"type": "report.generate"}]

    answer = api.post("/v1/jobs/batch", {"jobs": bodies}, key=GPU_ONLY)

    assert [item["ok"] for item in answer.json["results"]] == [True, False]
    assert answer.json["results"][1]["error"]["details"] == {"allowed_queues": ["gpu"]}


@pytest.mark.parametrize("jobs", [[], None, {}, "x", [{"type": "report.generate"}] * 1001])
def test_a_batch_has_one_to_a_thousand_jobs(api: Api, make_type: Callable[..., Any], jobs: Any) -> None:
    make_type("report.generate")

    answer = api.post("/v1/jobs/batch", {"jobs": jobs})

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert not Job.objects.exists()


def test_a_thousand_jobs_are_made_in_a_few_statements(
    api: Api, make_type: Callable[..., Any], django_assert_max_num_queries: Any
) -> None:
    make_type("report.generate")

    with django_assert_max_num_queries(8):
        answer = api.post("/v1/jobs/batch", {"jobs": [{"type": "report.generate"}] * 1000})

    assert answer.json["created"] == 1000


def test_a_retry_queues_a_failed_job_as_a_new_series(api: Api, claimed: Claimed) -> None:
    claim = claimed()
    fail(claim)

    answer = api.post(f"/v1/jobs/{claim.id}/retry")

    assert (answer.status, answer.json["job"]["status"], answer.json["job"]["attempts"]) == (200, "queued", 0)


def test_a_running_job_cannot_be_retried(api: Api, claimed: Claimed) -> None:
    assert api.post(f"/v1/jobs/{claimed().id}/retry").code == "CONFLICT"


def test_attempts_tell_what_each_try_came_to(api: Api, claimed: Claimed) -> None:
    claim = claimed()
    fail(claim)

    (attempt,) = api.get(f"/v1/jobs/{claim.id}/attempts").json["attempts"]

    assert (attempt["number"], attempt["series"], attempt["ordinal"], attempt["outcome"]) == (1, 1, 1, "failed")
    assert attempt["error"]["code"] == "HANDLER_ERROR"
    assert attempt["ended_at"].endswith("Z")


def test_a_job_tells_its_progress_and_where_to_go(api: Api, claimed: Claimed) -> None:
    claim = claimed()
    Job.objects.filter(pk=claim.id).update(progress={"fraction": 0.25, "message": "reading"})

    answer = api.get(f"/v1/jobs/{claim.id}")

    assert answer.json["progress"] == {"fraction": 0.25, "message": "reading"}
    assert answer.json["links"]["logs"].endswith(f"/v1/jobs/{claim.id}/logs")


@pytest.fixture
def delivery(make_job: Make) -> CallbackDelivery:
    """A callback of a job on the queue cpu, given up."""
    job = make_job(queue="cpu")
    return CallbackDelivery.objects.create(
        job=job,
        series=1,
        url="https://example.org/hook",
        payload={},
        state="dead",
        last_error="refused",
        last_status=502,
    )


def test_callbacks_of_a_job_are_listed(api: Api, delivery: CallbackDelivery) -> None:
    (shown,) = api.get(f"/v1/jobs/{delivery.job_id}/callbacks").json["callbacks"]

    assert (shown["state"], shown["last_status"], shown["next_try_at"]) == ("dead", 502, None)


def test_a_dead_callback_can_be_sent_again(api: Api, delivery: CallbackDelivery) -> None:
    answer = api.post(f"/v1/callbacks/{delivery.id}/redeliver")

    assert (answer.status, answer.json["callback"]["state"]) == (200, "pending")


@pytest.mark.parametrize("key", [GPU_ONLY, None, READER])
def test_a_callback_is_sent_again_by_those_only_who_may_see_and_write(
    api: Api, delivery: CallbackDelivery, key: str | None
) -> None:
    answer = api.post(f"/v1/callbacks/{delivery.id}/redeliver", key=key)

    assert answer.status == {GPU_ONLY: 404, None: 401, READER: 403}[key]
    delivery.refresh_from_db()
    assert delivery.state == "dead"


@pytest.mark.parametrize("delivery_id", ["0", "99999999999999999999999999", "abc", "-1"])
def test_an_unknown_callback_is_a_404(api: Api, delivery_id: str) -> None:
    assert api.post(f"/v1/callbacks/{delivery_id}/redeliver").code == "NOT_FOUND"


@pytest.mark.parametrize("job_id", ["x", "%00", NOBODY, NOBODY.replace("-", ""), f"{{{NOBODY}}}", f"urn:uuid:{NOBODY}"])
def test_an_unknown_job_is_a_404(api: Api, job_id: str) -> None:
    assert api.get(f"/v1/jobs/{job_id}").code == "NOT_FOUND"


@pytest.mark.parametrize(
    "switches", [{"NODE_ENV": "development"}, {"NODE_ENV": "production", "ALLOW_DEV_ENDPOINTS": "1"}]
)
def test_dev_jobs_need_no_type(api: Api, configure: Callable[..., Any], switches: dict[str, str]) -> None:
    configure(**switches)

    answer = api.post("/v1/dev/jobs")

    assert answer.status == 200
    facts = {name: answer.json["job"][name] for name in ("type", "queue", "priority", "timeout_sec", "input", "tags")}
    assert facts == {
        "type": "test", "queue": "default", "priority": 0, "timeout_sec": 60, "input": {}, "tags": [],
    }  # fmt: skip
    assert JobLog.objects.get().message == "Dev job created"


def test_dev_jobs_do_not_exist_in_production(api: Api, configure: Callable[..., Any]) -> None:
    configure(NODE_ENV="production")

    assert api.post("/v1/dev/jobs", {"type": "test"}).code == "NOT_FOUND"


@pytest.mark.parametrize("body", [{"queue": "no queue"}, {"queue": "q" * 81}, {"type": "t" * 81}])
def test_dev_jobs_that_cannot_be_stored_are_refused(
    api: Api, configure: Callable[..., Any], body: dict[str, str]
) -> None:
    configure(NODE_ENV="development")

    assert (api.post("/v1/dev/jobs", body).status, api.post("/v1/dev/jobs", body).code) == (400, "DEV_JOB_ERROR")


def test_dev_jobs_go_to_the_keys_queues_only(api: Api, configure: Callable[..., Any]) -> None:
    configure(NODE_ENV="development")

    assert api.post("/v1/dev/jobs", {"queue": "gpu"}, key=GPU_ONLY).status == 200
    assert api.post("/v1/dev/jobs", {"queue": "cpu"}, key=GPU_ONLY).code == "FORBIDDEN"
