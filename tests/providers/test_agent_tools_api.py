"""`/v1/agent-tools`: listing the tools that work, and calling them (contract 12.1, 12.2)."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from jobs import lifecycle
from jobs.models import Job, Outcome, Status
from jobs.transitions import Claimable, Finish
from providers import batch
from rauskuclaw import config
from tests.apiclient import GPU_ONLY, READER, Api
from tests.conftest import NODE, WORKER

CALL = {"call_id": "c1", "name": "data_file_read", "arguments": {"path": "README.md"}}
PATH = "/v1/agent-tools/invoke-batch"


@pytest.fixture(autouse=True)
def _types(make_type: Any) -> None:
    make_type("data.file_read", handler="builtin:data.file_read")
    make_type("data.fetch", handler="builtin:data.fetch")
    make_type("tool.exec", handler="builtin:tool.exec", enabled=False)
    make_type("tools.web_search", handler="plugin:search")


def end(job_id: str, result: Any = None, *, error: str | None = None) -> None:
    """Run the job to its end, as a worker does."""
    Job.objects.filter(pk=job_id, published_at=None).update(published_at="2026-01-01T00:00:00Z")
    job = Job.objects.get(pk=job_id)
    claim = lifecycle.claim(Claimable(job.id, job.fence, worker=WORKER, node=NODE, lease_sec=30))
    assert claim is not None
    if error is None:
        lifecycle.end(Finish.success(claim.id, claim.fence, result=result, lines=[]))
        return
    failed = Finish.failure(
        claim.id, claim.fence, code=error, message="no", details=None, retry=False, retry_in_sec=0, handler="",
        outcome=Outcome.FAILED, lines=[],
    )  # fmt: skip
    lifecycle.end(failed)


def names(api: Api) -> list[str]:
    return [tool["function"]["name"] for tool in api.get("/v1/agent-tools", key=READER).json["tools"]]


def test_only_what_works_is_listed(api: Api, configure: Callable[..., config.Config]) -> None:
    assert names(api) == []

    configure(DATA_FILE_READ_ENABLED=1, TOOL_EXEC_ENABLED=1, DATA_FETCH_ENABLED=1, WEB_SEARCH_ENABLED=1)

    assert names(api) == ["data_file_read", "data_fetch"], "neither a disabled type nor another one's handler"


def test_a_tool_is_told_as_openai_has_functions(api: Api, configure: Callable[..., config.Config]) -> None:
    configure(DATA_FILE_READ_ENABLED=1)

    [tool] = api.get("/v1/agent-tools").json["tools"]

    parameters = tool["function"]["parameters"]
    assert (tool["type"], parameters["required"], parameters["additionalProperties"]) == ("function", ["path"], False)
    assert parameters["properties"]["max_bytes"] == {"type": "integer", "minimum": 512, "maximum": 1_048_576}


def test_async_gives_back_the_jobs(api: Api) -> None:
    answer = api.post(PATH, {"calls": [CALL], "mode": "async", "queue": "tools"}).json

    job = Job.objects.get()
    assert answer == {
        "ok": True,
        "results": [
            {"ok": True, "call_id": "c1", "name": "data_file_read", "job_id": str(job.pk), "job_type": "data.file_read"}
        ],
        "tool_messages": [],
        "mode": "async",
    }
    assert (job.queue, job.tags, job.priority, job.input) == ("tools", ["agent-tool"], 5, {"path": "README.md"})


@pytest.mark.parametrize("arguments", [None, {}], ids=["null", "empty"])
def test_arguments_may_be_left_out(arguments: Any, api: Api, make_type: Any) -> None:
    make_type("workflow.run", handler="plugin:anything")

    call = {"call_id": "c1", "name": "workflow_run"} | ({} if arguments is None else {"arguments": arguments})

    assert api.post(PATH, {"calls": [call], "mode": "async"}).json["results"][0]["ok"] is True


def test_what_cannot_be_called_says_so_in_its_place(api: Api) -> None:
    calls = [
        {"call_id": "1", "name": "no_such_tool", "arguments": {}},
        {"call_id": "2", "name": "tool_exec", "arguments": {"command": "ls"}},
        {"call_id": "3", "name": "data_file_read", "arguments": {}},
        {"call_id": "4", "name": "data_file_read", "arguments": {"path": "a"}},
    ]

    results = api.post(PATH, {"calls": calls, "mode": "async"}).json["results"]

    codes = [result["ok"] or result["error"]["code"] for result in results]
    assert codes == ["UNKNOWN_TOOL", "JOB_TYPE_DISABLED", "JOB_CREATE_FAILED", True]


def test_a_queue_that_the_key_may_not_use_is_forbidden_for_each_call(api: Api) -> None:
    [result] = api.post(PATH, {"calls": [CALL], "mode": "async"}, key=GPU_ONLY).json["results"]

    assert (result["error"]["code"], result["error"]["details"]) == ("FORBIDDEN", {"allowed_queues": ["gpu"]})


def test_a_reader_may_list_and_not_call(api: Api) -> None:
    assert api.post(PATH, {"calls": [CALL]}, key=READER).code == "FORBIDDEN"


@pytest.mark.parametrize(
    "body",
    [
        {}, {"calls": []}, {"calls": [CALL] * 21}, {"calls": [{"name": "x"}]}, {"calls": [{**CALL, "arguments": "x"}]},
        {"calls": [CALL], "mode": "later"}, {"calls": [CALL], "wait_ms": 99}, {"calls": [CALL], "wait_ms": 60_001},
        {"calls": [CALL], "queue": "no queue"},
    ],
    ids=["empty", "none", "21", "no-id", "text", "mode", "short", "long", "queue"],
)  # fmt: skip
def test_a_faulty_envelope_is_refused_as_a_whole(body: Any, api: Api) -> None:
    assert api.post(PATH, body).code == "VALIDATION_ERROR"
    assert not Job.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_result_that_is_kept_apart_is_given_back(configure: Callable[..., config.Config], api: Api) -> None:
    configure(RESULT_INLINE_MAX_BYTES=1024, DATA_FILE_READ_ENABLED=1)
    made = api.post(PATH, {"calls": [CALL], "mode": "async"}).json["results"][0]
    end(made["job_id"], {"content": "x" * 5000})
    waiting = [batch.Made(batch.Call.model_validate(CALL), uuid.UUID(made["job_id"]), made["job_type"])]

    assert batch.Waiting(waiting, 1000, lambda: b"told").look() == b"told"

    assert Job.objects.get(pk=made["job_id"]).result_size_bytes is not None
    assert waiting[0].output == {"content": "x" * 5000}


@pytest.mark.django_db(transaction=True)
def test_sync_waits_for_the_results(api: Api) -> None:
    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.append(Api().post(PATH, {"calls": [CALL, CALL], "wait_ms": 60_000}))
        finally:
            connection.close()

    asking = threading.Thread(target=ask)
    asking.start()
    while Job.objects.count() < 2:
        assert asking.is_alive()
    first, second = Job.objects.order_by("created_at", "id")

    end(str(first.pk), {"content": "hello"})
    end(str(second.pk), error="POLICY_DENIED")
    asking.join(60)

    results = {result["job_id"]: result for result in answers[0].json["results"]}
    assert results[str(first.pk)]["output"] == {"content": "hello"}
    assert results[str(second.pk)]["error"] == {"code": "POLICY_DENIED", "message": "no"}
    messages = [json.loads(message["content"]) for message in answers[0].json["tool_messages"]]
    assert sorted(message["ok"] for message in messages) == [False, True]


def test_what_has_not_ended_in_time_is_pending(api: Api) -> None:
    answer = api.post(PATH, {"calls": [CALL], "wait_ms": 100}).json

    [result], [message] = answer["results"], answer["tool_messages"]
    assert (result["ok"], result["pending"], result["error"]["code"]) == (False, True, "TIMEOUT")
    assert json.loads(message["content"])["job_id"] == result["job_id"]
    assert (message["role"], message["tool_call_id"]) == ("tool", "c1")


@pytest.mark.django_db(transaction=True)
def test_while_postgres_is_away_it_is_waited_for(api: Api) -> None:
    job_id = api.post(PATH, {"calls": [CALL], "mode": "async"}).json["results"][0]["job_id"]
    made = [batch.Made(batch.Call.model_validate(CALL), uuid.UUID(job_id), "data.file_read")]
    waiting = batch.Waiting(made, 60_000, lambda: json.dumps(made[0].as_result(waited=True)).encode())
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        own = cursor.fetchone()[0]
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [own])
    other.close()

    assert waiting.look() is None, "its connection is gone"
    assert waiting.look() is None, "the job has not ended"
    end(job_id, {"content": "hello"})
    body = waiting.look()

    assert body is not None
    assert json.loads(body)["output"] == {"content": "hello"}


def test_a_cancelled_job_is_told_as_such(api: Api, make_job: Callable[..., Job]) -> None:
    job = make_job("data.file_read", input={"path": "a"})
    lifecycle.cancel(job.pk, by="test")
    made = batch.Made(batch.Call.model_validate(CALL), job.pk, job.type)

    assert batch.Waiting([made], 100, lambda: b"told").look() == b"told"

    assert made.as_result(waited=True)["error"]["code"] == "JOB_CANCELLED"
    assert Job.objects.get().status == Status.CANCELLED
