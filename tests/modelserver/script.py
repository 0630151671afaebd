"""What the stand-in model server is told to answer, in words that all its protocols can say."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ToolCall:
    """A function the model wants called."""

    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict)
    """A string is sent as it is: models do write arguments that are no JSON."""
    id: str = ""
    """Empty: numbered within the answer. Ollama's protocol has none."""

    @property
    def arguments_text(self) -> str:
        """The arguments as a model streams them."""
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)


class Pause:
    """The stream stands still here until the test releases it, its client hangs up, or the test is over."""

    def __init__(self) -> None:
        self.reached, self.released = threading.Event(), threading.Event()

    def release(self) -> None:
        """Go on."""
        self.released.set()


@dataclass(frozen=True)
class Wait:
    """A slow model: so many seconds of silence."""

    sec: float


@dataclass(frozen=True)
class Garbage:
    """Bytes that stand in the stream as they are."""

    data: bytes = b"data: {this is no JSON\n\n"


class Cut:
    """The connection breaks here, in the middle of the answer."""


@dataclass(frozen=True)
class StreamError:
    """The server reports a fault inside a stream that had begun well."""

    message: str = "the model fell over"
    kind: str = "overloaded_error"


Piece = str | ToolCall | Pause | Wait | Garbage | Cut | StreamError


@dataclass(frozen=True)
class Usage:
    """Tokens that an answer reports."""

    prompt: int = 12
    completion: int = 5
    cached: int = 0
    """Of the prompt's."""


class Reply:
    """An answer of the model: pieces of text in the order they come, calls of tools, and what may go wrong between."""

    def __init__(
        self,
        *pieces: Piece,
        usage: Usage | None = Usage(),
        finish: str = "",
        model: str = "",
        first: Pause | None = None,
    ) -> None:
        self.pieces: Sequence[Piece] = pieces
        self.usage = usage
        self.finish = finish or ("tool_calls" if self.tool_calls else "stop")
        """As OpenAI calls it: stop, length, tool_calls, content_filter."""
        self.model = model
        """Which model says it answered; empty: the one asked for."""
        self.first = first
        """Before anything, even the status line, is sent."""

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(piece for piece in self.pieces if isinstance(piece, str))

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The calls, each with an id."""
        calls = [piece for piece in self.pieces if isinstance(piece, ToolCall)]
        return [ToolCall(it.name, it.arguments, it.id or f"call_{n}") for n, it in enumerate(calls, 1)]


@dataclass(frozen=True)
class Refusal:
    """The server answers with an error instead of the model."""

    status: int
    message: str = "refused"
    retry_after: str | None = None
    """The header's value, in seconds or as a date."""
    location: str | None = None
    """Where a redirect leads."""
    body: bytes | None = None
    """Sent instead of the protocol's own error object: a proxy's HTML page, for instance."""


Answer = Reply | Refusal
