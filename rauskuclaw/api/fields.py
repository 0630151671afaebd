"""How values look on the wire."""

from __future__ import annotations

from datetime import UTC, datetime


def iso_ms(moment: datetime) -> str:
    """UTC ISO-8601 with exactly 3 fractional digits and `Z`, as the v1 contract demands (section 0)."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_ms_or_none(moment: datetime | None) -> str | None:
    """`iso_ms`, or None for None."""
    return None if moment is None else iso_ms(moment)
