"""OpenAI, and whatever speaks its chat completions (contract 7.2)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from typing import Any, Self, cast
from urllib.parse import urlsplit

import openai
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from providers.base import Event, Finish, Provider, Request, TextDelta, ToolCall, Usage
from providers.faults import Fault
from providers.http import Library, client, reading, told_by
from providers.keys import ProviderKey, provider_key
from rauskuclaw import errors
from rauskuclaw.config import Config, load

WHO = "the openai provider"


def completions_url(config: Config) -> str:
    """Where chats go: the path behind the address, or the path itself where it is a whole URL."""
    path = config.openai_chat_completions_path
    return path if "://" in path else config.openai_base_url + path


@dataclass
class OpenAI(Provider):
    """Asks with the official library. Through the Holvi proxy an answer comes in one piece, else it is streamed."""

    name = "openai"
    model: str
    url: str
    key: ProviderKey
    silence_sec: float

    @classmethod
    def prepare(cls) -> Self:
        """See `Provider.prepare`."""
        config = load()
        if not config.openai_enabled:
            raise Fault(errors.PROVIDER_DISABLED, f"{WHO} is switched off: OPENAI_ENABLED=1 switches it on")
        return cls(
            model=config.openai_model,
            url=completions_url(config),
            key=provider_key(config.openai_api_key, name="OPENAI_API_KEY", alias=config.openai_secret_alias),
            silence_sec=config.openai_timeout_ms / 1000,
        )

    async def chat(self, request: Request) -> AsyncGenerator[Event]:
        """See `Provider.chat`."""
        address = urlsplit(self.url)
        http = client(
            self.url, alias=self.key.alias, connect_sec=request.connect_timeout_sec, silence_sec=self.silence_sec
        )
        library = openai.AsyncOpenAI(
            base_url=f"{address.scheme}://{address.netloc}",
            api_key=self.key.value or "at the Holvi proxy",
            max_retries=0,
            http_client=http,
        )
        with told_by(cast(Library, openai), WHO, silence_sec=self.silence_sec):
            async with library:
                if self.key.alias:
                    whole = await library.chat.completions.create(**self._body(request))
                    with reading(WHO):
                        told = list(_whole(whole))
                    for event in told:
                        yield event
                    return
                stream = await library.chat.completions.create(
                    **self._body(request), stream=True, stream_options={"include_usage": True}
                )
                answer = _Streamed()
                async with stream:
                    async for chunk in stream:
                        with reading(WHO):
                            told = list(answer.take(chunk))
                        for event in told:
                            yield event
                for event in answer.end():
                    yield event

    def _body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.model, "messages": list(request.messages)}
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.max_tokens is not None:
            body["max_tokens"] = request.max_tokens
        if request.tools:
            body["tools"] = list(request.tools)
            if request.tool_choice is not None:
                choice = request.tool_choice
                # Its service refuses every other choice.
                only_auto = "z.ai" in self.url or self.model.startswith("glm")
                body["tool_choice"] = "auto" if only_auto else choice
        return body


@dataclass
class _Call:
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass
class _Streamed:
    """What the chunks of one answer come to."""

    calls: dict[int, _Call] = field(default_factory=dict)
    usage: Usage | None = None
    finish: Finish | None = None

    def take(self, chunk: ChatCompletionChunk) -> Iterator[Event]:
        """The next chunk. Calls of tools come in parts, and are told when they are whole."""
        if chunk.usage is not None:
            self.usage = _usage(chunk.usage)
        for choice in chunk.choices[:1]:
            if choice.delta.content:
                yield TextDelta(choice.delta.content)
            for part in choice.delta.tool_calls or ():
                call = self.calls.setdefault(part.index, _Call())
                call.id = call.id or part.id or ""
                if part.function is not None:
                    call.name += part.function.name or ""
                    call.arguments += part.function.arguments or ""
            if choice.finish_reason is not None:
                self.finish = Finish(choice.finish_reason, chunk.id or None)

    def end(self) -> Iterator[Event]:
        """The stream is over: calls, usage, and the end if there was one."""
        for index, call in sorted(self.calls.items()):
            yield ToolCall(call.id or f"call_{index + 1}", call.name, call.arguments or "{}")
        if self.usage is not None:
            yield self.usage
        if self.finish is not None:
            yield self.finish


def _whole(answer: ChatCompletion) -> Iterator[Event]:
    choice = answer.choices[0]
    if choice.message.content:
        yield TextDelta(choice.message.content)
    for call in choice.message.tool_calls or ():
        if call.type == "function":
            yield ToolCall(call.id, call.function.name, call.function.arguments)
    if answer.usage is not None:
        yield _usage(answer.usage)
    yield Finish(choice.finish_reason, answer.id or None)


def _usage(usage: CompletionUsage) -> Usage:
    details = usage.prompt_tokens_details
    return Usage(usage.prompt_tokens, usage.completion_tokens, (details and details.cached_tokens) or 0)
