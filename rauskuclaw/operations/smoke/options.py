"""What a run of a suite is told: from the command line, else from the environment of the first server's scripts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dotenv import dotenv_values

from rauskuclaw.config import Config

PROMPT = "Reply with exactly this text and nothing else: smoke test passed"
TIMEOUT_SEC = 180


class CannotRun(Exception):
    """The suite cannot even begin. `name`: the contract's name of the fault."""

    def __init__(self, name: str, message: str) -> None:
        self.name = name
        super().__init__(message)


@dataclass(frozen=True)
class Options:
    """Where the server is, whose key to use, and what to try.

    callback_allowlist: whether the server confines callbacks to a list. ask: whether m3 asks a model. chat_type: of m3
    and m4; empty: one whose provider is switched on. write_back: whether m4 asks a model.
    """

    api: str
    key: str
    callback_allowlist: bool
    ask: bool
    chat_type: str
    prompt: str
    timeout_sec: int
    write_back: bool


def options_of(given: Mapping[str, Any], config: Config) -> Options:
    """given: `api`, `success`, `type` and `prompt` of the command line. Raises CannotRun."""
    env = _environment()
    return Options(
        api=given["api"] or env.get("API_BASE") or config.own_url,
        key=env.get("API_KEY") or _own_key(config),
        callback_allowlist=bool(env.get("CALLBACK_ALLOWLIST") or config.callback_allowlist),
        ask=given["success"] or env.get("M3_SMOKE_SUCCESS") == "1",
        chat_type=given["type"] or env.get("M3_SMOKE_SUCCESS_TYPE", ""),
        prompt=given["prompt"] or env.get("M3_SMOKE_SUCCESS_PROMPT") or PROMPT,
        timeout_sec=_seconds(env.get("M3_SMOKE_SUCCESS_TIMEOUT_SEC", "")),
        write_back=(env.get("M4_SMOKE_CHAT_WRITEBACK") or "1") == "1",
    )


def _environment() -> dict[str, str]:
    """The environment, and beneath it the file that ENV_FILE names."""
    path, found = os.environ.get("ENV_FILE"), dict[str, str]()
    if path:
        if not Path(path).is_file():
            raise CannotRun("missing_env_file", f"ENV_FILE={path} is not there.")
        found = {name: value for name, value in dotenv_values(path).items() if value}
    return found | {name: value for name, value in os.environ.items() if value}


def _own_key(config: Config) -> str:
    """A configured admin key, else the one that `make up` has made."""
    admins = [entry for entry in config.key_entries if entry.role == "admin" and entry.queue_allowlist is None]
    if entries := admins or config.key_entries:
        return entries[0].key.get_secret_value()
    kept = config.var_dir / "secrets" / "api_key"
    if kept.exists():
        return kept.read_text("utf-8").strip()
    if config.auth_disabled:
        return ""
    raise CannotRun("missing_api_key", "No API key is known here: set API_KEY to an admin key of the server.")


def _seconds(text: str) -> int:
    if not text:
        return TIMEOUT_SEC
    if not text.isdecimal() or not 1 <= int(text) <= 3600:
        raise CannotRun("invalid_option", "M3_SMOKE_SUCCESS_TIMEOUT_SEC must be a whole number from 1 to 3600.")
    return int(text)
