"""Query parameters of lists: lenient numbers and texts as the v1 contract reads them, and opaque keyset cursors."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from rest_framework.request import Request

from rauskuclaw.errors import bad_field

SWITCHES = {"1": True, "true": True, "0": False, "false": False}
"""What a filter by yes or no may be."""
_LEADING_DIGITS = re.compile(r"\s*([+-]?)0*([0-9]{1,15})")
_PARSERS: dict[type, Callable[[str], Any]] = {datetime: datetime.fromisoformat, UUID: UUID}


def int_param(request: Request, name: str, default: int, maximum: int, minimum: int = 1) -> int:
    """A number in a query: leading digits count, none or 0 is `default`, the rest is clamped to minimum..maximum."""
    match = _LEADING_DIGITS.match(request.query_params.get(name, ""))
    number = int(match[1] + match[2]) if match else 0
    return min(max(number, minimum), maximum) if number else default


def text_param(request: Request, name: str) -> str | None:
    """A text in a query; None when absent, blank or the literal `undefined` that old clients send for "no filter".

    Raises Problem(VALIDATION_ERROR) for a NUL character, which Postgres cannot compare.
    """
    text = request.query_params.get(name, "")
    if "\0" in text:
        raise bad_field(name, "must not hold the NUL character")
    return None if text in {"", "undefined"} else text


def encode_cursor(*values: str | int | datetime | UUID) -> str:
    """An opaque cursor that holds the sort key of the last row: microseconds of a datetime are kept."""
    plain = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    text = json.dumps(plain, default=str, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(text: str, *kinds: type) -> tuple[Any, ...]:
    """The values of a cursor, each of the given kind (str, int, datetime, UUID); without kinds as they are stored.

    Raises Problem(VALIDATION_ERROR) for anything that `encode_cursor` did not make.
    """
    try:
        values = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        return tuple(_checked(values, kinds))
    except (ValueError, TypeError, RecursionError):
        raise bad_field("cursor", "is not one that this API gave; start again without it") from None


def _checked(values: Any, kinds: tuple[type, ...]) -> list[Any]:
    """The values, each of its kind. Raises ValueError or TypeError."""
    if not isinstance(values, list) or not all(type(value) is int or str.isprintable(value) for value in values):
        raise ValueError(values)
    return [_convert(value, kind) for value, kind in zip(values, kinds, strict=True)] if kinds else values


def _convert(value: str | int, kind: type) -> Any:
    parse = _PARSERS.get(kind)
    converted: Any = parse(value) if parse and isinstance(value, str) else value
    if type(converted) is not kind or (isinstance(converted, datetime) and converted.tzinfo is None):
        raise ValueError(value)
    return converted
