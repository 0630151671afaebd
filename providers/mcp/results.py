"""What a call came to, as a job's result: bounded, storable, and without the secrets of the connection."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection
from typing import Any

import mcp_types as types

from jobs.storable import NotStorable, clean, dumps
from providers.mcp.outputs import SMALL_BYTES, CallOutput, Part
from rauskuclaw.logs import HIDDEN, MIN_SECRET_CHARS

MAX_TEXT_CHARS = 200_000
MAX_STRUCTURED_BYTES = 200_000
MAX_PARTS = 50


def output_of(
    result: types.CallToolResult, *, server: str, tool: str, secrets: Collection[str], duration_ms: int
) -> CallOutput:
    """The result of a job. secrets: what must not be in it."""
    hide = _Hider(secrets)
    texts: list[str] = []
    parts: list[Part] = []
    for block in result.content:
        found = _part(block, texts)
        if found is not None:
            parts.append(found)
    text = hide.text(clean("\n".join(texts)))
    structured, was_cut = _structured(hide.value(result.structured_content))
    if structured is not None and _repeats(text, structured):
        text = ""
    return CallOutput(
        server=server,
        tool=tool,
        text=text[:MAX_TEXT_CHARS],
        structured=structured,
        parts=[hide.part(part) for part in parts[:MAX_PARTS]],
        truncated=len(text) > MAX_TEXT_CHARS or was_cut or len(parts) > MAX_PARTS,
        duration_ms=duration_ms,
    )


def _part(block: types.ContentBlock, texts: list[str]) -> Part | None:
    if isinstance(block, types.TextContent):
        texts.append(block.text)
        return None
    if isinstance(block, types.ImageContent | types.AudioContent):
        return _blob(block.type, block.data, block.mime_type)
    if isinstance(block, types.ResourceLink):
        return Part(type="resource_link", mime_type=_short(block.mime_type), uri=_short(str(block.uri)))
    resource = block.resource
    if isinstance(resource, types.TextResourceContents):
        texts.append(resource.text)
        size = len(resource.text.encode("utf-8", "replace"))
        return Part(type="resource", mime_type=_short(resource.mime_type), bytes=size, uri=_short(str(resource.uri)))
    return _blob("resource", resource.blob, resource.mime_type, str(resource.uri))


def _blob(kind: str, data: str, mime_type: str | None, uri: str | None = None) -> Part:
    try:
        size = len(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError):
        return Part(type=kind, mime_type=_short(mime_type), uri=_short(uri))
    kept = data if size <= SMALL_BYTES else None
    return Part(type=kind, mime_type=_short(mime_type), bytes=size, uri=_short(uri), data_base64=kept)


def _structured(value: Any) -> tuple[Any, bool]:
    """The value, and whether it was too large or deep to be kept."""
    try:
        size = len(dumps(value).encode())
    except NotStorable:
        return None, True
    return (value, False) if size <= MAX_STRUCTURED_BYTES else (None, True)


def _repeats(text: str, structured: Any) -> bool:
    """The protocol has servers say the structured result again as text, which a model would pay for twice."""
    try:
        return bool(json.loads(text) == structured)
    except (ValueError, RecursionError):
        return False


def _short(text: str | None) -> str | None:
    return None if text is None else clean(text)[:1_000]


class _Hider:
    """Takes the secrets of the connection out of what comes back over it."""

    def __init__(self, secrets: Collection[str]) -> None:
        self._secrets = sorted((it for it in secrets if len(it) >= MIN_SECRET_CHARS), key=len, reverse=True)

    def text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text

    def value(self, value: Any, depth: int = 200) -> Any:
        """Of what is deeper nothing is kept."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return (
                {self.text(str(name)): self.value(item, depth - 1) for name, item in value.items()} if depth else None
            )
        if isinstance(value, list):
            return [self.value(item, depth - 1) for item in value] if depth else None
        return value

    def part(self, part: Part) -> Part:
        shown = {name: self.value(item) for name, item in part.model_dump().items()}
        return Part.model_validate(shown)
