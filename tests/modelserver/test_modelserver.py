"""The stand-in speaks the protocols that the providers' own libraries speak."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import ollama
import openai
import pytest

from tests.modelserver import Cut, Garbage, ModelServer, Pause, Refusal, Reply, StreamError, ToolCall, Usage

HELLO: Any = [{"role": "user", "content": "Hello"}]
WEATHER: Any = ToolCall("weather", {"city": "Oulu"})
TOO_MANY = Refusal(429, "slow down", retry_after="7")


@pytest.fixture
def oai(models: ModelServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{models.base_url}/v1", api_key=models.key, max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture
def claude(models: ModelServer) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=models.base_url, api_key=models.key, max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture
def llama(models: ModelServer) -> Iterator[ollama.Client]:
    with ollama.Client(host=models.base_url, timeout=30) as client:
        yield client


def streamed_by_openai(client: openai.OpenAI) -> tuple[str, list[tuple[str, str]], str | None, int]:
    """Text, calls, why it ended, tokens."""
    text, finish, tokens = "", None, 0
    calls: dict[int, list[str]] = {}
    chunks = client.chat.completions.create(
        model="m", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    for chunk in chunks:
        tokens = chunk.usage.total_tokens if chunk.usage else tokens
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
            for call in choice.delta.tool_calls or ():
                name, arguments = calls.setdefault(call.index, ["", ""])
                assert call.function is not None
                calls[call.index] = [name or call.function.name or "", arguments + (call.function.arguments or "")]
    return text, [(name, arguments) for name, arguments in calls.values()], finish, tokens


def test_openai_streams_text_calls_and_usage(models: ModelServer, oai: openai.OpenAI) -> None:
    models.answer(Reply("Let me ", "look.", WEATHER, usage=Usage(10, 4)))

    assert streamed_by_openai(oai) == ("Let me look.", [("weather", '{"city": "Oulu"}')], "tool_calls", 14)
    assert (models.calls[0].path, models.calls[0].body["messages"]) == ("/v1/chat/completions", HELLO)


def test_openai_answers_in_one_piece(models: ModelServer, oai: openai.OpenAI) -> None:
    models.answer(Reply("Hi ", "there", finish="length"))

    answer = oai.chat.completions.create(model="m", messages=HELLO)

    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("Hi there", "length")
    assert answer.usage is not None
    assert answer.usage.total_tokens == 17


def test_openai_embeds_similar_texts_near_each_other(oai: openai.OpenAI) -> None:
    data = oai.embeddings.create(model="e", input=["the red car", "a red car", "tax law"], dimensions=64).data

    def likeness(a: int, b: int) -> float:
        return sum(x * y for x, y in zip(data[a].embedding, data[b].embedding, strict=True))

    assert len(data[0].embedding) == 64
    assert likeness(0, 1) > 0.5 > abs(likeness(0, 2))
    assert likeness(0, 0) == pytest.approx(1, abs=1e-5)


def test_anthropic_streams_text_calls_and_usage(models: ModelServer, claude: anthropic.Anthropic) -> None:
    models.answer(Reply("Let me ", "look.", WEATHER, ToolCall("time"), usage=Usage(10, 4, cached=3)))

    with claude.messages.stream(model="m", max_tokens=99, messages=HELLO) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()

    calls = [(block.id, block.name, block.input) for block in message.content if block.type == "tool_use"]
    assert text == "Let me look."
    assert calls == [("call_1", "weather", {"city": "Oulu"}), ("call_2", "time", {})]
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens, message.usage.output_tokens) == (7, 3, 4)


def test_anthropic_answers_in_one_piece(models: ModelServer, claude: anthropic.Anthropic) -> None:
    models.answer("Hi there")

    message = claude.messages.create(model="m", max_tokens=99, messages=HELLO)

    assert [block.text for block in message.content if block.type == "text"] == ["Hi there"]


def test_ollama_streams_text_calls_and_usage(models: ModelServer, llama: ollama.Client) -> None:
    models.answer(Reply("Let me ", "look.", WEATHER))

    parts = list(llama.chat("m", HELLO, stream=True))

    assert "".join(part.message.content or "" for part in parts) == "Let me look."
    calls = [call.function for part in parts for call in part.message.tool_calls or ()]
    assert [(call.name, call.arguments) for call in calls] == [("weather", {"city": "Oulu"})]
    assert (parts[-1].done, parts[-1].prompt_eval_count, parts[-1].eval_count) == (True, 12, 5)


def test_ollama_embeds_lists_and_names_its_models(models: ModelServer, llama: ollama.Client) -> None:
    assert [len(vector) for vector in llama.embed("e", ["one", "two"]).embeddings] == [768, 768]
    assert [model.model for model in llama.list().models] == list(models.models)
    assert llama.chat("m", HELLO).message.content == "You said: Hello"


def test_each_lists_its_models(models: ModelServer, oai: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    assert [model.id for model in oai.models.list()] == list(models.models)
    assert [model.id for model in claude.models.list()] == list(models.models)


def test_a_wrong_key_is_refused(models: ModelServer, oai: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    with pytest.raises(openai.AuthenticationError, match="sk-wrong"):
        oai.with_options(api_key="sk-wrong").models.list()
    with pytest.raises(anthropic.AuthenticationError):
        claude.with_options(api_key="sk-wrong").messages.create(model="m", max_tokens=9, messages=HELLO)


def test_openai_meets_a_rate_limit_with_its_wait(models: ModelServer, oai: openai.OpenAI) -> None:
    models.answer(TOO_MANY)

    with pytest.raises(openai.RateLimitError) as caught:
        streamed_by_openai(oai)

    assert caught.value.response.headers["retry-after"] == "7"


def test_anthropic_meets_a_rate_limit_with_its_wait(models: ModelServer, claude: anthropic.Anthropic) -> None:
    models.answer(TOO_MANY)

    with pytest.raises(anthropic.RateLimitError) as caught:
        claude.messages.create(model="m", max_tokens=9, messages=HELLO)

    assert caught.value.response.headers["retry-after"] == "7"


def test_embeddings_fail_as_told_and_then_work(models: ModelServer, llama: ollama.Client) -> None:
    models.answer_embeddings(Refusal(503, "loading"), Refusal(500, body=b"<html>oops</html>"))

    for _ in range(2):
        with pytest.raises(ollama.ResponseError):
            llama.embed("e", "one")
    assert len(llama.embed("e", "one").embeddings) == 1


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        pytest.param(("Hel", Cut()), openai.APIConnectionError, id="cut"),
        pytest.param(("Hel", Garbage()), ValueError, id="garbage"),
        pytest.param(("Hel", StreamError("out of memory")), openai.APIError, id="fault-in-the-stream"),
    ],
)
def test_streams_break_as_told(
    pieces: tuple[Any, ...], error: type[Exception], models: ModelServer, oai: openai.OpenAI
) -> None:
    models.answer(Reply(*pieces))

    with pytest.raises(error):
        streamed_by_openai(oai)


def test_a_client_that_hangs_up_is_noticed(models: ModelServer, oai: openai.OpenAI) -> None:
    pause = Pause()
    models.answer(Reply("Hel", pause, "lo"))
    stream = oai.chat.completions.create(model="m", messages=HELLO, stream=True)
    assert pause.reached.wait(30)

    stream.close()

    assert models.calls[0].hung_up.wait(30)


def test_a_pause_ends_when_it_is_released(models: ModelServer, oai: openai.OpenAI) -> None:
    pause = Pause()
    models.answer(Reply("Hel", pause, "lo"))
    texts: list[str] = []
    reading = threading.Thread(target=lambda: texts.append(streamed_by_openai(oai)[0]))
    reading.start()
    assert pause.reached.wait(30)

    pause.release()
    reading.join(30)

    assert texts == ["Hello"]
    assert not models.calls[0].hung_up.is_set()


def test_it_can_be_silent_from_the_start(models: ModelServer, oai: openai.OpenAI) -> None:
    models.answer(Reply("Hello", first=Pause()))

    with pytest.raises(openai.APITimeoutError):
        streamed_by_openai(oai.with_options(timeout=0.2))

    assert models.calls[0].hung_up.wait(30)


def test_an_unknown_path_is_not_found(models: ModelServer) -> None:
    assert httpx.get(f"{models.base_url}/v2/nothing", trust_env=False).status_code == 404
