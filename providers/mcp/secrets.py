"""The values of a server's headers and variables: kept sealed, opened for the moment of a connection.

What an operator sends is a value, which is sealed as `mcp/<server>/headers/<name>`, or was sealed for that name
already (`enc:…`); or a reference to another secret whose name begins with `mcp/`. No other secret of the system can be
referred to: whoever registers a server could have it sent anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from access import sealing, secrets
from access.models import Secret
from access.secrets import REFERENCE, SecretUnavailable
from jobs import bodies
from jobs.handlers.base import AttemptFailed
from rauskuclaw import errors

PREFIX = "mcp/"
MAX_ENTRIES, MAX_VALUE_CHARS = 30, 8_000
Kind = Literal["headers", "env"]
Given = Mapping[str, str | None]
"""Name and value or reference; None takes one away."""

_HEADER = re.compile(r"[A-Za-z0-9-]{1,80}")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,79}")
_OWN_HEADER = re.compile(
    r"(accept|accept-encoding|connection|content-.*|host|keep-alive|last-event-id|mcp-.*|te|trailer|transfer-encoding"
    r"|upgrade|user-agent)\Z",
    re.IGNORECASE,
)
_OWN_VARIABLE = re.compile(r"(PATH|HOME|LANG|TMPDIR|(LD|DYLD|RAUSKUCLAW)_.*)\Z")


def faults_of(kind: Kind, given: Given) -> list[tuple[str, str]]:
    """(path, message) of what is wrong with what an operator sent."""
    faults = []
    pattern, own = (_HEADER, _OWN_HEADER) if kind == "headers" else (_VARIABLE, _OWN_VARIABLE)
    for name, value in given.items():
        if not pattern.fullmatch(name) or own.match(name):
            faults.append((f"{kind}.{name[:80]}", "no name that may be set here"))
        elif value is not None and (fault := _value_fault(value)):
            faults.append((f"{kind}.{name}", fault))
    if len(given) > MAX_ENTRIES:
        faults.append((kind, f"at most {MAX_ENTRIES}"))
    return faults


def kept(server: str, kind: Kind, before: Mapping[str, str], given: Given, *, by: str) -> dict[str, str]:
    """Seal what was sent; what the row is to hold: name and reference. Writes the database.

    Raises VALIDATION_ERROR for a sealed value that does not open.
    """
    found = dict(before)
    for written, value in given.items():
        name = written.lower() if kind == "headers" else written
        own = _secret_name(server, kind, name)
        if found.get(name) == f"{REFERENCE}{own}" and (value is None or _is_reference(value)):
            _forget(own, by=by)
        if value is None:
            found.pop(name, None)
        elif _is_reference(value):
            found[name] = value.strip()
        else:
            secrets.put(own, _opened(value, own, f"{kind}.{written}"), by=by)
            found[name] = f"{REFERENCE}{own}"
    return found


def forget_all(server: str, *, by: str) -> None:
    """Delete what was sealed for a server."""
    for name in list(Secret.objects.filter(name__startswith=f"{PREFIX}{server}/").values_list("name", flat=True)):
        secrets.delete(name, by=by)


def opened(server: str, kind: Kind, references: Mapping[str, str]) -> dict[str, str]:
    """Name and value, for the moment of their use. Reads the database. Raises AttemptFailed MCP_CONFIG."""
    found = {}
    for name, reference in references.items():
        try:
            value = secrets.resolve(reference, purpose=_secret_name(server, kind, name))
        except SecretUnavailable as reason:
            raise AttemptFailed(errors.MCP_CONFIG, f"{kind}.{name} of {server} cannot be opened: {reason}") from None
        if fault := _text_fault(value):
            raise AttemptFailed(errors.MCP_CONFIG, f"{kind}.{name} of {server} cannot be used: {fault}")
        found[name] = value
    return found


def _value_fault(value: str) -> str:
    text = value.strip()
    if text.startswith("sec://"):
        return "the Holvi proxy carries no sessions: use a value, enc:… or secret:mcp/…"
    if text.startswith(REFERENCE) and not text.startswith(f"{REFERENCE}{PREFIX}"):
        return f"only secrets whose names begin with {PREFIX} can be referred to"
    return _text_fault(value)


def _text_fault(value: str) -> str:
    if not value.strip() or len(value) > MAX_VALUE_CHARS:
        return f"send 1 to {MAX_VALUE_CHARS:,} characters"
    return "" if value.isascii() and value.isprintable() else "send printable ASCII"


def _is_reference(value: str) -> bool:
    return value.strip().startswith(REFERENCE)


def _opened(value: str, own: str, path: str) -> str:
    """Sealed again by the caller: so a change of the master key reaches it."""
    if not sealing.is_sealed(value.strip()):
        return value
    try:
        return secrets.resolve(value, purpose=own)
    except SecretUnavailable as reason:
        raise bodies.invalid(path, f"{path}: {reason}") from None


def _secret_name(server: str, kind: Kind, name: str) -> str:
    return f"{PREFIX}{server}/{kind}/{name.lower()}"


def _forget(name: str, *, by: str) -> None:
    if Secret.objects.filter(name=name).exists():
        secrets.delete(name, by=by)
