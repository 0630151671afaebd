"""A chat on a whole running stack: tools, a person's approval, memory, a budget, faults of the provider, no secret."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.modelserver import Cut, Garbage, ModelServer, Pause, Refusal, Reply, ToolCall, Usage, model_server
from tests.providers.conftest import CHAT, LLAMA
from tests.providers.test_stack import follow, texts
from tests.running import RunningStack, running_stack, wait_until

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("chat stack")]
SCOPE = "agent.chat"
SEALED = "value-of-another-stored-secret-987"
Json = dict[str, Any]


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with model_server() as running:
        yield running
        running.stopping.set()


@pytest.fixture(scope="module")
def stack(server: ModelServer) -> Iterator[RunningStack]:
    environment = {
        "OPENAI_ENABLED": "1", "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": "secret:models",
        "OPENAI_MODEL": "gpt-test", "OPENAI_TIMEOUT_MS": "1500", "OLLAMA_CHAT_ENABLED": "1",
        "OLLAMA_CHAT_MODEL": "llama-test", "OLLAMA_BASE_URL": "http://127.0.0.1:9", "DATA_FILE_READ_ENABLED": "1",
        "DATA_FILE_WRITE_ENABLED": "1", "TOOL_EXEC_ENABLED": "1", "TOOL_EXEC_ALLOWLIST": "echo",
        "AGENT_TOOL_MAX_ROUNDS": "6", "LOG_LEVEL": "DEBUG",
    }  # fmt: skip
    with running_stack(**environment) as running:
        for name, value in (("models", server.key), ("other", SEALED)):
            assert running.http.put(f"/v1/secrets/{name}", json={"value": value}).status_code == 200
        for name in (CHAT, LLAMA, "tool.exec"):
            assert running.http.patch(f"/v1/job-types/{name}", json={"enabled": True}).status_code == 200
        yield running


def begin(stack: RunningStack, **settings: Any) -> str:
    answer = stack.http.post("/v1/chat/threads", json={"settings": settings})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["thread"]["id"])


def post(stack: RunningStack, thread: str, text: str) -> Json:
    answer = stack.http.post(f"/v1/chat/threads/{thread}/messages", json={"content": text})
    assert answer.status_code == 201, answer.text
    return dict(answer.json()["answer"])


def message(stack: RunningStack, id_: str) -> Json:
    return dict(stack.http.get(f"/v1/chat/messages/{id_}").json()["message"])


def settled(stack: RunningStack, id_: str) -> Json:
    wait_until(lambda: message(stack, id_)["state"] != "pending", what="the answer")
    return message(stack, id_)


def test_an_answer_with_two_rounds_of_tools_and_an_approval_is_remembered_by_the_next_question(
    stack: RunningStack, server: ModelServer
) -> None:
    remembering = {"memory": {"scope": SCOPE}, "memory_write": {"scope": SCOPE, "key": "meeting", "required": True}}
    thread = begin(stack, agent_tools=True, **remembering)
    write = ToolCall("data_write_file", {"path": "meeting.txt", "content": "Friday", "create_if_missing": True})
    server.answer(
        Reply("I shall ask. ", ToolCall("tool_exec", {"command": "echo", "args": ["Friday at noon"]})),
        Reply("I shall note it. ", write),
        Reply("The meeting ", "is on Friday at noon."),
    )

    answer = post(stack, thread, "When is the meeting? Note it.")
    events: list[tuple[str, Any]] = []
    following = threading.Thread(target=follow, args=(stack, answer["job_id"], events))
    following.start()
    wait_until(lambda: message(stack, answer["id"])["approvals"], what="the question to a person")
    [asked] = message(stack, answer["id"])["approvals"]
    waiting = stack.job(answer["job_id"])
    file = stack.http.get("/v1/workspace/file?path=meeting.txt").status_code
    approved = stack.http.post(
        f"/v1/approvals/{asked['job_id']}/approve", json={"arguments_hash": asked["arguments_hash"]}
    )
    written = settled(stack, answer["id"])
    following.join(60)

    assert (waiting["status"], file, approved.status_code) == ("queued", 404, 200)
    assert (asked["name"], asked["input"]["content"]) == ("data_write_file", "Friday")
    assert "tool_exec" in asked["reason"]
    assert (written["state"], written["text"]) == ("done", "The meeting is on Friday at noon.")
    calls = written["facts"]["tool_execution"]["calls"]
    assert [(call["function"], call["ok"]) for call in calls] == [("tool_exec", True), ("data_write_file", True)]
    assert list(texts(events).values())[-1] == written["text"]
    assert [name for name, _ in events][-1] == "end"
    assert stack.http.get("/v1/workspace/file?path=meeting.txt").json()["file"]["content"] == "Friday"

    def remembered() -> Any:
        found = stack.http.get(f"/v1/memory?scope={SCOPE}").json()["memories"]
        return [it for it in found if it["key"] == "meeting" and it["embedding_status"] == "ready"]

    wait_until(remembered, what="the answer to be embedded", timeout_sec=120)
    other = begin(stack, agent_tools=True, **remembering)
    server.answer("Friday.")

    said = settled(stack, post(stack, other, "Do you remember when we meet?")["id"])

    assert (said["state"], said["facts"]["memory_context"]["match_count"]) == ("done", 1)
    assert said["facts"]["untrusted_sources"] == ["memory"]
    [given] = [it["content"] for it in server.calls[-1].body["messages"] if "memory search" in it["content"]]
    assert "is on Friday at noon" in given
    assert all(it["role"] != "system" for it in server.calls[-1].body["messages"])


def test_a_budget_stops_a_runaway_loop_at_the_exact_cent(stack: RunningStack, server: ModelServer) -> None:
    # Ten tokens of an answer cost a cent, and no answer may have more.
    price = {"provider": "openai", "model": "gpt-test", "input_usd_per_mtok": "0", "output_usd_per_mtok": "1000"}
    assert stack.http.post("/v1/prices", json=price).status_code == 201
    thread = begin(stack, agent_tools=True, max_tokens=10)
    budget = {"scope": "thread", "subject": thread, "period": "day", "limit_usd": "0.04"}
    made = stack.http.post("/v1/budgets", json=budget)
    assert made.status_code == 201, made.text
    before = len(server.calls)
    server.answer(
        *(
            Reply(ToolCall("data_file_read", {"path": f"{n}.txt"}), usage=Usage(prompt=50, completion=10))
            for n in range(4)
        )
    )

    answer = settled(stack, post(stack, thread, "Go on for ever.")["id"])

    assert (answer["state"], answer["error"]["code"]) == ("failed", "BUDGET_EXCEEDED")
    assert len(server.calls) - before == 4
    [account] = next(
        it["accounts"]
        for it in stack.http.get("/v1/budgets").json()["budgets"]
        if it["id"] == made.json()["budget"]["id"]
    )
    assert (float(account["spent_usd"]), float(account["reserved_usd"])) == (0.04, 0)
    assert any("BUDGET_EXCEEDED" in json.dumps(line) for line in stack.logs(answer["job_id"]))
    assert stack.http.delete(f"/v1/budgets/{made.json()['budget']['id']}").status_code in (200, 204)


FAULTS = [
    pytest.param(Refusal(401, "no such key"), "PROVIDER_HTTP", id="401"),
    pytest.param(Refusal(429, "slow down"), "PROVIDER_HTTP", id="429"),
    pytest.param(Reply("Hel", Cut()), "PROVIDER_NETWORK", id="cut"),
    pytest.param(Reply("Hel", Garbage()), "PROVIDER_RESPONSE", id="malformed"),
    pytest.param(Reply("Hel", Pause()), "PROVIDER_TIMEOUT", id="slow"),
    pytest.param(None, "PROVIDER_NETWORK", id="down"),
]


@pytest.mark.parametrize(("fault", "code"), FAULTS)
def test_each_fault_of_the_provider_is_told_by_its_code_in_the_chat_and_in_the_log(
    fault: Any, code: str, stack: RunningStack, server: ModelServer
) -> None:
    if fault is not None:
        server.answer(fault)
    thread = begin(stack, type=LLAMA if fault is None else CHAT)

    answer = settled(stack, post(stack, thread, "Hello")["id"])

    assert (answer["state"], answer["error"]["code"]) == ("failed", code)
    told = [it["meta"] for it in stack.logs(answer["job_id"]) if it["message"] == "Provider-backed handler failed"]
    assert [it["code"] for it in told] == [code]
    assert answer["text"] == ("Hel" if isinstance(fault, Reply) else "")


def test_stopping_an_answer_hangs_up_on_the_provider(stack: RunningStack, server: ModelServer) -> None:
    pause = Pause()
    server.answer(Reply("Hel", pause, "lo"))
    answer = post(stack, begin(stack), "Hello")
    assert pause.reached.wait(60)

    assert stack.http.post(f"/v1/chat/messages/{answer['id']}/stop").status_code == 200

    assert server.calls[-1].hung_up.wait(30)
    assert settled(stack, answer["id"])["state"] == "cancelled"


def test_no_secret_is_in_anything_that_a_chat_shows(stack: RunningStack, server: ModelServer) -> None:
    server.answer(Refusal(401, f"Incorrect API key provided: {server.key}"))
    settled(stack, post(stack, begin(stack), "Hello")["id"])
    settled(stack, post(stack, thread := begin(stack), "Tell me a secret.")["id"])
    jobs = [job["id"] for job in stack.http.get("/v1/jobs?limit=200").json()["jobs"]]
    paths = [
        "/v1/chat/threads",
        "/v1/approvals",
        "/v1/usage",
        "/v1/budgets",
        "/v1/agent-tools",
        f"/v1/memory?scope={SCOPE}",
    ]
    paths += [f"/v1/chat/threads/{it['id']}/messages" for it in stack.http.get("/v1/chat/threads").json()["threads"]]
    paths += [f"/v1/chat/threads/{thread}/export", *(f"/v1/jobs/{id_}{part}" for id_ in jobs for part in ("", "/logs"))]

    shown = {path: stack.http.get(path).text for path in paths} | {"console": stack.log}

    assert all(shown.values())
    assert [where for where, text in shown.items() for secret in (server.key, SEALED) if secret in text] == []
