"""Asking for a part: one range of bytes (RFC 9110 §14)."""

from __future__ import annotations

import re
from contextlib import suppress

from django.http import HttpRequest

from rauskuclaw import errors
from rauskuclaw.errors import Problem

# One range; of several, and of other units, nothing is understood, and so the whole is sent, as the RFC has it.
_RANGE = re.compile(r"bytes=\s*(\d{0,19})\s*-\s*(\d{0,19})\s*", re.ASCII | re.IGNORECASE)


def byte_range(request: HttpRequest, *, size_bytes: int, etag: str, what: str) -> tuple[int, int] | None:
    """The first and the last byte that are asked for; None for all of them. what: it, in an error's message.

    Raises RANGE_NOT_SATISFIABLE.
    """
    match = _RANGE.fullmatch(request.headers.get("Range", ""))
    if match is None or match[0].endswith("=-") or request.headers.get("If-Range", etag) != etag:
        return None
    if not match[1]:
        first, last = max(0, size_bytes - int(match[2] or 0)), size_bytes - 1
    else:
        first, last = int(match[1]), min(size_bytes - 1, int(match[2] or size_bytes))
        with suppress(ValueError):
            if int(match[2]) < first:
                return None
    if first > last:
        raise Problem(
            errors.RANGE_NOT_SATISFIABLE,
            f"{what} has {size_bytes:,} bytes.",
            headers={"Content-Range": f"bytes */{size_bytes}"},
        )
    return first, last
