"""What the language model providers are set to (contract 2.11)."""

from __future__ import annotations

from typing import Any


def providers() -> dict[str, dict[str, Any]]:
    """Each provider's settings. This version has no provider, so both are off, with the contract's defaults."""
    return {
        "codex": {
            "enabled": False,
            "exec_mode": "online",
            "model": None,
            "local_provider": None,
            "cli_path": "codex",
            "timeout_ms": 60_000,
        },
        "openai": {
            "enabled": False,
            "model": "gpt-4.1-mini",
            "base_url": "https://api.openai.com",
            "chat_completions_path": "/v1/chat/completions",
            "timeout_ms": 30_000,
        },
    }
