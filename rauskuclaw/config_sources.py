"""Where settings come from: environment, secret files, `rauskuclaw.json`, `run.env`. Used by `rauskuclaw.config`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource

from rauskuclaw.patterns import QUEUE

# Accepted in the file because shipped files hold them; nothing reads them (contract, section 15).
_IGNORED_JSON_PATHS = (
    "api.auth.allow_without_key_when", "worker.job_defaults", "api.sse.route", "database", "ui", "runtime", "service",
    "env_mapping", "worker.poll_interval_ms", "worker.scheduler", "metrics", "providers", "memory",
)  # fmt: skip


class ApiKeyEntry(BaseModel):
    """One key of API_KEYS_JSON or of the file's `api.auth.keys` (contract 1.2)."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    key: SecretStr = Field(min_length=1)
    name: str = Field(default="", max_length=120)
    role: Literal["admin", "read"] = "admin"
    sse: bool = True
    queue_allowlist: tuple[str, ...] | None = None

    @field_validator("role", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("sse", mode="before")
    @classmethod
    def _truthy(cls, value: object) -> bool:
        return bool(value)

    @field_validator("queue_allowlist", mode="before")
    @classmethod
    def _queues(cls, value: object) -> object:
        if isinstance(value, str):
            value = value.split(",")
        if not isinstance(value, list | tuple):
            return value
        names = tuple(dict.fromkeys(str(item).strip() for item in value if str(item).strip()))
        for name in names:
            if not QUEUE.fullmatch(name):
                raise ValueError(f"{name!r} is not a queue name")
        return names or None


def parse_key_entries(value: object) -> object:
    """A JSON text or a list → entries with default names `key-1`, `key-2`, … Raises ValueError for other shapes."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"not valid JSON ({error.msg} at character {error.pos + 1})") from None
    if not isinstance(value, list | tuple):
        raise ValueError("must be a JSON array of objects")  # noqa: TRY004 - pydantic gathers ValueErrors only
    return tuple(_named(item, f"key-{number}") for number, item in enumerate(value, 1))


def _named(item: object, name: str) -> object:
    if isinstance(item, dict) and not str(item.get("name") or "").strip():
        return {**item, "name": name}
    return item


def env_name(field: FieldInfo) -> str:
    """The environment variable of a setting."""
    return str(field.validation_alias)


def json_path(field: FieldInfo) -> str:
    """The setting's place in `rauskuclaw.json`, dotted; empty where it has none."""
    extra = field.json_schema_extra
    return str(extra.get("cfg", "")) if isinstance(extra, dict) else ""


def renamed_by(field: FieldInfo) -> str:
    """The JSON path that may rename the setting's environment variable; empty where none may."""
    extra = field.json_schema_extra
    return str(extra.get("renamed_by", "")) if isinstance(extra, dict) else ""


def is_secret(field: FieldInfo) -> bool:
    """Whether the setting's value must never be shown."""
    return any(kind in str(field.annotation) for kind in ("SecretStr", "ApiKeyEntry"))


def read_environment(model: type[BaseSettings]) -> dict[str, Any]:
    """The settings that the environment holds, by environment name."""
    return EnvSettingsSource(model)()


def read_secret_files(model: type[BaseSettings], problems: list[str]) -> dict[str, str]:
    """`NAME_FILE=/run/secrets/x` for each secret setting NAME: the file's text without its last line break.

    Adds to `problems`: a file that cannot be read, which is never an empty secret.
    """
    secrets: dict[str, str] = {}
    for name in [env_name(field) for field in model.model_fields.values() if is_secret(field)]:
        if path := os.environ.get(f"{name}_FILE"):
            try:
                secrets[name] = Path(path).read_text("utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
                problems.append(f"{name}_FILE: cannot read {path} ({reason}); mount the file or unset {name}_FILE.")
    return secrets


def read_json_file(path: Path, model: type[BaseSettings], problems: list[str]) -> dict[str, Any]:
    """Settings of the file, by environment name. Adds to `problems`: unreadable, not JSON, unknown keys."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        problems.append(f"{path.name} cannot be read as JSON ({error}); mend or remove it.")
        return {}
    if not isinstance(document, dict):
        problems.append(f"{path.name} must hold a JSON object.")
        return {}
    by_path = {json_path(field): env_name(field) for field in model.model_fields.values() if json_path(field)}
    renames = {renamed_by(field): env_name(field) for field in model.model_fields.values() if renamed_by(field)}
    values: dict[str, Any] = {}
    renamed: dict[str, Any] = {}
    for dotted, value in _leaves(document, set(by_path)):
        if dotted in by_path:
            values[by_path[dotted]] = value
        elif dotted in renames:
            if content := os.environ.get(str(value)):
                renamed[renames[dotted]] = content
        elif not any(dotted == known or dotted.startswith(f"{known}.") for known in _IGNORED_JSON_PATHS):
            close = get_close_matches(dotted, [*by_path, *renames], n=1)
            meant = f"did you mean {close[0]!r}?" if close else "docs/configuration.md lists the known ones."
            problems.append(f"{path.name}: unknown key {dotted!r}; {meant}")
    return values | renamed


def _leaves(node: dict[str, Any], stops: set[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, dict) and dotted not in stops:
            yield from _leaves(value, stops, f"{dotted}.")
        else:
            yield dotted, value


def read_run_env(path: Path) -> dict[str, str]:
    """Addresses of the embedded servers that `make up` runs: `database_url`, `redis_url`; empty when it never ran."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError:
        return {}
    pairs = dict(line.split("=", 1) for line in lines if "=" in line)
    return {name.lower(): pairs[name] for name in ("DATABASE_URL", "REDIS_URL") if pairs.get(name)}
