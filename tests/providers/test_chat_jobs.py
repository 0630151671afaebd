"""Chat jobs, each run as an I/O worker runs it, against the stand-in: what they give back, and how they fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from access import secrets
from jobs import lifecycle
from jobs.models import Job, JobLog, Status
from jobs.pools.io import IOPool
from jobs.slots import Why
from rauskuclaw import config
from tests.conftest import error_of
from tests.modelserver import (
    Cut,
    Garbage,
    ModelServer,
    Pause,
    Refusal,
    Reply,
    StreamError,
    ToolCall,
    Usage,
)
from tests.providers.conftest import CHAT, CLAUDE, LLAMA, Chat, Start, lines_of

ALL = pytest.mark.parametrize("type_", [CHAT, CLAUDE, LLAMA])
NONSENSE = Garbage(b"event: content_block_delta\ndata: {no\n\n")
MODELS = {CHAT: ("openai", "gpt-test"), CLAUDE: ("anthropic", "claude-test"), LLAMA: ("ollama", "llama-test")}


@ALL
def test_an_answer_has_the_contracts_fields(type_: str, asks: ModelServer, chat: Chat) -> None:
    asks.answer(Reply("Three ", "uses.", usage=Usage(20, 7)))

    job = chat(type_, prompt="Name three uses of a job queue.", system="Be brief.")

    assert job.status == Status.SUCCEEDED, job.error
    result: Any = job.result
    assert (result["provider"], result["model"]) == MODELS[type_]
    assert (result["output_text"], result["finish_reason"], result["tool_calls"]) == ("Three uses.", "stop", None)
    assert result["usage"]["total_tokens"] == 27
    assert "tool_execution" not in result
    assert "memory_context" not in result


@ALL
def test_the_log_tells_of_success_as_clients_look_for_it(type_: str, asks: ModelServer, chat: Chat) -> None:
    job = chat(type_, prompt="Hello")

    assert [line["handler"] for line in lines_of(job, "Starting provider-backed handler")]
    [meta] = lines_of(job, "Provider-backed handler completed")
    assert (meta["provider"], meta["model"]) == MODELS[type_]
    assert set(meta) == {
        "handler", "provider", "model", "local_provider", "command_preview", "auth_mode", "memory_scope",
        "memory_matches", "memory_write_scope", "memory_write_key",
    }  # fmt: skip


@ALL
def test_it_is_asked_as_a_stream_with_what_the_input_says(type_: str, asks: ModelServer, chat: Chat) -> None:
    chat(type_, prompt="Hello", system="Be brief.", temperature=0, max_tokens=50)

    body = asks.calls[0].body
    assert body["stream"] is True
    assert body["model"] == MODELS[type_][1]
    roles = {message["role"] for message in body["messages"]} | {"system"} & set(body)
    assert roles == {"system", "user"}
    options = body.get("options", {})
    assert body.get("temperature", options.get("temperature")) == 0
    assert body.get("max_tokens", options.get("num_predict")) == 50


@ALL
def test_a_models_calls_of_tools_are_given_back(type_: str, asks: ModelServer, chat: Chat) -> None:
    asks.answer(Reply("Let me look.", ToolCall("weather", {"city": "Oulu"})))
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}

    result: Any = chat(type_, prompt="Weather?", tools=[tool], tool_choice="AUTO").result

    [call] = result["tool_calls"]
    assert (call["id"], call["type"], call["function"]["name"]) == ("call_1", "function", "weather")
    assert call["function"]["arguments"].replace(" ", "") == '{"city":"Oulu"}'
    assert result["finish_reason"] == "tool_calls"
    assert asks.calls[0].body["tools"]


FAULTS = [
    pytest.param(Refusal(401, "no"), "PROVIDER_HTTP", False, id="401"),
    pytest.param(Refusal(404, "no such model"), "PROVIDER_HTTP", False, id="404"),
    pytest.param(Refusal(429, "slow down"), "PROVIDER_HTTP", True, id="429"),
    pytest.param(Refusal(500, body=b"<html>oops</html>"), "PROVIDER_HTTP", True, id="500-html"),
    pytest.param(Refusal(529, "overloaded"), "PROVIDER_HTTP", True, id="529"),
    pytest.param(Reply("Hel", Cut()), "PROVIDER_NETWORK", True, id="cut"),
    pytest.param(Reply("Hel", NONSENSE), "PROVIDER_RESPONSE", True, id="garbage"),
    pytest.param(Reply("Hel", StreamError()), "PROVIDER_RESPONSE", True, id="fault-in-the-stream"),
    pytest.param(Reply(), "PROVIDER_RESPONSE", True, id="empty"),
    pytest.param(Reply("  \n"), "PROVIDER_RESPONSE", True, id="blank"),
]


@ALL
@pytest.mark.parametrize(("answer", "code", "again"), FAULTS)
def test_each_fault_has_its_code_and_whether_it_is_worth_another_attempt(
    type_: str, answer: Any, code: str, again: bool, asks: ModelServer, chat: Chat
) -> None:
    asks.answer(answer)

    job = chat(type_, prompt="Hello", fields={"max_attempts": 2})

    error = error_of(job)
    assert error["code"] == code
    assert job.status == (Status.QUEUED if again else Status.FAILED)
    [told] = lines_of(job, "Provider-backed handler failed")
    assert (told["code"], told["provider"], told["error"]) == (code, MODELS[type_][0], error["message"])
    if isinstance(answer, Refusal):
        assert error["details"]["status"] == answer.status


@ALL
@pytest.mark.parametrize("piece", [Cut(), NONSENSE, StreamError()], ids=["cut", "garbage", "fault"])
def test_what_had_come_is_kept_when_the_answer_breaks_off(
    type_: str, piece: Any, asks: ModelServer, chat: Chat
) -> None:
    asks.answer(Reply("Three uses: ", "first", piece))

    job = chat(type_, prompt="Hello")

    assert error_of(job)["details"]["partial_text"] == "Three uses: first"
    assert "partial_text" not in str(lines_of(job, "Provider-backed handler failed"))


@pytest.mark.parametrize("type_", [CHAT, CLAUDE])
def test_it_comes_back_no_earlier_than_the_provider_asked(type_: str, asks: ModelServer, chat: Chat) -> None:
    asks.answer(Refusal(429, "slow down", retry_after="1234"))

    job = chat(type_, prompt="Hello", fields={"max_attempts": 2})

    assert error_of(job)["details"] == {"status": 429, "retry_after_sec": 1234.0}
    assert job.status == Status.QUEUED
    assert 1200 < (job.available_at - job.updated_at).total_seconds() < 1240


@ALL
def test_a_silent_model_is_a_timeout(
    type_: str, asks: ModelServer, chat: Chat, configure: Callable[..., config.Config]
) -> None:
    configure(OPENAI_TIMEOUT_MS=200, ANTHROPIC_TIMEOUT_MS=200, OLLAMA_CHAT_TIMEOUT_MS=200)
    asks.answer(Reply("Hel", Pause(), "lo"))

    error = error_of(chat(type_, prompt="Hello"))

    assert (error["code"], error["details"]["partial_text"]) == ("PROVIDER_TIMEOUT", "Hel")
    assert asks.calls[0].hung_up.wait(30)


@ALL
def test_a_model_that_is_not_done_in_the_jobs_time_keeps_its_text(type_: str, asks: ModelServer, chat: Chat) -> None:
    asks.answer(Reply("Hel", Pause(), "lo"))

    error = error_of(chat(type_, prompt="Hello", fields={"timeout_sec": 1}))

    assert (error["code"], error["details"]["partial_text"]) == ("PROVIDER_TIMEOUT", "Hel")
    assert asks.calls[0].hung_up.wait(30)


@ALL
def test_a_cancel_in_mid_stream_hangs_up(type_: str, asks: ModelServer, start: Start, pool: IOPool) -> None:
    pause = Pause()
    asks.answer(Reply("Hel", pause, "lo"))
    future = start(type_, prompt="Hello")
    assert pause.reached.wait(30)
    job = Job.objects.get(type=type_)

    assert lifecycle.cancel(job.pk, by="test")
    for held in pool.held():
        pool.interrupt(held, Why.NOT_ITS_OWN)

    assert asks.calls[0].hung_up.wait(30)
    assert future.result(30).status == Status.CANCELLED


@ALL
def test_a_server_that_is_down_is_a_network_fault(
    type_: str, chat: Chat, configure: Callable[..., config.Config]
) -> None:
    nowhere = "http://127.0.0.1:9"
    configure(
        OPENAI_ENABLED=1, OPENAI_API_KEY="k", OPENAI_BASE_URL=nowhere, ANTHROPIC_ENABLED=1, ANTHROPIC_API_KEY="k",
        ANTHROPIC_MODEL="m", ANTHROPIC_BASE_URL=nowhere, OLLAMA_CHAT_ENABLED=1, OLLAMA_CHAT_MODEL="m",
        OLLAMA_BASE_URL=nowhere,
    )  # fmt: skip

    assert error_of(chat(type_, prompt="Hello"))["code"] == "PROVIDER_NETWORK"


@ALL
def test_it_follows_no_redirect_with_its_key(type_: str, asks: ModelServer, chat: Chat) -> None:
    asks.answer(Refusal(307, location="/v1/models"))

    error = error_of(chat(type_, prompt="Hello"))

    assert (error["code"], error["details"]["status"]) == ("PROVIDER_HTTP", 307)
    assert len(asks.calls) == 1


@ALL
def test_providers_are_off_until_an_operator_says_otherwise(type_: str, chat: Chat) -> None:
    job = chat(type_, prompt="Hello")

    assert error_of(job)["code"] == "PROVIDER_DISABLED"


@ALL
@pytest.mark.parametrize(
    "given",
    [
        {}, {"prompt": "  "}, {"messages": []}, {"messages": [{"role": "alien", "content": "hi"}]},
        {"messages": "Hello"}, {"prompt": ["Hello"]},
        {"prompt": "Hello", "tools": [{"function": {"name": "not a name"}}]},
    ],
    ids=["empty", "blank", "no-messages", "no-known-role", "text-as-messages", "list-as-prompt", "bad-tool-name"],
)  # fmt: skip
def test_an_input_without_a_question_fails_for_good_even_with_providers_off(
    type_: str, given: dict[str, Any], chat: Chat
) -> None:
    job = chat(type_, **given, fields={"max_attempts": 3})

    assert (error_of(job)["code"], job.status) == ("PROVIDER_INPUT", Status.FAILED)
    assert lines_of(job, "Provider-backed handler failed")


@pytest.mark.parametrize("type_", [CHAT, CLAUDE])
def test_a_missing_key_is_a_fault_of_the_configuration(
    type_: str, asks: ModelServer, chat: Chat, configure: Callable[..., config.Config]
) -> None:
    configure(OPENAI_API_KEY="", ANTHROPIC_API_KEY="secret:nowhere")

    job = chat(type_, prompt="Hello", fields={"max_attempts": 2})

    assert (error_of(job)["code"], job.status) == ("PROVIDER_CONFIG", Status.FAILED)


@pytest.mark.parametrize("type_", [CHAT, CLAUDE])
def test_the_key_may_be_a_stored_secret(
    type_: str, asks: ModelServer, chat: Chat, configure: Callable[..., config.Config]
) -> None:
    secrets.put("models", asks.key, by="test")
    configure(OPENAI_API_KEY="secret:models", ANTHROPIC_API_KEY="secret:models")

    assert chat(type_, prompt="Hello").status == Status.SUCCEEDED


@pytest.mark.parametrize("type_", [CHAT, CLAUDE])
def test_a_key_that_the_provider_repeats_is_shown_nowhere(
    type_: str, asks: ModelServer, chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    key, asks.key = asks.key, "another-one"

    job = chat(type_, prompt="Hello")

    assert error_of(job)["message"].endswith("Incorrect API key provided: sk-[redacted]")
    lines = str(list(JobLog.objects.filter(job=job).values_list("message", "meta")))
    assert key not in lines + str(job.error) + caplog.text


def test_history_is_sent_as_it_is_and_prompt_is_not_read_beside_it(asks: ModelServer, chat: Chat) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    history = [
        {"role": "user", "content": "Hello", "mood": "good"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        {"role": "tool", "content": "nobody asked"},
        {"role": "user", "content": " "},
        "no message",
        {"content": [{"type": "text", "text": "And now?"}]},
    ]

    chat(CHAT, messages=history, prompt="not read", system="Be brief.")

    assert asks.calls[0].body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
        {"role": "user", "content": [{"type": "text", "text": "And now?"}]},
    ]


def test_a_system_message_is_not_sent_twice(asks: ModelServer, chat: Chat) -> None:
    history = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]

    chat(CHAT, messages=history, system="Be brief.")

    assert asks.calls[0].body["messages"] == history


def test_anthropic_gets_results_of_tools_as_the_users_turn(asks: ModelServer, chat: Chat) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"n": 1}'}}
    history = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Well.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        {"role": "user", "content": "And now?"},
    ]

    chat(CLAUDE, messages=history)

    assert asks.calls[0].body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Well."},
                {"type": "tool_use", "id": "c1", "name": "f", "input": {"n": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "42"},
                {"type": "text", "text": "And now?"},
            ],
        },
    ]


@pytest.mark.parametrize(("model", "sent"), [("glm-5", "auto"), ("gpt-test", "required")], ids=["glm", "others"])
def test_some_services_take_no_choice_but_auto(
    model: str, sent: str, asks: ModelServer, chat: Chat, configure: Callable[..., config.Config]
) -> None:
    configure(OPENAI_MODEL=model)
    tool = {"type": "function", "function": {"name": "f"}}

    chat(CHAT, prompt="Hello", tools=[tool], tool_choice="Required")

    assert asks.calls[0].body["tool_choice"] == sent


def test_the_path_of_the_service_may_be_any(
    asks: ModelServer, chat: Chat, configure: Callable[..., config.Config]
) -> None:
    configure(OPENAI_BASE_URL=f"{asks.base_url}/", OPENAI_CHAT_COMPLETIONS_PATH="/elsewhere/chat")
    assert error_of(chat(CHAT, prompt="Hello"))["details"]["status"] == 404
    assert asks.calls[0].path == "/elsewhere/chat"

    configure(OPENAI_BASE_URL="http://127.0.0.1:9", OPENAI_CHAT_COMPLETIONS_PATH=f"{asks.base_url}/v1/chat/completions")
    assert chat(CHAT, prompt="Hello").status == Status.SUCCEEDED


def test_many_answers_come_at_once(asks: ModelServer, start: Start) -> None:
    pauses = [Pause() for _ in range(12)]
    asks.answer(*(Reply("Hel", pause, "lo") for pause in pauses))

    futures = [start(CHAT, prompt="Hello") for _ in pauses]

    assert all(pause.reached.wait(60) for pause in pauses)
    for pause in pauses:
        pause.release()
    assert [future.result(60).status for future in futures] == [Status.SUCCEEDED] * 12
