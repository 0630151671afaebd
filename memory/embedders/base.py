"""The interface of embedders, and what is checked of every answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rauskuclaw import errors
from rauskuclaw.config import Config
from rauskuclaw.errors import Code, Problem

Vectors = NDArray[np.float32]
MAX_DIMENSION = 16_000
"""pgvector's."""
MAX_MESSAGE_CHARS = 300


class EmbedFailed(Problem):
    """No vectors, for one of the MEMORY_EMBED_ and MEMORY_VECTOR_ codes. retryable: overrides the code's own answer."""

    def __init__(
        self, code: Code, message: str, details: Mapping[str, Any] | None = None, *, retryable: bool | None = None
    ) -> None:
        super().__init__(code, message, details)
        self.retryable = bool(code.retryable) if retryable is None else retryable

    def as_envelope(self) -> dict[str, Any]:
        """With `details` always there, as the contract has it for these (section 0)."""
        envelope = super().as_envelope()
        envelope["error"].setdefault("details", None)
        return envelope


class Embedder(ABC):
    """One embedding model. Instances are shared by the threads of a process."""

    provider: ClassVar[str]
    batch: ClassVar[int] = 32
    """Texts that one call takes best."""

    def __init__(self, model: str, config: Config) -> None:
        self.model = model
        self.timeout_sec = config.ollama_embed_timeout_ms / 1000

    def close(self) -> None:  # noqa: B027 - most have none
        """Let go of connections."""

    @staticmethod
    @abstractmethod
    def configured_model(config: Config) -> str:
        """The model that the configuration names."""

    @abstractmethod
    def _vectors(self, texts: Sequence[str]) -> ArrayLike:
        """A vector for each text. Raises EmbedFailed."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """float32, shape (texts, dimension). None of them is zero or not finite. Raises EmbedFailed."""
        found = self._vectors(texts)
        try:
            vectors = np.asarray(found, dtype=np.float32)
        except (ValueError, TypeError):
            vectors = np.empty(0, np.float32)
        if vectors.ndim != 2 or len(vectors) != len(texts) or not 0 < vectors.shape[1] <= MAX_DIMENSION:
            message = f"{self.provider} gave no vector of numbers for each of {len(texts)} texts"
            raise EmbedFailed(errors.MEMORY_EMBED_RESPONSE, message)
        if not np.isfinite(vectors).all() or not vectors.any(axis=1).all():
            raise EmbedFailed(errors.MEMORY_EMBED_RESPONSE, f"{self.provider} gave a vector that has no direction")
        return vectors


def http_failed(who: str, status: int, message: str) -> EmbedFailed:
    """An error's HTTP status as one of ours: what the text is at fault for, and what another try may mend."""
    details = {"status": status}
    if status in {401, 403}:
        # What servers say of a wrong key may hold a part of it.
        return EmbedFailed(errors.MEMORY_EMBED_HTTP, f"{who} refuses the key", details, retryable=False)
    told = f"{who}: {message[:MAX_MESSAGE_CHARS]}"
    if status in {400, 413, 422}:
        return EmbedFailed(errors.MEMORY_EMBED_INPUT, told, details)
    # Too many requests, and what the server is at fault for. A model that is not there stays away until somebody acts.
    return EmbedFailed(errors.MEMORY_EMBED_HTTP, told, details, retryable=status in {408, 409, 429} or status >= 500)
