"""The statements too sharp for the ORM, one a file. Each file says its purpose, its locks and the index it uses.

`{{name}}` in a statement stands for the CTE in `name.part.sql`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from django.db import connection

_FOLDER = Path(__file__).parent


@cache
def statement(name: str) -> str:
    """The text of `jobs/sql/<name>.sql`, without its comments (they would travel with every call)."""
    text = re.sub(r"^\s*--.*\n", "", (_FOLDER / f"{name}.sql").read_text("utf-8"), flags=re.MULTILINE)
    return re.sub(r"\{\{(\w+)\}\}", lambda part: statement(f"{part[1]}.part").strip(), text)


def rows(name: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Run one statement and return its rows as dicts."""
    with connection.cursor() as cursor:
        cursor.execute(statement(name), params)
        columns = [column[0] for column in cursor.description]
        return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
