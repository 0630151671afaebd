"""Anthropic's messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, cast

import anthropic

from providers.base import Event, Finish, Message, Provider, Request, TextDelta, ToolCall, Usage, arguments_of, text_of
from providers.faults import Fault
from providers.http import Library, client, reading, told_by
from providers.keys import ProviderKey, provider_key
from rauskuclaw import errors
from rauskuclaw.config import load

WHO = "the anthropic provider"
DEFAULT_MAX_TOKENS = 4096
"""The protocol demands a limit; this is ours where the job names none."""
REASONS = {
    "end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls",
    "refusal": "content_filter",
}  # fmt: skip
"""Why it ended, in OpenAI's words."""


@dataclass
class Anthropic(Provider):
    """Asks with the official library, always streamed."""

    name = "anthropic"
    model: str
    url: str
    key: ProviderKey
    silence_sec: float

    @classmethod
    def prepare(cls) -> Self:
        """See `Provider.prepare`."""
        config = load()
        if not config.anthropic_enabled:
            raise Fault(errors.PROVIDER_DISABLED, f"{WHO} is switched off: set ANTHROPIC_ENABLED=1")
        if not config.anthropic_model:
            raise Fault(errors.PROVIDER_CONFIG, "no model: set ANTHROPIC_MODEL")
        return cls(
            model=config.anthropic_model,
            url=f"{config.anthropic_base_url}/v1/messages",
            key=provider_key(config.anthropic_api_key, name="ANTHROPIC_API_KEY"),
            silence_sec=config.anthropic_timeout_ms / 1000,
        )

    async def chat(self, request: Request) -> AsyncGenerator[Event]:
        """See `Provider.chat`."""
        http = client(
            self.url, alias=self.key.alias, connect_sec=request.connect_timeout_sec, silence_sec=self.silence_sec
        )
        library = anthropic.AsyncAnthropic(
            base_url=self.url.removesuffix("/v1/messages"),
            api_key=self.key.value or "at the Holvi proxy",
            max_retries=0,
            http_client=http,
        )
        with told_by(cast(Library, anthropic), WHO, silence_sec=self.silence_sec):
            async with library:
                stream: Any = await library.messages.create(**body_of(request, self.model), stream=True)
                answer = _Streamed()
                async with stream:
                    async for event in stream:
                        with reading(WHO):
                            told = list(answer.take(event))
                        for each in told:
                            yield each


@dataclass
class _Streamed:
    """What the events of one answer come to."""

    id: str | None = None
    input_tokens: int = 0
    cached_tokens: int = 0
    calls: dict[int, dict[str, str]] = field(default_factory=dict)

    def take(self, event: Any) -> Iterator[Event]:
        """The next event."""
        match event.type:
            case "message_start":
                self.id, usage = event.message.id, event.message.usage
                self.cached_tokens = usage.cache_read_input_tokens or 0
                written = usage.cache_creation_input_tokens or 0
                self.input_tokens = usage.input_tokens + self.cached_tokens + written
            case "content_block_start" if event.content_block.type == "tool_use":
                self.calls[event.index] = {"id": event.content_block.id, "name": event.content_block.name, "text": ""}
            case "content_block_delta" if event.delta.type == "text_delta":
                yield TextDelta(event.delta.text)
            case "content_block_delta" if event.delta.type == "input_json_delta":
                self.calls[event.index]["text"] += event.delta.partial_json
            case "content_block_stop" if event.index in self.calls:
                call = self.calls.pop(event.index)
                yield ToolCall(call["id"], call["name"], call["text"] or "{}")
            case "message_delta":
                yield Usage(self.input_tokens, event.usage.output_tokens, self.cached_tokens)
                yield Finish(REASONS.get(event.delta.stop_reason, event.delta.stop_reason), self.id)


def body_of(request: Request, model: str) -> dict[str, Any]:
    """A request in Anthropic's words. Raises Fault PROVIDER_INPUT for what it cannot say."""
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": request.max_tokens or DEFAULT_MAX_TOKENS,
        "messages": _turns(request.messages),
    }
    if system := "\n\n".join(text_of(it["content"]) for it in request.messages if it["role"] == "system"):
        body["system"] = system
    if request.temperature is not None:
        # The library has no argument for it any more; models that still take it are asked as the job says.
        body["extra_body"] = {"temperature": request.temperature}
    if request.tools:
        body["tools"] = [
            {
                "name": tool["function"]["name"],
                "description": tool["function"].get("description", ""),
                "input_schema": tool["function"].get("parameters") or {"type": "object"},
            }
            for tool in request.tools
        ]
        if request.tool_choice is not None:
            body["tool_choice"] = _choice(request.tool_choice)
    return body


def _turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Turns of user and assistant. Results of tools are the user's there, all those of one round in one turn."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] == "system":
            continue
        role = "assistant" if message["role"] == "assistant" else "user"
        blocks = _blocks(message)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    return turns


def _blocks(message: Message) -> list[dict[str, Any]]:
    if message["role"] == "tool":
        result = text_of(message.get("content"))
        return [{"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": result}]
    content = message.get("content") or []
    given: Any = [{"type": "text", "text": content}] if isinstance(content, str) else content
    parts = [_part(part) for part in given]
    for call in message.get("tool_calls") or ():
        function = call["function"]
        parts.append(
            {
                "type": "tool_use",
                "id": call["id"],
                "name": function["name"],
                "input": arguments_of(function["arguments"]),
            }
        )
    return [part for part in parts if part.get("text") != ""]


def _part(part: Any) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text":
        return {"type": "text", "text": str(part.get("text", ""))}
    if kind == "image_url":
        url = str(part["image_url"].get("url", ""))
        if not url.startswith("data:"):
            return {"type": "image", "source": {"type": "url", "url": url}}
        head, _, data = url.partition(",")
        media_type = head.removeprefix("data:").removesuffix(";base64")
        return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": data}}
    raise Fault(errors.PROVIDER_INPUT, f"{WHO} takes no message part of type {kind!r}")


def _choice(choice: Any) -> dict[str, Any]:
    if isinstance(choice, Mapping):
        return {"type": "tool", "name": str((choice.get("function") or {}).get("name", ""))}
    return {"type": {"required": "any"}.get(choice, choice)}
