"""What the protocols of the stand-in server have in common."""

from __future__ import annotations

import hashlib
import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.modelserver.script import Piece, Reply

Item = bytes | Piece
"""What a stream is made of: bytes to send, or a pause, a cut and the like on the way."""


class Protocol(ABC):
    """One provider's way to say all that."""

    wants_key = True
    stream_type = "text/event-stream"

    @abstractmethod
    def key_of(self, headers: Mapping[str, str]) -> str:
        """The key that was sent."""

    def streams(self, body: Mapping[str, Any]) -> bool:
        """Whether the answer is wanted as a stream."""
        return bool(body.get("stream"))

    @abstractmethod
    def whole(self, reply: Reply, model: str) -> Any:
        """The answer as one JSON value."""

    @abstractmethod
    def stream(self, reply: Reply, model: str, body: Mapping[str, Any]) -> Iterator[Item]:
        """The answer piece by piece."""

    @abstractmethod
    def error(self, status: int, message: str) -> Any:
        """The body of an error."""

    @abstractmethod
    def models(self, names: Sequence[str]) -> Any:
        """The list of models."""

    def embeddings(self, body: Mapping[str, Any], dimensions: int) -> Any:
        """Vectors for the texts asked about."""
        raise NotImplementedError


def event(data: Any, name: str = "") -> bytes:
    """A server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


def texts_of(body: Mapping[str, Any]) -> list[str]:
    """The texts to embed: one, or a list."""
    given = body["input"]
    return [given] if isinstance(given, str) else list(given)


def vector_of(text: str, dimensions: int) -> list[float]:
    """A unit vector in which each word of the text points its own way, so that similar texts are near each other."""
    vector = [0.0] * dimensions
    for word in re.findall(r"\w+", text.lower()) or [""]:
        digest = hashlib.sha256(word.encode()).digest()
        for n in range(0, 24, 3):
            vector[int.from_bytes(digest[n : n + 2], "big") % dimensions] += 1.0 if digest[n + 2] & 1 else -1.0
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [value / length for value in vector]
