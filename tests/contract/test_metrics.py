"""Contract section 10: `GET /v1/runtime/metrics` and its two alerts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from jobs import lifecycle
from jobs.models import Job, JobLog, Queue
from rauskuclaw.config import Config
from tests.apiclient import GPU_ONLY, KEYS, READER, Api
from tests.contract.test_conventions import TIMESTAMP

Make = Callable[..., Any]
PATH = "/v1/runtime/metrics"


def waiting(job: Job, seconds: float) -> None:
    shift = timedelta(seconds=seconds)
    Job.objects.filter(pk=job.pk).update(created_at=F("created_at") - shift, available_at=F("available_at") - shift)
    JobLog.objects.filter(job=job).update(job_created_at=F("job_created_at") - shift)


def end(claimed: Make, *, failed: int = 0, succeeded: int = 0, **fields: Any) -> None:
    for number in range(failed + succeeded):
        claim = claimed(**fields)
        if number < failed:
            lifecycle.fail(claim.id, claim.fence, code=None, message="no", retry=False)
        else:
            lifecycle.succeed(claim.id, claim.fence, result={})


def test_the_answer_has_the_contracts_keys(api: Api, make_job: Make) -> None:
    make_job()

    body = api.get(PATH, key=READER).json

    assert list(body) == ["ok", "metrics", "alerts"]
    assert list(body["metrics"]) == ["enabled", "generated_at", "window_sec", "counters", "job_status"]
    assert TIMESTAMP.fullmatch(body["metrics"]["generated_at"])
    assert body["metrics"] | {"generated_at": None} == {
        "enabled": True,
        "generated_at": None,
        "window_sec": 3600,
        "counters": {"job.created": 1},
        "job_status": {"queued": 1, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 0},
    }
    assert body["alerts"] == []


@pytest.mark.parametrize(
    ("asked", "window_sec"),
    [("", 3600), ("0", 3600), ("x", 3600), ("5", 60), ("600", 600), ("604801", 604_800), ("-9", 60), ("90s", 90)],
)
def test_the_window_is_clamped(api: Api, asked: str, window_sec: int) -> None:
    assert api.get(f"{PATH}?window_sec={asked}").json["metrics"]["window_sec"] == window_sec


def test_the_default_window_is_a_setting(api: Api, configure: Callable[..., Config]) -> None:
    configure(ALERT_WINDOW_SEC=30, API_KEYS_JSON=KEYS)

    assert api.get(PATH).json["metrics"]["window_sec"] == 60


@pytest.mark.parametrize("queue", ["a b", "%00", "x" * 81])
def test_what_is_no_queues_name_is_refused(api: Api, queue: str) -> None:
    answer = api.get(f"{PATH}?queue={queue}")

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")


def test_a_queue_scopes_counters_status_and_alerts(api: Api, make_job: Make) -> None:
    waiting(make_job(queue="slow"), 1000)
    make_job(queue="gpu")

    everything, gpu = api.get(PATH).json, api.get(f"{PATH}?queue=gpu").json

    assert everything["metrics"]["counters"] == {"job.created": 2}
    assert [alert["code"] for alert in everything["alerts"]] == ["QUEUE_STALLED"]
    assert gpu["metrics"]["counters"] == {"job.created": 1}
    assert gpu["metrics"]["job_status"]["queued"] == 1
    assert gpu["alerts"] == []


def test_an_allowlist_scopes_too_and_refuses_other_queues(api: Api, make_job: Make) -> None:
    make_job(queue="gpu")
    make_job()

    answer = api.get(f"{PATH}?queue=default", key=GPU_ONLY)

    assert api.get(PATH, key=GPU_ONLY).json["metrics"]["counters"] == {"job.created": 1}
    assert (answer.status, answer.code) == (403, "FORBIDDEN")
    assert answer.json["error"]["details"] == {"allowed_queues": ["gpu"]}


def test_an_idempotency_hit_is_counted(api: Api, make_type: Make) -> None:
    make_type()
    for _ in range(3):
        api.post("/v1/jobs", {"type": "report.generate"}, Idempotency_Key="k")

    assert api.get(PATH).json["metrics"]["counters"] == {"job.created": 1, "job.idempotency_hit": 2}


def test_a_dev_job_is_not_a_created_one(api: Api, configure: Callable[..., Config]) -> None:
    configure(ALLOW_DEV_ENDPOINTS=1, API_KEYS_JSON=KEYS)
    assert api.post("/v1/dev/jobs", {}).status in (200, 201)

    assert api.get(PATH).json["metrics"]["counters"] == {}


def test_switched_off_it_answers_all_the_same(api: Api, configure: Callable[..., Config], claimed: Make) -> None:
    configure(METRICS_ENABLED=0, API_KEYS_JSON=KEYS, ALERT_FAILURE_RATE_MIN_COMPLETED=2)
    end(claimed, failed=2)

    body = api.get(PATH).json

    assert body["metrics"]["enabled"] is False
    assert body["metrics"]["counters"] == {}
    assert body["metrics"]["job_status"]["failed"] == 2
    assert [alert["code"] for alert in body["alerts"]] == ["HIGH_FAILURE_RATE"]


def test_a_stalled_queue_names_its_oldest_job(api: Api, make_job: Make) -> None:
    make_job()
    oldest = make_job()
    waiting(oldest, 901)

    (alert,) = api.get(PATH).json["alerts"]

    assert (alert["code"], alert["severity"]) == ("QUEUE_STALLED", "warn")
    assert list(alert) == ["code", "severity", "message", "details"]
    assert list(alert["details"]) == ["job_id", "oldest_age_sec", "threshold_sec"]
    assert alert["details"]["job_id"] == str(oldest.id)
    assert alert["details"]["oldest_age_sec"] >= 901
    assert alert["details"]["threshold_sec"] == 900


def test_just_below_the_threshold_nothing_is_stalled(api: Api, make_job: Make) -> None:
    waiting(make_job(), 800)

    assert api.get(PATH).json["alerts"] == []


def test_a_job_that_is_not_due_is_not_stalled(api: Api, make_job: Make) -> None:
    job = make_job()
    waiting(job, 2000)
    Job.objects.filter(pk=job.pk).update(available_at=F("available_at") + timedelta(seconds=3000))

    assert api.get(PATH).json["alerts"] == []


def test_a_paused_queue_is_stalled_as_any_other(api: Api, make_job: Make) -> None:
    Queue.objects.create(name="default", paused=True)
    waiting(make_job(), 1000)

    assert [alert["code"] for alert in api.get(PATH).json["alerts"]] == ["QUEUE_STALLED"]


@pytest.mark.parametrize(("failed", "succeeded", "fires"), [(10, 10, True), (9, 11, False), (19, 0, False)])
def test_a_high_failure_rate(api: Api, claimed: Make, failed: int, succeeded: int, fires: bool) -> None:
    end(claimed, failed=failed, succeeded=succeeded)

    alerts = api.get(f"{PATH}?window_sec=600").json["alerts"]

    assert [alert["code"] for alert in alerts] == ["HIGH_FAILURE_RATE"] * fires
    for alert in alerts:
        assert alert["details"] == {
            "window_sec": 600, "completed": 20, "failed": 10, "succeeded": 10, "failure_rate_pct": 50.0,
            "threshold_pct": 50,
        }  # fmt: skip
