"""Keys that only the Holvi proxy knows (contract 7.2, 14.5): the provider is asked through it, and it adds them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from jobs.models import Status
from rauskuclaw import config
from tests.conftest import error_of
from tests.modelserver import ModelServer, Refusal, Reply, ToolCall
from tests.net.servers import Exchange, Server, serving
from tests.providers.conftest import CHAT, Chat

TOKEN = "token-for-the-proxy"


@pytest.fixture
def holvi(asks: ModelServer, configure: Callable[..., config.Config]) -> Iterator[Server]:
    """A proxy that knows the stand-in's key as `openai`."""

    def answer(exchange: Exchange) -> None:
        if exchange.headers["x-proxy-token"] != TOKEN:
            return exchange.answer(401)
        asked: Any = json.loads(exchange.body)
        if asked["secret_alias"] != "openai":
            return exchange.answer(404)
        wanted = asked["request"]
        headers = {**wanted["headers"], "authorization": f"Bearer {asks.key}"}
        with httpx.Client(trust_env=False) as client:
            told = client.request(wanted["method"], wanted["url"], headers=headers, json=wanted["body"])
        reply = {"status": told.status_code, "headers": dict(told.headers), "body": told.text}
        return exchange.answer(200, json.dumps(reply).encode())

    with serving(answer) as server:
        configure(
            HOLVI_BASE_URL=f"http://127.0.0.1:{server.port}", HOLVI_PROXY_TOKEN=TOKEN, OPENAI_SECRET_ALIAS="openai",
            OPENAI_API_KEY="",
        )  # fmt: skip
        yield server


def test_the_proxy_adds_the_key(holvi: Server, asks: ModelServer, chat: Chat) -> None:
    asks.answer(Reply("Let me look.", ToolCall("weather", {"city": "Oulu"})))

    job = chat(CHAT, prompt="Weather?", tools=[{"type": "function", "function": {"name": "weather"}}])

    result: Any = job.result
    assert (result["output_text"], result["finish_reason"]) == ("Let me look.", "tool_calls")
    assert result["tool_calls"][0]["function"]["name"] == "weather"
    assert result["usage"]["total_tokens"] == 17
    assert asks.calls[0].headers["authorization"] == f"Bearer {asks.key}"


def test_the_proxy_is_asked_as_the_contract_says(holvi: Server, asks: ModelServer, chat: Chat) -> None:
    chat(CHAT, prompt="Hello")

    [seen] = holvi.seen
    asked = json.loads(seen.body)
    assert (seen.path, seen.headers["x-proxy-token"]) == ("/v1/proxy/http", TOKEN)
    assert asked == {
        "secret_alias": "openai",
        "request": {
            "method": "POST",
            "url": f"{asks.base_url}/v1/chat/completions",
            "headers": {"content-type": "application/json"},
            "body": {"model": "gpt-test", "messages": [{"role": "user", "content": "Hello"}]},
        },
    }
    assert "authorization" not in seen.headers


def test_an_alias_may_stand_in_the_keys_own_setting(
    holvi: Server, chat: Chat, configure: Callable[..., config.Config]
) -> None:
    configure(OPENAI_SECRET_ALIAS="", OPENAI_API_KEY="sec://openai")

    assert chat(CHAT, prompt="Hello").status == Status.SUCCEEDED


def test_what_the_provider_refuses_is_told_as_its_own(holvi: Server, asks: ModelServer, chat: Chat) -> None:
    asks.answer(Refusal(429, "slow down", retry_after="60"))

    error = error_of(chat(CHAT, prompt="Hello"))

    assert (error["code"], error["details"]) == ("PROVIDER_HTTP", {"status": 429, "retry_after_sec": 60.0})


@pytest.mark.parametrize(
    "settings",
    [{"HOLVI_PROXY_TOKEN": "wrong"}, {"OPENAI_SECRET_ALIAS": "nobody"}, {"HOLVI_BASE_URL": "http://127.0.0.1:9"}],
    ids=["token", "alias", "down"],
)
def test_a_proxy_that_fails_is_a_network_fault(
    settings: dict[str, Any], holvi: Server, chat: Chat, configure: Callable[..., config.Config]
) -> None:
    configure(**settings)

    error = error_of(chat(CHAT, prompt="Hello"))

    assert error["code"] == "PROVIDER_NETWORK"
    assert TOKEN not in str(error)


def test_a_proxy_that_speaks_nonsense_is_a_network_fault(
    asks: ModelServer, chat: Chat, configure: Callable[..., config.Config]
) -> None:
    with serving(lambda exchange: exchange.answer(200, b"<html>")) as server:
        configure(
            HOLVI_BASE_URL=f"http://127.0.0.1:{server.port}", HOLVI_PROXY_TOKEN=TOKEN, OPENAI_SECRET_ALIAS="openai"
        )

        assert error_of(chat(CHAT, prompt="Hello"))["code"] == "PROVIDER_NETWORK"


def test_without_a_token_the_proxy_is_not_asked(
    holvi: Server, chat: Chat, configure: Callable[..., config.Config]
) -> None:
    configure(HOLVI_PROXY_TOKEN="")

    assert error_of(chat(CHAT, prompt="Hello"))["code"] == "PROVIDER_CONFIG"
    assert holvi.seen == []
