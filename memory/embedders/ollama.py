"""Embeddings by Ollama, through its own client."""

from __future__ import annotations

import json
from collections.abc import Sequence

import httpx
import ollama
from numpy.typing import ArrayLike
from pydantic import ValidationError

from memory.embedders.base import Embedder, EmbedFailed, http_failed
from rauskuclaw import errors
from rauskuclaw.config import Config


class Ollama(Embedder):
    """`POST /api/embed`."""

    provider = "ollama"

    def __init__(self, model: str, config: Config) -> None:
        super().__init__(model, config)
        self._address = config.ollama_base_url
        self._client = ollama.Client(host=self._address, timeout=self.timeout_sec)

    def close(self) -> None:
        """Close the connections to Ollama."""
        self._client.close()  # type: ignore[no-untyped-call]  # the client has no types for it

    @staticmethod
    def configured_model(config: Config) -> str:
        """OLLAMA_EMBED_MODEL."""
        return config.ollama_embed_model

    def _vectors(self, texts: Sequence[str]) -> ArrayLike:
        try:
            return self._client.embed(model=self.model, input=list(texts)).embeddings
        except ollama.ResponseError as error:
            raise http_failed(f"Ollama at {self._address}", error.status_code, error.error) from None
        except httpx.TimeoutException:
            message = f"Ollama at {self._address} did not answer in {self.timeout_sec:g} s"
            raise EmbedFailed(errors.MEMORY_EMBED_TIMEOUT, message) from None
        except (httpx.TransportError, ConnectionError) as error:
            message = f"Ollama at {self._address} cannot be reached: {error}"
            raise EmbedFailed(errors.MEMORY_EMBED_NETWORK, message) from None
        except (ValidationError, json.JSONDecodeError):
            message = f"{self._address} does not answer as Ollama does"
            raise EmbedFailed(errors.MEMORY_EMBED_RESPONSE, message) from None
