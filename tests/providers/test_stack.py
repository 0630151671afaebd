"""Chat on a whole running stack: an agent's rounds, live text, a cancel in mid-stream, and no secret anywhere."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.modelserver import ModelServer, Pause, Refusal, Reply, ToolCall, Usage, model_server
from tests.providers.conftest import CHAT
from tests.running import API_KEY, RunningStack, running_stack, wait_until

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("providers stack")]

SEALED = "value-of-a-stored-secret-0123456789"


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with model_server() as running:
        yield running
        running.stopping.set()


@pytest.fixture(scope="module")
def stack(server: ModelServer) -> Iterator[RunningStack]:
    environment = {
        "OPENAI_ENABLED": "1", "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "secret:models",
        "OPENAI_MODEL": "gpt-test", "DATA_FILE_READ_ENABLED": "1", "DATA_FILE_WRITE_ENABLED": "1", "LOG_LEVEL": "DEBUG",
    }  # fmt: skip
    with running_stack(**environment) as running:
        for name, value in (("models", server.key), ("other", SEALED)):
            answer = running.http.put(f"/v1/secrets/{name}", json={"value": value})
            assert answer.status_code == 200, answer.text
        assert running.http.patch(f"/v1/job-types/{CHAT}", json={"enabled": True}).status_code == 200
        yield running


def follow(stack: RunningStack, job_id: str, events: list[tuple[str, Any]]) -> None:
    """Add the job's events to `events` as they come, up to its end."""
    url = f"{stack.http.base_url}/v1/jobs/{job_id}/stream"
    with httpx.stream("GET", url, headers={"x-api-key": API_KEY}, timeout=60, trust_env=False) as stream:
        name = ""
        for line in stream.iter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                events.append((name, json.loads(value)))
                if name == "end":
                    break


def texts(events: list[tuple[str, Any]]) -> dict[int, str]:
    """The streaming text of each attempt."""
    said: dict[int, str] = {}
    for name, data in events:
        if name == "delta":
            before = said.get(data["attempt"], "")
            assert len(before.encode()) == data["offset"], "no piece is missing or comes twice"
            said[data["attempt"]] = before + data["text"]
    return said


def test_an_agent_writes_and_reads_a_file_while_its_words_are_followed(
    stack: RunningStack, server: ModelServer
) -> None:
    pause = Pause()
    write = ToolCall("data_write_file", {"path": "notes.txt", "content": "Friday", "create_if_missing": True})
    server.answer(
        Reply("I shall note it.", write, usage=Usage(10, 5)),
        Reply("I shall look.", ToolCall("data_file_read", {"path": "notes.txt"}), usage=Usage(20, 5)),
        Reply("It is ", pause, "on Friday.", usage=Usage(30, 5)),
    )
    job = stack.submit(CHAT, input={"prompt": "Note it, then tell me.", "agent_tools": True, "thread": "t"})
    early: list[tuple[str, Any]] = []
    following = threading.Thread(target=follow, args=(stack, job["id"], early))
    following.start()
    assert pause.reached.wait(60)

    late: list[tuple[str, Any]] = []
    joining = threading.Thread(target=follow, args=(stack, job["id"], late))
    joining.start()
    wait_until(lambda: texts(late), what="the text so far")
    pause.release()
    following.join(60)
    joining.join(60)

    result = stack.wait_for(job["id"], "succeeded")["result"]
    assert result["output_text"] == "It is on Friday."
    assert [(call["function"], call["ok"]) for call in result["tool_execution"]["calls"]] == [
        ("data_write_file", True),
        ("data_file_read", True),
    ]
    assert result["usage"]["total_tokens"] == 75
    assert "Friday" in json.dumps(server.calls[-1].body["messages"])
    assert list(texts(early).values()) == ["I shall note it.", "I shall look.", "It is on Friday."]
    assert list(texts(late).values()) == ["It is on Friday."], "who comes late hears what was said before"
    usage = stack.http.get("/v1/usage?group_by=thread,model").json()["groups"]
    assert [(it["thread"], it["calls"], it["input_tokens"]) for it in usage] == [("t", 3, 60)]


def test_a_cancel_in_mid_stream_closes_the_providers_socket(stack: RunningStack, server: ModelServer) -> None:
    pause = Pause()
    server.answer(Reply("Hel", pause, "lo"))
    job = stack.submit(CHAT, input={"prompt": "Hello"})
    assert pause.reached.wait(60)
    call = server.calls[-1]

    assert stack.http.post(f"/v1/jobs/{job['id']}/cancel").status_code == 200

    assert call.hung_up.wait(30)
    assert stack.job(job["id"])["status"] == "cancelled"
    settled = wait_until(
        lambda: (
            [it for it in stack.http.get("/v1/usage?group_by=job").json()["groups"] if it["job"] == job["id"]]
            and stack.http.get("/v1/usage").json()["total"]["open_calls"] == 0
        ),
        what="the call to be settled",
    )
    assert settled


def test_no_secret_is_in_any_answer_log_or_error(stack: RunningStack, server: ModelServer) -> None:
    # The server repeats what it was sent, in an error and in a stream.
    refused = stack.submit(CHAT, input={"prompt": "Hello"})
    server.answer(Refusal(401, f"Incorrect API key provided: {server.key}"))
    stack.wait_for(refused["id"], "failed", "succeeded")
    listed = stack.http.get("/v1/jobs?limit=200").json()["jobs"]
    paths = ["/v1/secrets", "/v1/usage?group_by=key,model", "/v1/runtime/providers", "/v1/runtime/handlers", "/metrics"]
    paths += ["/v1/jobs", "/v1/job-types", "/v1/schema"]
    paths += [
        f"/v1/jobs/{job['id']}{part}" for job in listed for part in ("", "/logs", "/attempts", "/explain", "/tree")
    ]

    shown = {path: stack.http.get(path).text for path in paths}

    assert all(shown.values())
    shown["console"] = stack.log
    for secret in (server.key, SEALED):
        assert [where for where, text in shown.items() if secret in text] == []


def test_callers_that_wait_for_tools_hold_up_nobody(stack: RunningStack) -> None:
    calls = [{"call_id": "c", "name": "data_file_read", "arguments": {"path": "a.txt"}}]
    body, waiting = {"calls": calls, "queue": "parked", "wait_ms": 60_000}, 20

    def ask() -> httpx.Response:
        url, key = f"{stack.http.base_url}/v1/agent-tools/invoke-batch", {"x-api-key": API_KEY}
        return httpx.post(url, json=body, headers=key, timeout=90, trust_env=False)

    def parked() -> list[dict[str, Any]] | None:
        jobs = stack.http.get("/v1/jobs?queue=parked").json()["jobs"]
        return jobs if len(jobs) == waiting else None

    with ThreadPoolExecutor(waiting) as clients:
        asked = [clients.submit(ask) for _ in range(waiting)]
        jobs = wait_until(parked, what="all to wait")
        pong = stack.http.get("/v1/ping").json()
        answered = [future for future in asked if future.done()]
        for job in jobs:
            stack.http.post(f"/v1/jobs/{job['id']}/cancel")

    assert (pong["ok"], answered) == (True, [])
    assert {future.result().json()["results"][0]["error"]["code"] for future in asked} == {"JOB_CANCELLED"}
