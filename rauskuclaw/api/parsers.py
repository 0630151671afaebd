"""Request bodies: strict JSON, bounded before it is held, and nothing in it that Postgres cannot store."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import IO, Any

from rest_framework.parsers import BaseParser

from rauskuclaw import errors
from rauskuclaw.config import load
from rauskuclaw.errors import Problem

MAX_DEPTH = 100
MAX_INT_DIGITS = 300
_CONTAINERS = frozenset({dict, list})

# What may decode to NUL or to half a surrogate pair. Raw NUL is refused by the scanner, raw surrogates are not UTF-8.
_RISKY_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


class _RefusedError(ValueError):
    """Well-formed JSON that means something no two programs agree on."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise _RefusedError(f"the key {ascii(twice)[:80]} appears twice in one object")
    return fields


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _RefusedError(f"the number {text[:40]} is too large")
    return number


def _int(text: str) -> int:
    if len(text) > MAX_INT_DIGITS and len(text.lstrip("-")) > MAX_INT_DIGITS:
        raise _RefusedError(f"a number has more than {MAX_INT_DIGITS} digits")
    return int(text)


def _constant(name: str) -> None:
    raise _RefusedError(f"{name} is not JSON")


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float, parse_int=_int, parse_constant=_constant)


class StrictJSONParser(BaseParser):
    """Parses one JSON object or array; an empty body counts as `{}`. Raises Problem."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """The body's object or array. Raises Problem: PAYLOAD_TOO_LARGE, INVALID_JSON."""
        declared = parser_context["request"].META.get("CONTENT_LENGTH") if parser_context else None
        return parse_json(read_bounded(stream, int(declared or 0), self.limit_bytes()))

    def limit_bytes(self) -> int:
        """The largest body."""
        return load().max_body_bytes


def read_bounded(stream: IO[bytes], declared_bytes: int, limit_bytes: int) -> bytes:
    """Read a body of `declared_bytes`, and never more than `limit_bytes` of it."""
    too_large = Problem(
        errors.PAYLOAD_TOO_LARGE, f"The body is larger than {limit_bytes:,} bytes; send less at a time."
    )
    if declared_bytes > limit_bytes:
        raise too_large
    raw = stream.read(limit_bytes + 1)
    if len(raw) > limit_bytes:
        raise too_large
    if len(raw) < declared_bytes:
        raise Problem(errors.INVALID_JSON, f"The body ended after {len(raw):,} of {declared_bytes:,} bytes.")
    return raw


def parse_json(raw: bytes) -> dict[str, Any] | list[Any]:
    """Parse a whole body. Raises Problem(INVALID_JSON) with the position or the path of what is wrong."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _invalid(f"it is not UTF-8 (byte {error.start})", {"byte": error.start}) from None
    if not text or text.isspace():
        return {}
    try:
        document = _decoder.decode(text)
    except json.JSONDecodeError as error:
        where = {"line": error.lineno, "column": error.colno}
        raise _invalid(f"{error.msg} at line {error.lineno} column {error.colno}", where) from None
    except _RefusedError as error:
        raise _invalid(str(error)) from None
    except RecursionError:
        raise _too_deep() from None
    if not isinstance(document, dict | list):
        raise _invalid("it must be an object or an array")
    # Cheap scans of the text clear nearly every body; only the others are walked.
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(document)
    if _RISKY_ESCAPE.search(text):
        _check_texts(document)
    return document


def _check_depth(document: Any) -> None:
    """Refuse what is nested too deeply. Level by level: depth cannot exhaust the stack."""
    level = [document]
    for _ in range(MAX_DEPTH):
        contents = (node.values() if type(node) is dict else node for node in level)
        level = [item for items in contents for item in items if type(item) in _CONTAINERS]
        if not level:
            return
    raise _too_deep()


def _check_texts(document: Any) -> None:
    """Refuse text that Postgres cannot store; only then is the document walked again to tell where it is."""
    waiting = [document]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            if _fault(node):
                raise _located(document)
        elif isinstance(node, dict):
            waiting += node.keys()
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _located(document: Any) -> Problem:
    waiting = [(document, "")]
    while waiting:
        node, path = waiting.pop()
        if isinstance(node, str) and (fault := _fault(node)):
            return _unstorable("the text", path, fault)
        if isinstance(node, dict):
            if fault := next(filter(None, map(_fault, node)), ""):
                return _unstorable("a key", path, fault)
            waiting += [(value, f"{path}.{key}".lstrip(".")) for key, value in node.items()]
        elif isinstance(node, list):
            waiting += [(value, f"{path}[{index}]") for index, value in enumerate(node)]
    raise AssertionError("a fault was seen and is gone")


def _fault(text: str) -> str:
    if "\0" in text:
        return "the NUL character \\u0000"
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        return "half of a surrogate pair"
    return ""


def _unstorable(what: str, path: str, fault: str) -> Problem:
    path = path[:200]
    place = f"{what} at {path}" if path else f"{what} at the top level"
    return _invalid(f"{place} holds {fault}, which cannot be stored", {"path": path})


def _too_deep() -> Problem:
    return _invalid(f"it is nested more than {MAX_DEPTH} levels deep")


def _invalid(reason: str, details: dict[str, Any] | None = None) -> Problem:
    return Problem(errors.INVALID_JSON, f"The body is not acceptable JSON: {reason}.", details)
