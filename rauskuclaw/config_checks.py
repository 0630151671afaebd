"""What is wrong with a configuration, told so that the operator knows what to change. Used by `rauskuclaw.config`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args
from zoneinfo import available_timezones

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from rauskuclaw.config_sources import env_name, is_secret, json_path
from rauskuclaw.patterns import QUEUE

if TYPE_CHECKING:
    from rauskuclaw.config import Config

MIN_KEY_LENGTH = 16
PLACEHOLDER_KEYS = frozenset(
    {"change-me-please", "change-me", "changeme", "your-api-key", "api-key", "apikey", "secret", "password", "test"}
)
_SCHEMES = {
    "database_url": ("postgresql://", "postgres://"),
    "redis_url": ("redis://", "rediss://"),
}


class ConfigError(SystemExit):
    """The configuration cannot be used. `problems` lists everything that is wrong, one sentence each.

    Uncaught it ends the process with code 1 and the sentences on stderr, in every entry point alike.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        head = f"The configuration has {len(problems)} problem{'s' if len(problems) != 1 else ''}:"
        super().__init__("\n".join([head, *(f"  - {problem}" for problem in problems)]))


def is_placeholder_key(key: str) -> bool:
    """Whether `key` is one that documentation and templates show and that must never open a door."""
    return key.strip().lower() in PLACEHOLDER_KEYS


def describe(error: ValidationError, model: type[BaseSettings], found: list[dict[str, Any]]) -> list[str]:
    """One sentence for each fault: which setting, where it was set, what would do. Secret values are never shown.

    found: what the file, the secret files and the environment hold, in this order.
    """
    by_env = {env_name(field): field for field in model.model_fields.values()}
    sentences = []
    for fault in error.errors(include_url=False):
        name, *rest = (str(part) for part in fault["loc"])
        field = by_env.get(name)
        if field is None or fault["type"] == "default_factory_not_called":
            continue
        where = _origin(name, field, found) + "".join(f"[{part}]" for part in rest)
        shown = "" if is_secret(field) else f" (got {str(fault['input'])[:60]!r})"
        own = rest or fault["type"] == "value_error"
        told = fault["msg"].removeprefix("Value error, ") if own else f"must be {expectation(field)}"
        sentences.append(f"{where}: {told}{shown}.")
    return sentences


def _origin(name: str, field: FieldInfo, found: list[dict[str, Any]]) -> str:
    in_file, in_secret_files, in_environment = found
    if name in in_environment:
        origin = name
    elif name in in_secret_files:
        origin = f"{name}_FILE"
    else:
        origin = f"rauskuclaw.json {json_path(field)}" if name in in_file else name
    return f"[auth] {origin}" if name == "API_KEYS_JSON" else origin  # the prefix is the contract's (section 1.2)


def expectation(field: FieldInfo) -> str:
    """What a setting accepts, in words: "a whole number from 1 to 65535"."""
    limits = {name: value for rule in field.metadata for name, value in _limits(rule)}
    kind = str(field.annotation)
    if choices := [str(choice) for choice in get_args(field.annotation) if isinstance(choice, str)]:
        return f"one of {', '.join(choices)}"
    if field.annotation is bool:
        return "a switch: 1 is on, 0 is off"
    if field.annotation in {int, float}:
        return ("a whole number" if field.annotation is int else "a number") + _range(limits)
    if "ApiKeyEntry" in kind:
        return "a JSON array of objects"
    if "tuple" in kind:
        return "a comma-separated list" + (" of at least one name" if limits.get("min_length") else "")
    return "a directory" if "Path" in kind else _text(limits)


def _text(limits: dict[str, Any]) -> str:
    if "pattern" in limits:
        return "an http(s) address" if "http" in limits["pattern"] else f"text of the form {limits['pattern']}"
    lower, upper = limits.get("min_length"), limits.get("max_length")
    if upper:
        return f"text of {lower or 0} to {upper} characters"
    return f"text of at least {lower} character{'s' if lower != 1 else ''}" if lower else "text"


def _limits(rule: Any) -> list[tuple[str, Any]]:
    names = ("gt", "ge", "lt", "le", "min_length", "max_length", "pattern")
    return [(name, getattr(rule, name)) for name in names if getattr(rule, name, None) is not None]


def _range(limits: dict[str, Any]) -> str:
    low, above, high = limits.get("ge"), limits.get("gt"), limits.get("le")
    if low is not None and high is not None:
        return f" from {low:,} to {high:,}"
    lower = f" of at least {low:,}" if low is not None else f" above {above}" if above is not None else ""
    return lower + (f" up to {high:,}" if high is not None else "")


def cross_checks(config: Config) -> list[str]:
    """Rules between settings, as sentences with the fix."""
    problems = []
    for entry in config.key_entries:
        key = entry.key.get_secret_value()
        if is_placeholder_key(key):
            problems.append(f"The API key {entry.name!r} is a placeholder from the documentation: set one of your own.")
        elif not config.is_loopback and len(key) < MIN_KEY_LENGTH:
            problems.append(
                f"HOST={config.host} can be reached from other machines, and the API key {entry.name!r} has fewer than"
                f" {MIN_KEY_LENGTH} characters: use a longer key or HOST=127.0.0.1."
            )
    if config.auth_disabled and not config.is_loopback and not config.key_entries:
        problems.append(
            f"HOST={config.host} can be reached from other machines while API_AUTH_DISABLED=1 makes everybody admin:"
            " set API_KEY or HOST=127.0.0.1."
        )
    for name, schemes in _SCHEMES.items():
        url: SecretStr | None = getattr(config, name)
        if url and not url.get_secret_value().startswith(schemes):
            problems.append(f"{name.upper()} must start with {' or '.join(schemes)}.")
    problems += [
        f"WORKER_QUEUE_ALLOWLIST: {name!r} is not a queue name; use 1 to 80 of a-z 0-9 . _ : -"
        for name in config.worker_queue_allowlist
        if not QUEUE.fullmatch(name)
    ]
    if config.var_dir.is_relative_to(config.workspace_root):
        problems.append(
            f"WORKSPACE_ROOT={config.workspace_root} holds VAR_DIR and its secrets, and every key reads the workspace:"
            " use a directory of its own."
        )
    # Listing them takes 40 ms, in every process.
    if config.scheduler_cron_tz != "UTC" and config.scheduler_cron_tz not in available_timezones():
        problems.append(f"SCHEDULER_CRON_TZ: {config.scheduler_cron_tz!r} is no IANA time zone, e.g. Europe/Helsinki.")
    return problems
