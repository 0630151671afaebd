"""The statements of this app, one a file, as jobs/sql has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs import sql

_FOLDER = Path(__file__).parent


def rows(name: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Run `memory/sql/<name>.sql` and return its rows as dicts. JSON columns are text."""
    return sql.rows(name, params, folder=_FOLDER)
