"""What servers say they offer: taking it over, and noticing when a tool is no longer what was accepted."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mcp_types as types
from django.db import transaction
from django.utils import timezone

from access import audit
from jobs.handlers.base import AttemptFailed
from jobs.storable import clean, dumps
from providers.mcp import schemas
from providers.mcp.models import McpServer, McpTool
from providers.mcp.naming import TOOL_NAME, function_name
from rauskuclaw import errors

MAX_DESCRIPTION_CHARS = 4_000
_HINTS = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
# What a person does not see and a model reads: control and format characters, such as Unicode's tags.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff]"
)


@dataclass(frozen=True)
class Definition:
    """A tool as its server defines it now. hash: of all that a model or a person is told of it, before it is cut."""

    name: str
    title: str
    description: str
    input_schema: dict[str, Any]
    hints: dict[str, bool]
    hash: str


@dataclass(frozen=True)
class Refreshed:
    """What a refresh found: names of tools."""

    added: list[str]
    changed: list[str]
    """Accepted once, and defined otherwise now: they are switched off."""
    removed: list[str]
    rejected: list[dict[str, str]]
    count: int


def definition_of(tool: types.Tool) -> Definition:
    """For tools that `rejection_of` has nothing against."""
    told = tool.model_dump(mode="json", by_alias=True, exclude_none=True)
    hashed = {
        name: told.get(name) for name in ("name", "title", "description", "inputSchema", "outputSchema", "annotations")
    }
    canonical = json.dumps(hashed, sort_keys=True, separators=(",", ":"))
    annotations = told.get("annotations") or {}
    return Definition(
        name=tool.name,
        title=seen(tool.title or annotations.get("title") or "")[:200],
        description=seen(tool.description or "")[:MAX_DESCRIPTION_CHARS],
        input_schema=json.loads(_UNSEEN.sub("", dumps(tool.input_schema))),
        hints={name: annotations[name] for name in _HINTS if isinstance(annotations.get(name), bool)},
        hash=hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest(),
    )


def rejection_of(tool: types.Tool) -> str:
    """Why a tool is not taken over; "" if it is."""
    if not TOOL_NAME.fullmatch(tool.name):
        return "its name is not 1 to 128 of A-Z a-z 0-9 _ . -, a letter or digit among them"
    return schemas.fault_of(tool.input_schema)


def seen(text: str) -> str:
    """Text without what no person would see in it."""
    return clean(_UNSEEN.sub("", text)).strip()


def take_over(name: str, server: tuple[str, str], listed: Sequence[types.Tool], *, by: str) -> Refreshed:
    """Store what a server listed. Tools that are new wait to be accepted. Writes the database.

    Raises AttemptFailed MCP_UNKNOWN where the server was forgotten meanwhile.
    """
    rejected, found = [], dict[str, Definition]()
    for tool in listed:
        reason = "it is listed twice" if tool.name in found else rejection_of(tool)
        if reason:
            rejected.append({"name": seen(tool.name)[:130], "reason": seen(reason)[:300]})
        else:
            found[tool.name] = definition_of(tool)
    with transaction.atomic():
        row = McpServer.objects.select_for_update().filter(name=name).first()
        if row is None:
            raise AttemptFailed(errors.MCP_UNKNOWN, f"the MCP server {name} was deleted while it was asked")
        before = {tool.name: tool for tool in row.tools.select_for_update()}
        for definition in [found[each] for each in found if each not in before]:
            row.tools.create(function=function_name(name, definition.name), **_columns(definition))
        changed = [old.name for old in before.values() if old.name in found and _redefine(old, found[old.name], by=by)]
        removed = sorted(before.keys() - found.keys())
        row.tools.filter(name__in=removed).delete()
        row.reported_name, row.reported_version = server
        row.refreshed_at, row.rejected = timezone.now(), rejected
        row.last_error_code, row.last_error, row.last_error_at = "", "", None
        row.save()
        told = Refreshed(sorted(found.keys() - before.keys()), sorted(changed), removed, rejected, len(found))
        details = {"added": told.added, "changed": told.changed, "removed": removed, "rejected": len(rejected)}
        audit.record(actor=by, action="mcp_server.refreshed", object_type="mcp_server", object_id=name, details=details)
    return told


def note_change(tool_id: int, definition: Definition | None, *, by: str) -> None:
    """A call found the tool defined otherwise, or (None) as what is not taken over: switch it off."""
    with transaction.atomic():
        tool = McpTool.objects.select_for_update(of=("self",)).select_related("server").filter(pk=tool_id).first()
        if tool is None:
            return
        if definition is None:
            tool.enabled = False
            tool.save()
            _record_change(tool, by, tool.definition_hash, "")
        else:
            _redefine(tool, definition, by=by)


def note_failure(name: str, failure: AttemptFailed) -> None:
    """Show it on the server's page."""
    McpServer.objects.filter(name=name).update(
        last_error_code=failure.code.name, last_error=clean(failure.message)[:1_000], last_error_at=timezone.now()
    )


def _redefine(tool: McpTool, definition: Definition, *, by: str) -> bool:
    """Whether an accepted tool ceased to be what was accepted."""
    if tool.definition_hash == definition.hash:
        return False
    was_accepted, before = tool.is_accepted, tool.definition_hash
    for name, value in _columns(definition).items():
        setattr(tool, name, value)
    tool.enabled = False
    if was_accepted:
        tool.changed_at = timezone.now()
    elif tool.is_accepted:
        tool.changed_at = None  # it is again what was accepted; a person switches it on
    tool.save()
    if was_accepted:
        _record_change(tool, by, before, definition.hash)
    return was_accepted


def _record_change(tool: McpTool, by: str, before: str, now: str) -> None:
    details = {"accepted_hash": tool.accepted_hash, "before": before, "now": now}
    audit.record(actor=by, action="mcp_tool.changed", object_type="mcp_tool", object_id=tool.function, details=details)


def _columns(definition: Definition) -> dict[str, Any]:
    return {
        "name": definition.name, "title": definition.title, "description": definition.description,
        "input_schema": definition.input_schema, "hints": definition.hints, "definition_hash": definition.hash,
    }  # fmt: skip
