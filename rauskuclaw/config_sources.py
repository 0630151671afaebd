"""Where settings come from besides the environment, and how their faults are told. Used by `rauskuclaw.config` alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from rauskuclaw.patterns import QUEUE

# Accepted in the file because shipped files hold them; nothing reads them (contract, section 15).
_IGNORED_JSON_PATHS = (
    "api.auth.allow_without_key_when", "worker.job_defaults", "api.sse.route", "database", "ui", "runtime", "service",
    "env_mapping", "worker.poll_interval_ms", "worker.scheduler", "metrics", "providers", "memory",
)  # fmt: skip


class ConfigError(Exception):
    """The configuration cannot be used. `problems` lists everything that is wrong, one sentence each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        head = f"The configuration has {len(problems)} problem{'s' if len(problems) != 1 else ''}:"
        super().__init__("\n".join([head, *(f"  - {problem}" for problem in problems)]))


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
        raise ValueError("must be a JSON array of objects")
    entries = []
    for number, item in enumerate(value, 1):
        if isinstance(item, dict) and not str(item.get("name") or "").strip():
            item = {**item, "name": f"key-{number}"}
        entries.append(item)
    return tuple(entries)


class SecretFiles(PydanticBaseSettingsSource):
    """`NAME_FILE=/run/secrets/x` for each secret setting NAME. An unreadable file is fatal, never an empty secret."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The content of the file that `<NAME>_FILE` names, without its last line break."""
        name = env_name(field)
        path = os.environ.get(f"{name}_FILE")
        if not path or "SecretStr" not in str(field.annotation):
            return None, name, False
        try:
            return Path(path).read_text("utf-8").rstrip("\r\n"), name, False
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError([f"{name}_FILE: cannot read {path} ({error}); mount the file or unset it."]) from None

    def __call__(self) -> dict[str, Any]:
        """Every secret that has a file."""
        found = (self.get_field_value(field, name) for name, field in self.settings_cls.model_fields.items())
        return {name: value for value, name, _ in found if value is not None}


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
            problems.append(f"{path.name}: unknown key {dotted!r}; docs/configuration.md lists the known ones.")
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


def describe(error: ValidationError, model: type[BaseSettings], from_file: dict[str, Any]) -> list[str]:
    """One sentence for each fault: which setting, where it was set, what is wrong. Secret values are never shown."""
    by_env = {env_name(field): field for field in model.model_fields.values()}
    sentences = []
    for fault in error.errors(include_url=False):
        name, *rest = (str(part) for part in fault["loc"])
        field = by_env.get(name)
        origin = (
            f"rauskuclaw.json {json_path(field)}" if field and name in from_file and not os.environ.get(name) else name
        )
        where = f"{origin}[{']['.join(rest)}]" if rest else origin
        secret = field is None or "SecretStr" in str(field.annotation) or "ApiKeyEntry" in str(field.annotation)
        shown = "" if secret or rest else f" (got {fault['input']!r})"
        sentences.append(f"{where}: {fault['msg'].removeprefix('Value error, ')}{shown}.")
    return sentences
