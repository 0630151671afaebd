"""JSON Schemas of strangers: which are taken, and checking arguments against them at a bounded cost.

A schema may ask for endless work or for another machine: by references that multiply, by a regular expression that
backtracks, by a `$ref` to an address. So references stay within the schema and are counted, and patterns are RE2's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import re2
from jsonschema import Draft202012Validator, FormatChecker, SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

MAX_SCHEMA_BYTES = 32_768
MAX_DEPTH = 24
MAX_REFERENCES = 2_000
"""Followed in one check."""
_DIALECTS = ("https://json-schema.org/draft/2020-12/schema", "http://json-schema.org/draft-07/schema")
_REFUSED = frozenset(
    {"patternProperties", "$dynamicRef", "$recursiveRef", "unevaluatedProperties", "unevaluatedItems", "$vocabulary"}
)


class _TooMuch(Exception):
    """A check that would not end in time."""


def fault_of(schema: Any) -> str:
    """Why a tool's input schema is not taken; "" where it is."""
    if not isinstance(schema, dict) or schema.get("type") != "object":
        return "its input schema is no schema of an object"
    if str(schema.get("$schema", _DIALECTS[0])).rstrip("#") not in _DIALECTS:
        return "its input schema is in a dialect other than JSON Schema 2020-12 and draft 7"
    try:
        size = len(json.dumps(schema, allow_nan=False).encode())
        if size > MAX_SCHEMA_BYTES:
            return f"its input schema has {size:,} bytes; {MAX_SCHEMA_BYTES:,} are taken"
        return _refused_part(schema, MAX_DEPTH) or _invalid_part(schema)
    except (ValueError, RecursionError):
        return "its input schema is no JSON, or nested too deeply"


def argument_fault(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    """What is wrong with the arguments; "" where nothing is. For a schema that `fault_of` takes."""
    references = 0

    def count(validator: Any, target: Any, instance: Any, within: Any) -> Iterator[ValidationError]:
        nonlocal references
        references += 1
        if references > MAX_REFERENCES:
            raise _TooMuch
        yield from Draft202012Validator.VALIDATORS["$ref"](validator, target, instance, within) or ()

    bounded: Any = extend(  # type: ignore[no-untyped-call]
        Draft202012Validator, {"$ref": count, "pattern": _matches}
    )
    try:
        # An empty registry: nothing is fetched.
        checker = bounded(_without_dialect(schema), registry=Registry())
        fault = next(iter(checker.iter_errors(arguments)), None)
    except (_TooMuch, RecursionError):
        return "its schema takes too long to check"
    except Unresolvable:
        return "its schema refers to what it does not hold"
    if fault is None:
        return ""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault.absolute_path)
    return f"{('arguments' + path)[:200]}: {fault.message[:300]}"


def _matches(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    expression = _compiled(pattern)
    if isinstance(instance, str) and expression is not None and not expression.search(instance):
        yield ValidationError(f"does not match {pattern!r}")


def _without_dialect(schema: Mapping[str, Any]) -> dict[str, Any]:
    """What draft 7 has beyond 2020-12 (tuples as `items`) is no valid schema then, and refused."""
    return {name: value for name, value in schema.items() if name not in {"$schema", "$id"}}


def _invalid_part(schema: Mapping[str, Any]) -> str:
    try:
        Draft202012Validator.check_schema(_without_dialect(schema), format_checker=FormatChecker(()))
    except SchemaError as error:
        return f"its input schema is no valid JSON Schema: {error.message[:200]}"
    return ""


def _refused_part(value: Any, depth: int) -> str:
    """Walks everything, data in `enum` and `const` too: what looks like a keyword there is refused as well."""
    if not depth:
        return "its input schema is nested too deeply"
    inner: list[Any] = value if isinstance(value, list) else []
    if isinstance(value, dict):
        if names := sorted(value.keys() & _REFUSED):
            return f"its input schema uses {names[0]}"
        if isinstance(ref := value.get("$ref"), str) and not ref.startswith("#"):
            return "its input schema refers to another document"
        inner = list(value.values())
    return next((fault for item in inner if (fault := _refused_part(item, depth - 1))), "")


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    """None where RE2 does not know the pattern (a look-ahead); then the server alone checks it."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error:
        return None
