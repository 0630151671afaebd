"""The statements of the tick, one a file, run as those of `jobs/sql` are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs import sql

_FOLDER = Path(__file__).parent


def rows(name: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Run `schedules/sql/<name>.sql` and return its rows as dicts. JSON columns are text."""
    return sql.rows(name, params, folder=_FOLDER)


def statement(name: str) -> str:
    """The text of `schedules/sql/<name>.sql`."""
    return sql.statement(name, _FOLDER)
