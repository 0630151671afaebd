"""Contract 2.5, 2.7 and 4.8: reading and cancelling jobs, logs, and job types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobs import lifecycle
from jobs.models import Job, JobType
from jobs.transitions import Claim
from tests.apiclient import Api
from tests.contract.test_create_job import JOB_KEYS

Make = Callable[..., Job]
Claimed = Callable[..., Claim]


def test_a_list_has_the_contracts_keys_and_the_jobs_their_fifteen(api: Api, make_job: Make) -> None:
    make_job()

    answer = api.get("/v1/jobs")

    assert list(answer.json)[:3] == ["ok", "jobs", "count"]
    assert [list(job) for job in answer.json["jobs"]] == [JOB_KEYS]
    assert answer.json["count"] == 1


@pytest.mark.parametrize("action", ["", "/logs", "/cancel"])
def test_an_unknown_job_is_not_found(api: Api, action: str) -> None:
    answer = api("POST" if action == "/cancel" else "GET", f"/v1/jobs/00000000-0000-4000-8000-000000000000{action}")

    assert (answer.status, answer.code) == (404, "NOT_FOUND")


def test_cancelling_a_queued_job_and_cancelling_it_again_are_both_200(api: Api, make_job: Make) -> None:
    job = make_job()

    first, second = api.post(f"/v1/jobs/{job.id}/cancel"), api.post(f"/v1/jobs/{job.id}/cancel")

    assert (first.status, first.json["job"]["status"]) == (200, "cancelled")
    assert (second.status, list(second.json["job"])) == (200, JOB_KEYS)
    lines = [line["message"] for line in api.get(f"/v1/jobs/{job.id}/logs").json["logs"]]
    assert lines == ["Job created", "Job cancelled", "Job cancelled"]


def test_a_running_job_can_be_cancelled_and_a_late_result_changes_nothing(api: Api, claimed: Claimed) -> None:
    claim = claimed()

    api.post(f"/v1/jobs/{claim.id}/cancel")
    late = lifecycle.succeed(claim.id, claim.fence, result={"late": True})

    job = api.get(f"/v1/jobs/{claim.id}").json["job"]
    assert (late, job["status"], job["result"]) == (False, "cancelled", None)


@pytest.mark.parametrize("end", ["succeed", "fail"])
def test_an_ended_job_cannot_be_cancelled(api: Api, claimed: Claimed, end: str) -> None:
    claim = claimed()
    if end == "succeed":
        lifecycle.succeed(claim.id, claim.fence, result={})
    else:
        lifecycle.fail(claim.id, claim.fence, code=None, message="broke", retry=False)

    answer = api.post(f"/v1/jobs/{claim.id}/cancel")

    assert (answer.status, answer.code) == (409, "CONFLICT")


def test_a_failed_job_shows_its_error_with_all_four_keys(api: Api, claimed: Claimed) -> None:
    claim = claimed()
    lifecycle.fail(claim.id, claim.fence, code=None, message="broke", retry=False)

    job = api.get(f"/v1/jobs/{claim.id}").json["job"]

    assert (job["status"], job["attempts"]) == ("failed", 1)
    assert {**job["error"], "at": ""} == {"message": "broke", "code": None, "details": None, "at": ""}


def test_a_success_stores_the_result_and_clears_the_error(api: Api, claimed: Claimed) -> None:
    claim = claimed(max_attempts=2)
    lifecycle.succeed(claim.id, claim.fence, result={"n": 1})

    job = api.get(f"/v1/jobs/{claim.id}").json["job"]

    assert (job["status"], job["result"], job["error"]) == ("succeeded", {"n": 1}, None)


def test_logs_are_the_newest_lines_oldest_first(api: Api, make_job: Make) -> None:
    job = make_job()
    lifecycle.append_logs(job.id, [("info", f"line {number}", {"n": number}) for number in range(1, 6)])

    answer = api.get(f"/v1/jobs/{job.id}/logs?tail=2")

    assert (list(answer.json), answer.json["count"]) == (["ok", "logs", "count"], 2)
    assert [line["message"] for line in answer.json["logs"]] == ["line 4", "line 5"]
    assert [list(line) for line in answer.json["logs"]] == [["id", "ts", "level", "message", "meta"]] * 2


@pytest.mark.parametrize(("tail", "count"), [("0", 200), ("x", 200), ("", 200), ("-1", 1), ("3", 3), ("5000", 251)])
def test_tail_is_lenient_and_bounded(api: Api, make_job: Make, tail: str, count: int) -> None:
    job = make_job()
    lifecycle.append_logs(job.id, [("info", "line", None)] * 250)

    assert api.get(f"/v1/jobs/{job.id}/logs?tail={tail}").json["count"] == count


def test_job_types_have_the_contracts_keys_first_and_are_sorted_by_name(
    api: Api, make_type: Callable[..., JobType]
) -> None:
    for name in ("b.type", "a.type"):
        make_type(name)

    answer = api.get("/v1/job-types")

    assert [job_type["name"] for job_type in answer.json["types"]] == ["a.type", "b.type"]
    assert answer.json["count"] == 2
    keys = ["name", "enabled", "handler", "default_timeout_sec", "default_max_attempts"]
    assert list(answer.json["types"][0])[:5] == keys


def test_a_job_type_is_created_with_defaults_once(api: Api) -> None:
    body = {"name": "my.type", "handler": " builtin:report.generate "}

    first, second = api.post("/v1/job-types", body), api.post("/v1/job-types", body)

    made = first.json["type"]
    assert (first.status, made["enabled"], made["handler"]) == (201, True, "builtin:report.generate")
    assert (made["default_timeout_sec"], made["default_max_attempts"]) == (120, 1)
    assert (second.status, second.code) == (409, "CONFLICT")


@pytest.mark.parametrize(
    "change", [{"enabled": False}, {"handler": "x:y"}, {"default_timeout_sec": 3600}, {"default_max_attempts": 10}]
)
def test_any_field_of_a_job_type_can_change_alone(
    api: Api, make_type: Callable[..., JobType], change: dict[str, Any]
) -> None:
    before = api.get(f"/v1/job-types/{make_type().name}").json["type"]

    answer = api.patch("/v1/job-types/report.generate", change)

    contract = ("name", "enabled", "handler", "default_timeout_sec", "default_max_attempts")
    assert answer.status == 200
    assert {name: answer.json["type"][name] for name in contract} == {name: before[name] for name in contract} | change


def test_changing_an_unknown_job_type_is_a_404(api: Api) -> None:
    assert api.patch("/v1/job-types/no.such", {"enabled": True}).code == "NOT_FOUND"
