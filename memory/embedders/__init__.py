"""What turns texts into vectors: one interface, one module a provider. Adding one is one file and a line here."""

from __future__ import annotations

import threading

from memory.embedders.base import Embedder
from memory.embedders.minilm import MiniLM
from memory.embedders.ollama import Ollama
from memory.embedders.openai import OpenAI
from rauskuclaw.config import Config, load

PROVIDERS: dict[str, type[Embedder]] = {each.provider: each for each in (MiniLM, Ollama, OpenAI)}


def wanted() -> tuple[str, str]:
    """The provider and the model that the configuration names."""
    provider = load().memory_embedder
    return provider, PROVIDERS[provider].configured_model(load())


def embedder(provider: str, model: str) -> Embedder:
    """The embedder of a model, at the address that the configuration has now. Loads and connects at its first use."""
    key = (provider, model, load())
    with _lock:
        if key not in _made:
            _made[key] = PROVIDERS[provider](model, load())
        return _made[key]


def close() -> None:
    """Let go of models and connections; the next use has new ones."""
    with _lock:
        for each in _made.values():
            each.close()
        _made.clear()


_made: dict[tuple[str, str, Config], Embedder] = {}
_lock = threading.Lock()
