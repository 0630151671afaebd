"""Contract 2.2, 2.3 and 4.7: what POST /v1/jobs takes, fills in, refuses and answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from jobs.models import Job, JobLog, JobType
from tests.apiclient import GPU_ONLY, Api

JOB_KEYS = [
    "id", "type", "queue", "status", "priority", "timeout_sec", "attempts", "max_attempts", "callback_url", "tags",
    "input", "result", "error", "created_at", "updated_at",
]  # fmt: skip
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@pytest.fixture(autouse=True)
def _types(make_type: Callable[..., JobType]) -> None:
    """`any` takes any input: its handler is not installed."""
    make_type("any", handler="plugin:absent", default_timeout_sec=77, default_max_attempts=3)
    make_type("off", enabled=False)


def test_a_created_job_has_exactly_the_fifteen_keys_in_order_and_the_defaults(api: Api) -> None:
    answer = api.post("/v1/jobs", {"type": "any"})

    assert (answer.status, list(answer.json)) == (201, ["ok", "job", "idempotent"])
    job = answer.json["job"]
    assert list(job) == JOB_KEYS
    assert UUID4.fullmatch(job["id"])
    assert (answer.json["idempotent"], job["status"], job["queue"], job["priority"]) == (False, "queued", "default", 5)
    assert (job["timeout_sec"], job["max_attempts"], job["attempts"]) == (77, 3, 0)
    assert [job[name] for name in ("callback_url", "tags", "input", "result", "error")] == [None, [], None, None, None]


def test_what_was_sent_is_what_is_stored(api: Api) -> None:
    sent = {
        "type": "any", "queue": "gpu:a.b_c-d", "input": {"b": [1, 2.5, None, True], "a": "ä"}, "priority": 10,
        "timeout_sec": 3600, "max_attempts": 10, "callback_url": "https://example.org/hook?x=1", "tags": ["a", "b"],
    }  # fmt: skip

    job = api.post("/v1/jobs", sent).json["job"]

    assert {name: job[name] for name in sent} == sent
    assert api.get(f"/v1/jobs/{job['id']}").json["job"] == job


@pytest.mark.parametrize("value", [None, "text", 5, 1.5, True, False, [], [1, {"a": None}], {}, "", 0])
def test_input_may_be_any_json(api: Api, value: Any) -> None:
    job = api.post("/v1/jobs", {"type": "any", "input": value}).json["job"]

    assert api.get(f"/v1/jobs/{job['id']}").json["job"]["input"] == value


@pytest.mark.parametrize(
    ("field", "sent", "stored"),
    [
        ("queue", "", "default"),
        ("queue", "   ", "default"),
        ("queue", None, "default"),
        ("queue", "GPU", "GPU"),
        ("priority", None, 5),
        ("priority", 0, 0),
        ("priority", 7.0, 7),
        ("timeout_sec", None, 77),
        ("timeout_sec", 1, 1),
        ("max_attempts", None, 3),
        ("callback_url", "", None),
        ("callback_url", None, None),
        ("callback_url", False, None),
        ("tags", "no array", []),
        ("tags", {"a": 1}, []),
        ("tags", None, []),
        ("tags", [1, "b", None, True], ["1", "b", "null", "true"]),
        ("tags", [str(number) for number in range(25)], [str(number) for number in range(20)]),
        ("unknown", {"is": "ignored"}, "absent"),
        ("status", "succeeded", "queued"),
        ("attempts", 9, 0),
    ],
)
def test_lenient_fields_are_read_as_the_contract_says(api: Api, field: str, sent: Any, stored: Any) -> None:
    answer = api.post("/v1/jobs", {"type": "any", field: sent})

    assert answer.status == 201, answer.text
    assert answer.json["job"].get(field, "absent") == stored


WRONG: dict[str, list[Any]] = {
    "type": [None, "", "  ", 5, [], {}, "no.such", "off", "ANY"],
    "queue": [5, [], {}, True, "with space", "slash/ed", "q" * 81, "ä"],
    "priority": ["5", -1, 11, 5.5, True, [], {}, 10**30, -0.5],
    "timeout_sec": ["60", 0, 3601, -1, 1.25, True, [60], 1e300],
    "max_attempts": ["1", 0, 11, True, 2.5, {}],
    "callback_url": ["ftp://example.org", "//example.org", "no url", 5, ["https://x.org"]],
}


@pytest.mark.parametrize(("field", "sent"), [(field, value) for field, values in WRONG.items() for value in values])
def test_a_field_that_is_wrong_is_named_and_no_row_is_written(api: Api, field: str, sent: Any) -> None:
    answer = api.post("/v1/jobs", {"type": "any", field: sent})

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert [fault["path"] for fault in answer.json["error"]["details"]["errors"]] == [field]
    assert not Job.objects.exists()
    assert not JobLog.objects.exists()


def test_every_faulty_field_is_told_at_once(api: Api) -> None:
    answer = api.post("/v1/jobs", {"queue": "a b", "priority": "high", "timeout_sec": 0})

    paths = [fault["path"] for fault in answer.json["error"]["details"]["errors"]]
    assert paths == ["type", "queue", "priority", "timeout_sec"]


@pytest.mark.parametrize("body", [[], [{"type": "any"}]])
def test_the_body_is_an_object(api: Api, body: Any) -> None:
    assert api.post("/v1/jobs", body).code == "VALIDATION_ERROR"


@pytest.mark.parametrize(
    ("extra", "path"),
    [
        ({"depends_on": "x"}, "input.depends_on"),
        ({"depends_on": [""]}, "input.depends_on"),
        ({"depends_on": [5]}, "input.depends_on"),
        ({"depends_on": ["x" * 121]}, "input.depends_on"),
        ({"depends_on": ["x"] * 51}, "input.depends_on"),
        ({"memory": True}, "input.memory"),
        ({"memory": None}, "input.memory"),
        ({"memory_write": []}, "input.memory_write"),
        ({"memory_write": {"key": "k"}}, "input.memory_write.scope"),
        ({"memory_write": {"scope": "s", "ttl_sec": -1}}, "input.memory_write.ttl_sec"),
    ],
)
def test_the_platforms_own_input_fields_are_checked_for_every_type(api: Api, extra: dict[str, Any], path: str) -> None:
    answer = api.post("/v1/jobs", {"type": "any", "input": extra})

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert answer.json["error"]["details"]["errors"][0]["path"] == path


@pytest.mark.parametrize(
    "extra", [{"memory": False}, {"memory": {}}, {"memory_write": {"scope": "s"}}, {"depends_on": []}]
)
def test_the_platforms_own_input_fields_are_taken(api: Api, extra: dict[str, Any]) -> None:
    assert api.post("/v1/jobs", {"type": "any", "input": extra}).status == 201


@pytest.mark.parametrize(
    ("handler", "value", "message"),
    [
        ("builtin:tool.exec", {}, "tool.exec requires input.command"),
        ("builtin:tool.exec", {"command": "x" * 4001}, ""),
        ("builtin:tool.exec", {"command": "ls", "args": ["a"] * 101}, ""),
        ("builtin:tool.exec", {"command": "ls", "timeout_ms": 99}, ""),
        ("builtin:tool.exec", [], ""),
        ("builtin:data.fetch", {}, ""),
        ("builtin:data.fetch", {"url": "http://example.org"}, "must use https"),
        ("builtin:data.fetch", {"url": "https://example.org", "max_bytes": 511}, ""),
        ("builtin:data.fetch", {"url": "https://example.org", "timeout_ms": 120_001}, ""),
        ("builtin:tools.web_search", {}, ""),
        ("builtin:tools.web_search", {"query": "q", "provider": "bing"}, ""),
        ("builtin:tools.web_search", {"query": "q", "max_results": 21}, ""),
    ],
)
def test_a_handlers_input_is_checked_at_creation(
    api: Api, make_type: Callable[..., JobType], handler: str, value: Any, message: str
) -> None:
    make_type("checked", handler=handler)

    answer = api.post("/v1/jobs", {"type": "checked", "input": value})

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert message in answer.json["error"]["message"]


def test_fields_are_checked_before_the_queue_and_the_queue_before_the_key_is_used(api: Api) -> None:
    foreign = {"type": "any", "queue": "cpu"}

    wrong = api.post("/v1/jobs", {**foreign, "priority": 99}, key=GPU_ONLY, idempotency_key="k")
    refused = api.post("/v1/jobs", foreign, key=GPU_ONLY, idempotency_key="k")
    created = api.post("/v1/jobs", {"type": "any", "queue": "gpu"}, key=GPU_ONLY, idempotency_key="k")

    assert (wrong.status, refused.status, created.status) == (400, 403, 201)
    assert refused.json["error"]["details"] == {"allowed_queues": ["gpu"]}


def test_the_default_queue_is_checked_as_any_other(api: Api) -> None:
    assert api.post("/v1/jobs", {"type": "any"}, key=GPU_ONLY).code == "FORBIDDEN"


def test_the_first_log_line_is_written_with_the_job(api: Api) -> None:
    job_id = api.post("/v1/jobs", {"type": "any", "queue": "gpu"}).json["job"]["id"]

    (line,) = api.get(f"/v1/jobs/{job_id}/logs").json["logs"]

    assert (line["level"], line["message"]) == ("info", "Job created")
    assert line["meta"] == {
        "type": "any", "queue": "gpu", "priority": 5, "timeout_sec": 77, "max_attempts": 3, "handler": "plugin:absent",
    }  # fmt: skip


def test_who_created_a_job_is_kept(api: Api) -> None:
    job_id = api.post("/v1/jobs", {"type": "any"}).json["job"]["id"]

    assert Job.objects.get(pk=job_id).created_by == "key:ci"
