"""Contract sections 0 and 1: envelopes, paths, methods, credentials and roles."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from jobs.models import Job
from tests.apiclient import GPU_ONLY, READER, Api

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
ROUTES = ["/v1/jobs", "/v1/job-types", "/v1/auth/whoami", "/v1/ping"]


def test_health_needs_no_key_and_has_the_contracts_keys(api: Api) -> None:
    answer = api.get("/health", key=None)

    assert (answer.status, list(answer.json)) == (200, ["ok", "service", "time"])
    assert answer.json["service"] == "rauskuclaw-api"
    assert TIMESTAMP.fullmatch(answer.json["time"])


def test_ping_answers_pong(api: Api) -> None:
    assert api.get("/v1/ping").json == {"ok": True, "pong": True}


@pytest.mark.parametrize(
    ("key", "auth"),
    [
        (READER, {"name": "dashboard", "role": "read", "sse": True, "can_write": False, "queue_allowlist": None}),
        (GPU_ONLY, {"name": "gpu-team", "role": "admin", "sse": True, "can_write": True, "queue_allowlist": ["gpu"]}),
    ],
)
def test_whoami_tells_role_and_queues(api: Api, key: str, auth: dict[str, Any]) -> None:
    answer = api.get("/v1/auth/whoami", key=key)

    assert answer.json == {"ok": True, "auth": auth}


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("key", [None, "no-such-key"])
def test_every_v1_route_needs_a_key(api: Api, path: str, key: str | None) -> None:
    answer = api.get(path, key=key)

    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")


def test_a_key_in_the_query_does_not_count(api: Api) -> None:
    assert api.get("/v1/jobs?api_key=admin-key-for-tests", key=None).status == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/jobs"), ("POST", "/v1/jobs/batch"), ("POST", "/v1/jobs/x/cancel"), ("POST", "/v1/jobs/x/retry"),
        ("POST", "/v1/dev/jobs"), ("POST", "/v1/job-types"), ("PATCH", "/v1/job-types/report.generate"),
    ],
)  # fmt: skip
def test_a_reader_is_refused_before_the_body_is_looked_at(api: Api, method: str, path: str) -> None:
    answer = api(method, path, b"{not json", key=READER)

    assert (answer.status, answer.code) == (403, "FORBIDDEN")


@pytest.mark.parametrize("path", ["/v1/nope", "/v1/jobs/x/y/z", "/v1/health", "/v1"])
def test_an_unknown_route_is_a_404_in_the_envelope(api: Api, path: str) -> None:
    answer = api.get(path)

    assert (answer.status, answer.code) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", "/v1/jobs"), ("PUT", "/v1/job-types"), ("GET", "/v1/dev/jobs")]
)
def test_a_wrong_method_is_a_405_with_the_methods_that_work(api: Api, method: str, path: str) -> None:
    answer = api(method, path)

    assert (answer.status, answer.code) == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["Allow"]


def test_a_body_that_is_not_json_is_a_415(api: Api) -> None:
    answer = api.post("/v1/jobs", b"type=report.generate", content_type="application/x-www-form-urlencoded")

    assert (answer.status, answer.code) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("path", [*ROUTES, "/health"])
def test_head_is_answered_for_every_get(api: Api, path: str) -> None:
    answer = api("HEAD", path)

    assert (answer.status, answer.text) == (200, "")


@pytest.mark.parametrize(("path", "methods"), [("/v1/jobs", {"GET", "POST"}), ("/v1/job-types/x", {"GET", "PATCH"})])
def test_options_needs_no_key_and_lists_the_methods(api: Api, path: str, methods: set[str]) -> None:
    answer = api("OPTIONS", path, key=None)

    assert answer.status == 200
    assert methods | {"HEAD", "OPTIONS"} == set(answer.headers["Allow"].split(", "))
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("path", ["/V1/Jobs", "/v1/jobs/", "/V1/JOB-TYPES/", "/HEALTH"])
def test_paths_ignore_case_and_one_final_slash(api: Api, path: str) -> None:
    assert api.get(path).status == 200


def test_answers_are_one_line_and_errors_have_the_envelopes_keys_only(api: Api, make_job: Callable[..., Job]) -> None:
    job = make_job()

    fine, missing = api.get(f"/v1/jobs/{job.id}"), api.get("/v1/jobs/x")

    assert "\n" not in fine.text + missing.text
    assert list(missing.json) == ["ok", "error"]
    assert list(missing.json["error"]) == ["code", "message"]


def test_timestamps_have_three_fractional_digits_and_z(api: Api, make_job: Callable[..., Job]) -> None:
    job = make_job()
    Job.objects.filter(pk=job.pk).update(updated_at="2026-11-20T23:56:49Z")

    shown = api.get(f"/v1/jobs/{job.id}").json["job"]

    assert shown["updated_at"] == "2026-11-20T23:56:49.000Z"
    assert TIMESTAMP.fullmatch(shown["created_at"])
