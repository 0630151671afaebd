"""The settings of the tools that reach out, as an operator has overridden them at run time (contract 7.5).

They are the preferences of the scope `runtime_tools`. What is missing there, or makes no sense, is as configured.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any

from asgiref.sync import sync_to_async
from django.db import connections
from pydantic import SecretStr, TypeAdapter, ValidationError

from rauskuclaw.config import Config, load

logger = logging.getLogger(__name__)

SCOPE = "runtime_tools"
FRESH_SEC = 1.5
"""How long a process goes by what it has read."""
_TOOLS = {
    "tool_exec": ("enabled", "allowlist", "timeout_ms", "approval"),
    "data_fetch": ("enabled", "allowlist", "timeout_ms", "max_bytes", "approval"),
    "web_search": ("enabled", "provider", "timeout_ms", "max_results", "base_url", "brave_endpoint", "approval"),
    "data_file_read": ("approval",),
    "data_file_write": ("approval",),
    "workflow_run": ("approval",),
}
_BRAVE_KEY = "web_search.brave_api_key"

_cached: tuple[float, Mapping[str, Any]] | None = None


def effective() -> Config:
    """The configuration with what was overridden, at most FRESH_SEC ago. Raises what Django does without Postgres."""
    return load().model_copy(update=dict(_fresh() or _read_again()))


async def aeffective() -> Config:
    """The same, in an event loop."""
    overrides = _fresh()
    if overrides is None:
        overrides = await sync_to_async(_read_in_thread, thread_sensitive=False)()
    return load().model_copy(update=dict(overrides))


def now_effective() -> Config:
    """The same, as of this moment: for answers about it."""
    return load().model_copy(update=dict(read()))


def forget() -> None:
    """Read again next time."""
    global _cached  # noqa: PLW0603 - one reading for a process
    _cached = None


def read() -> dict[str, Any]:
    """The overridden settings by their names in `Config`."""
    # Here, and in the function below: handlers are imported where Django has not been set up.
    from access.models import UiPrefs

    stored = UiPrefs.objects.filter(scope=SCOPE).values_list("value", flat=True).first()
    if stored is None:
        return {}
    found = {
        f"{tool}_{name}": value
        for tool, names in _TOOLS.items()
        for name, value in _object(stored.get(tool)).items()
        if name in names and not _is_empty(name, value)
    }
    overrides = {name: checked for name, value in found.items() for checked in _checked(name, value)}
    if (key := _brave_key(_object(stored.get("web_search")))) is not None:
        overrides["web_search_brave_api_key"] = SecretStr(key)
    return overrides


def _fresh() -> Mapping[str, Any] | None:
    if _cached is None or time.monotonic() - _cached[0] > FRESH_SEC:
        return None
    return _cached[1]


def _read_again() -> Mapping[str, Any]:
    global _cached  # noqa: PLW0603 - one reading for a process
    overrides = read()
    _cached = time.monotonic(), overrides
    return overrides


def _read_in_thread() -> Mapping[str, Any]:
    try:
        return _read_again()
    finally:
        connections.close_all()


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_empty(name: str, value: Any) -> bool:
    """An empty list overrides nothing, and only true and false switch anything."""
    if name == "enabled":
        return not isinstance(value, bool)
    return value is None or isinstance(value, bool) or not value


def _checked(name: str, value: Any) -> tuple[Any, ...]:
    """The value as the setting takes it; nothing where it does not."""
    try:
        checked = _rule(name).validate_python(value, strict=isinstance(value, int | float) or None)
    except ValidationError:
        return ()
    return () if checked == () else (checked,)


@cache
def _rule(name: str) -> TypeAdapter[Any]:
    field = Config.model_fields[name]
    kind: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    return TypeAdapter(kind)


def _brave_key(web_search: Mapping[str, Any]) -> str | None:
    """The key, the empty text that stands for none, or None where it is not overridden."""
    from access import secrets
    from access.ui_prefs import secret_name

    if "brave_api_key" in web_search:
        return str(web_search["brave_api_key"] or "").strip()
    try:
        return secrets.find(secret_name(SCOPE, _BRAVE_KEY))
    except secrets.SecretUnavailable as reason:
        logger.warning("the overridden WEB_SEARCH_BRAVE_API_KEY cannot be used: %s", reason)
        return ""
