"""A model on a machine of yours, behind Ollama."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Self, cast

import httpx
import ollama

from providers.base import Event, Finish, Message, Provider, Request, TextDelta, ToolCall, Usage, arguments_of
from providers.faults import Fault, http_fault, network_fault, protocol_fault, timeout_fault
from rauskuclaw import errors
from rauskuclaw.config import load

WHO = "the ollama provider"


@dataclass
class Ollama(Provider):
    """Asks with the official library, always streamed. There is no key."""

    name = "ollama"
    model: str
    base_url: str
    silence_sec: float

    @classmethod
    def prepare(cls) -> Self:
        """See `Provider.prepare`."""
        config = load()
        if not config.ollama_chat_enabled:
            raise Fault(errors.PROVIDER_DISABLED, f"{WHO} is switched off: OLLAMA_CHAT_ENABLED=1 switches it on")
        if not config.ollama_chat_model:
            raise Fault(errors.PROVIDER_CONFIG, "no model: set OLLAMA_CHAT_MODEL")
        return cls(
            model=config.ollama_chat_model,
            base_url=config.ollama_base_url,
            silence_sec=config.ollama_chat_timeout_ms / 1000,
        )

    async def chat(self, request: Request) -> AsyncGenerator[Event]:
        """See `Provider.chat`."""
        timeout = httpx.Timeout(self.silence_sec, connect=request.connect_timeout_sec)
        library = ollama.AsyncClient(host=self.base_url, timeout=timeout, follow_redirects=False)
        options = {"temperature": request.temperature, "num_predict": request.max_tokens}
        try:
            stream = await library.chat(
                self.model,
                [_message(message) for message in request.messages],
                tools=[dict(tool) for tool in request.tools],
                options={name: value for name, value in options.items() if value is not None},
                stream=True,
            )
            calls = 0
            # The library says iterator and means generator; left open, it would hold its connection.
            async with aclosing(cast(AsyncGenerator[ollama.ChatResponse], stream)) as parts:
                async for part in parts:
                    if part.message.content:
                        yield TextDelta(part.message.content)
                    for call in part.message.tool_calls or ():
                        calls += 1
                        arguments = json.dumps(dict(call.function.arguments), ensure_ascii=False)
                        yield ToolCall(f"call_{calls}", call.function.name, arguments)
                    if part.done:
                        for event in _end(part, calls):
                            yield event
        except ollama.ResponseError as error:
            if error.status_code < 300:  # it broke off in a stream that had begun well
                raise Fault(errors.PROVIDER_RESPONSE, f"{WHO} broke off: {error.error[:500]}") from None
            raise http_fault(WHO, error.status_code, error.error, {}) from None
        except httpx.TimeoutException:
            raise timeout_fault(WHO, self.silence_sec) from None
        except (httpx.TransportError, ConnectionError) as error:
            raise network_fault(WHO, error) from None
        except (ValueError, TypeError) as error:
            raise protocol_fault(WHO, error) from None
        finally:
            await library.close()  # type: ignore[no-untyped-call]


def _end(part: ollama.ChatResponse, calls: int) -> Iterator[Event]:
    if part.eval_count is not None:
        yield Usage(part.prompt_eval_count or 0, part.eval_count)
    yield Finish("tool_calls" if calls else part.done_reason or "stop")


def _message(message: Message) -> dict[str, Any]:
    """A message in Ollama's words: images apart, arguments as objects, results of tools by name."""
    told: dict[str, Any] = {"role": message["role"]}
    content = message.get("content") or ""
    if isinstance(content, str):
        told["content"] = content
    else:
        told["content"] = "\n".join(str(part["text"]) for part in content if part.get("type") == "text")
        told["images"] = [_image(part) for part in content if part.get("type") != "text"]
    if calls := message.get("tool_calls"):
        told["tool_calls"] = [
            {"function": {"name": call["function"]["name"], "arguments": arguments_of(call["function"]["arguments"])}}
            for call in calls
        ]
    if name := message.get("name"):
        told["tool_name"] = name
    return told


def _image(part: Mapping[str, Any]) -> str:
    url = str((part.get("image_url") or {}).get("url", "")) if part.get("type") == "image_url" else ""
    if not url.startswith("data:"):
        raise Fault(errors.PROVIDER_INPUT, f"{WHO} takes texts, and images as data: URLs")
    return url.partition(",")[2]
