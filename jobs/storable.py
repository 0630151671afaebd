"""Making values storable: Postgres refuses NUL characters and lone surrogates, JSON refuses NaN and infinities."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
MAX_MESSAGE_CHARS = 16_384
MAX_META_BYTES = 65_536


class NotStorable(ValueError):
    """The value is not JSON, or holds what JSON cannot: NaN, an infinity, an object of an unknown class."""


def text(value: str, *, max_chars: int = MAX_MESSAGE_CHARS) -> str:
    """`value` with unstorable characters replaced by U+FFFD and cut to `max_chars`."""
    if len(value) > max_chars:
        value = value[: max_chars - 1] + "…"
    return _UNSTORABLE.sub("\ufffd", value)


def clean(value: str) -> str:
    """`value` with unstorable characters replaced by U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", value)


def dumps(value: Any) -> str:
    """JSON text that Postgres accepts as jsonb. Raises NotStorable."""
    try:
        encoded = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise NotStorable(str(error)) from None
    if "\\u0000" in encoded or _UNSTORABLE.search(encoded):
        encoded = json.dumps(_clean(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return encoded


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_UNSTORABLE.sub("\ufffd", str(key)): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value


def error_json(message: str, *, code: str | None = None, details: Any = None) -> dict[str, Any]:
    """A job's error object (contract 4.8): all four keys always present."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"message": text(message), "code": code, "details": details, "at": at}


def log_line(ord_: int, message: str, level: str, meta: Any, ts: datetime | None) -> dict[str, Any]:
    """One row for the statements that write log lines. A meta that is not JSON or too large is replaced by a note."""
    if meta is not None:
        try:
            if len(encoded := dumps(meta)) > MAX_META_BYTES:
                meta = {"note": f"meta of {len(encoded)} bytes left out"}
        except NotStorable as error:
            meta = {"note": f"meta left out: {error}"}
    return {"ord": ord_, "ts": ts.isoformat() if ts else None, "level": level, "message": text(message), "meta": meta}
