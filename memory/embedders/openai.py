"""Embeddings by OpenAI, or whatever speaks its protocol, through its own client."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from memory.embedders.base import Embedder, EmbedFailed, http_failed
from rauskuclaw import errors
from rauskuclaw.config import Config

if TYPE_CHECKING:
    import openai


class OpenAI(Embedder):
    """`POST <base>/embeddings`."""

    provider = "openai"
    batch = 64

    def __init__(self, model: str, config: Config) -> None:
        super().__init__(model, config)
        self._address = config.memory_openai_base_url
        key = config.memory_openai_api_key
        self._key = key.get_secret_value() if key else ""
        self._client: openai.OpenAI | None = None

    def close(self) -> None:
        """Close the connections to the server."""
        if self._client is not None:
            self._client.close()

    @staticmethod
    def configured_model(config: Config) -> str:
        """MEMORY_OPENAI_MODEL."""
        return config.memory_openai_model

    def _vectors(self, texts: Sequence[str]) -> ArrayLike:
        # Takes most of a second to import: only whoever uses it.
        import openai

        if self._client is None:
            # The client insists on a key; servers that want none ignore it. Jobs retry, and so it does not.
            self._client = openai.OpenAI(
                base_url=self._address, api_key=self._key or "none", timeout=self.timeout_sec, max_retries=0
            )
        try:
            answer = self._client.embeddings.create(model=self.model, input=list(texts), encoding_format="float")
            return [item.embedding for item in sorted(answer.data, key=lambda item: item.index)]
        except openai.APITimeoutError:
            message = f"{self._address} did not answer in {self.timeout_sec:g} s"
            raise EmbedFailed(errors.MEMORY_EMBED_TIMEOUT, message) from None
        except openai.APIConnectionError as error:
            message = f"{self._address} cannot be reached: {error.__cause__ or error}"
            raise EmbedFailed(errors.MEMORY_EMBED_NETWORK, message) from None
        except openai.APIStatusError as error:
            raise http_failed(self._address, error.status_code, error.message) from None
        except (openai.OpenAIError, json.JSONDecodeError, AttributeError, TypeError):
            # What is no embedding at all comes back as an object without the fields.
            message = f"{self._address} does not answer as OpenAI does"
            raise EmbedFailed(errors.MEMORY_EMBED_RESPONSE, message) from None
