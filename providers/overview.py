"""What the language model providers are set to (contract 2.11)."""

from __future__ import annotations

from typing import Any

from rauskuclaw.config import load


def providers() -> dict[str, dict[str, Any]]:
    """Each provider's settings, without its key."""
    config = load()
    return {
        "codex": {
            "enabled": config.codex_oss_enabled,
            "exec_mode": config.codex_exec_mode,
            "model": config.codex_oss_model or None,
            "local_provider": config.codex_oss_local_provider if config.codex_exec_mode == "oss" else None,
            "cli_path": config.codex_cli_path,
            "timeout_ms": config.codex_oss_timeout_ms,
        },
        "openai": {
            "enabled": config.openai_enabled,
            "model": config.openai_model,
            "base_url": config.openai_base_url,
            "chat_completions_path": config.openai_chat_completions_path,
            "timeout_ms": config.openai_timeout_ms,
        },
        "anthropic": {
            "enabled": config.anthropic_enabled,
            "model": config.anthropic_model or None,
            "base_url": config.anthropic_base_url,
            "timeout_ms": config.anthropic_timeout_ms,
        },
        "ollama": {
            "enabled": config.ollama_chat_enabled,
            "model": config.ollama_chat_model or None,
            "base_url": config.ollama_base_url,
            "timeout_ms": config.ollama_chat_timeout_ms,
        },
    }
