"""Which providers there are. A module is imported when it is first asked: their libraries are large."""

from __future__ import annotations

from django.utils.module_loading import import_string

from providers.base import Provider

PROVIDERS = {
    "openai": "providers.openai.OpenAI",
    "anthropic": "providers.anthropic.Anthropic",
    "ollama": "providers.ollama.Ollama",
}


def prepare(name: str) -> Provider:
    """The provider of a name, ready for one call. Raises Fault."""
    provider: type[Provider] = import_string(PROVIDERS[name])
    return provider.prepare()
