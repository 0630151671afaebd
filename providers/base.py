"""What a language model provider is: one class with one coroutine. docs/providers.md shows how to add one.

A provider turns a conversation into events. It is made anew for each call, by `prepare`, in a thread with a database
connection; `chat` then runs in an event loop, and what it raises besides `Fault` is turned into one by `faults.py`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

Message = Mapping[str, Any]
"""As OpenAI's chat completions have it: `{"role", "content", "tool_calls"?, "tool_call_id"?}`."""


@dataclass(frozen=True)
class TextDelta:
    """A piece of the answer's text."""

    text: str


@dataclass(frozen=True)
class ToolCall:
    """A function that the model wants called."""

    id: str
    name: str
    arguments: str
    """JSON text, as the model wrote it: it may be none."""

    def as_message_part(self) -> dict[str, Any]:
        """As an entry of `tool_calls`."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


def arguments_of(text: str) -> dict[str, Any]:
    """Arguments that a model wrote, for protocols that want an object: what is none is put into one."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {"arguments": text}


def text_of(content: Any) -> str:
    """The text of a message's content: a text, or the text parts of a list."""
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in content or () if isinstance(part, Mapping))


@dataclass(frozen=True)
class Usage:
    """Tokens of one call."""

    input_tokens: int
    """Of the whole conversation, cached ones included."""
    output_tokens: int
    cached_tokens: int = 0
    """Of the input, what the provider had kept from an earlier call."""
    estimated: bool = False
    """Counted by us, from the text: the provider did not say."""


@dataclass(frozen=True)
class Finish:
    """The answer is complete."""

    reason: str | None
    """stop, length, tool_calls, content_filter; None where the provider does not say."""
    id: str | None = None
    """The provider's own id of the answer."""


Event = TextDelta | ToolCall | Usage | Finish


@dataclass(frozen=True)
class Capabilities:
    """What a provider can do beyond answering."""

    streams: bool = True
    """Whether text comes while it is written."""
    tools: bool = True
    """Whether it can be given functions."""
    bounded: bool = True
    """Whether `max_tokens` bounds what a call can cost. What calls its model as often as it likes has no bound."""


@dataclass(frozen=True)
class Request:
    """One call of a model."""

    messages: Sequence[Message]
    tools: Sequence[Mapping[str, Any]] = ()
    """`{"type": "function", "function": {"name", "description", "parameters"}}`."""
    tool_choice: Any = None
    temperature: float | None = None
    max_tokens: int | None = None
    connect_timeout_sec: float = 10.0


class Provider(ABC):
    """One provider, ready for one call."""

    name: ClassVar[str]
    """In results, prices and usage: `openai`."""
    capabilities: ClassVar[Capabilities] = Capabilities()
    model: str
    """Which one answers."""

    @classmethod
    @abstractmethod
    def prepare(cls) -> Self:
        """Read the settings and open the key. May use the database.

        Raises Fault: PROVIDER_DISABLED, or PROVIDER_CONFIG for what is missing.
        """

    @abstractmethod
    def chat(self, request: Request) -> AsyncGenerator[Event]:
        """Ask, and yield what comes as it comes: text and calls, then Usage if it is told, and Finish last.

        Always streams upstream where the provider can: leaving the generator closes the connection at once.
        """
