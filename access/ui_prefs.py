"""Preferences of clients, by scope (contract 2.12). A text whose name says that it is a secret is kept sealed and never
given back: instead of `brave_api_key` there is `brave_api_key_configured: true`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from access import audit, secrets
from access.models import Secret, UiPrefs
from rauskuclaw.errors import bad_field
from rauskuclaw.logs import names_a_secret

MAX_BYTES = 32_768
CONFIGURED = "_configured"
"""Added to the name of a secret: whether there is one."""


@dataclass(frozen=True)
class Prefs:
    """What a scope holds, as it may be shown. No moments: nothing was ever kept."""

    scope: str
    value: dict[str, Any]
    created_at: datetime | None = None
    updated_at: datetime | None = None


def get(scope: str) -> Prefs:
    """The preferences of a scope."""
    row = UiPrefs.objects.filter(scope=scope).first()
    if row is None:
        return Prefs(scope, {})
    return Prefs(scope, _shown(row.value, _kept(scope)), row.created_at, row.updated_at)


def replace(scope: str, value: Mapping[str, Any], *, by: str) -> Prefs:
    """Replace all preferences of a scope. Raises VALIDATION_ERROR.

    A secret that is left out stays, as nobody can send back what is never shown; it goes with the object that held it,
    or when null or a blank text is sent for it.
    """
    if len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()) > MAX_BYTES:
        raise bad_field("prefs", f"is larger than {MAX_BYTES:,} bytes as JSON")
    plain, given = _parted(value)
    for path, secret in given.items():
        secrets.check(secret_name(scope, path), secret)
    with transaction.atomic():
        now = timezone.now()
        row, _ = UiPrefs.objects.update_or_create(
            scope=scope, defaults={"value": plain, "updated_at": now}, create_defaults={
                "value": plain, "created_at": now, "updated_at": now,
            },
        )  # fmt: skip
        for path in _kept(scope):
            if path not in given and not _may_stay(path, value):
                secrets.delete(secret_name(scope, path), by=by)
        for path, secret in given.items():
            secrets.put(secret_name(scope, path), secret, by=by, note=f"preferences {scope}")
        audit.record(actor=by, action="ui_prefs.replaced", object_type="ui_prefs", object_id=scope)
    return Prefs(scope, _shown(plain, _kept(scope)), row.created_at, row.updated_at)


def secret_name(scope: str, path: str) -> str:
    """The name of the secret that a field of a scope is kept as."""
    return f"ui-prefs/{scope}/{path}"


def _kept(scope: str) -> list[str]:
    """The paths of a scope's secrets."""
    prefix = secret_name(scope, "")
    names = Secret.objects.filter(name__startswith=prefix).values_list("name", flat=True)
    return [name.removeprefix(prefix) for name in names]


def _parted(value: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """What may be shown, and the secrets by path."""
    given: dict[str, str] = {}

    def plain(node: Any, path: tuple[str, ...]) -> Any:
        if isinstance(node, list):
            if any(_secrets_in(item) for item in node):
                raise bad_field("prefs", f"may not hold a secret in a list ({'.'.join(path)})")
            return node
        if not isinstance(node, dict):
            return node
        kept = {}
        for name, item in node.items():
            if name.endswith(CONFIGURED) and names_a_secret(name.removesuffix(CONFIGURED)):
                continue
            if _is_secret(name, item):
                given[".".join((*path, name))] = item
            elif item is not None or not names_a_secret(name):
                kept[name] = plain(item, (*path, name))
        return kept

    return plain(dict(value), ()), given


def _secrets_in(node: Any) -> bool:
    if isinstance(node, list):
        return any(map(_secrets_in, node))
    return isinstance(node, dict) and any(_is_secret(name, item) or _secrets_in(item) for name, item in node.items())


def _is_secret(name: str, value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and names_a_secret(name)


def _may_stay(path: str, value: Mapping[str, Any]) -> bool:
    """Whether a secret was left out of the object that holds it, and not the object itself."""
    *above, name = path.split(".")
    for step in above:
        inner = value.get(step)
        if not isinstance(inner, Mapping):
            return False
        value = inner
    return name not in value and (bool(above) or bool(value))


def _shown(value: Mapping[str, Any], kept: list[str]) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(json.dumps(value))
    for path, holder in ((path, _holder(shown, path)) for path in kept):
        if holder is not None:
            holder[path.rpartition(".")[2] + CONFIGURED] = True
    return shown


def _holder(value: dict[str, Any], path: str) -> dict[str, Any] | None:
    for step in path.split(".")[:-1]:
        inner = value.get(step)
        if not isinstance(inner, dict):
            return None
        value = inner
    return value
