"""The statements too sharp for the ORM, one a file. Each file says its purpose, its locks and the index it uses.

`{{name}}` in a statement stands for what is in `name.part.sql`, `{{alias.*}}` for a job's columns by name, `{{type.*}}`
for a job type's: a prepared statement must not change its result type when a newer version's migration adds a column
beneath a running process.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Self

import psycopg
from django.db import DEFAULT_DB_ALIAS, connection, connections

from jobs.models import Job, JobType
from jobs.sql import at_once

_FOLDER = Path(__file__).parent
_JSON_COLUMNS = ("input", "result", "error", "progress")
_JOB_COLUMNS = tuple(field.attname for field in Job._meta.concrete_fields)


@cache
def statement(name: str, folder: Path = _FOLDER) -> str:
    """The text of `jobs/sql/<name>.sql`, without its comments (they would travel with every call).

    folder: another app's statements.
    """
    text = re.sub(r"^\s*--.*\n", "", (folder / f"{name}.sql").read_text("utf-8"), flags=re.MULTILINE)
    text = re.sub(r"\{\{(\w+)\.\*\}\}", lambda alias: _columns_of(alias[1]), text)
    return re.sub(r"\{\{(\w+)\}\}", lambda part: statement(f"{part[1]}.part", folder).strip(), text)


def _columns_of(alias: str) -> str:
    model = JobType if alias == "type" else Job
    return ", ".join(f"{alias}.{field.attname}" for field in model._meta.concrete_fields)


_columns: dict[tuple[Path, str], tuple[str, ...]] = {}
"""The columns of each statement: they never change, and asking for them costs more than the rows."""


@cache
def _numbered(name: str, folder: Path) -> tuple[str, tuple[str, ...]]:
    """The statement with `$1`, `$2`… for its parameters, and which they are. psycopg reads long statements anew each
    time (it remembers those below 4 KiB), which takes 0.1 ms."""
    return _number(statement(name, folder))


@lru_cache(256)
def _number(text: str) -> tuple[str, tuple[str, ...]]:
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    return re.sub(r"%\((\w+)\)s", number, text).replace("%%", "%"), tuple(names)


class _PreparedCursor(psycopg.RawCursor[Any]):
    """Binds on the server and prepares: these statements are long, and planning them cost more than running them."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        """Execute as a prepared statement."""
        return super().execute(query, params, **{**options, "prepare": True})

    def _send_query_prepared(self, name: bytes, pgq: Any, **options: Any) -> None:
        # psycopg notes the query of every other way to send one, and Django's query log reads it there.
        self._query = pgq
        super()._send_query_prepared(name, pgq, **options)


def rows(name: str, params: Mapping[str, Any], *, folder: Path = _FOLDER) -> list[dict[str, Any]]:
    """Run one statement and return its rows as dicts. JSON columns are text, as everywhere below Django's models."""
    database = connections[DEFAULT_DB_ALIAS]  # `connection` would find it anew for each of its attributes
    database.ensure_connection()
    if at_once.is_possible(database):
        text, names = _numbered(name, folder)
        columns, found = at_once.run(database, text, [params[it] for it in names])
        return [dict(zip(columns, row, strict=True)) for row in found]
    with _cursor() as cursor:
        _execute(cursor, name, params, folder)
        return _fetch(name, cursor, folder)


def tuples_of(text: str, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """The rows of a statement of which there are few forms and that is made in code, with `%(name)s` for parameters.

    It is planned once a connection, for no parameters in particular. JSON columns are text.
    """
    numbered, names = _number(text)
    with _cursor() as cursor:
        cursor.execute(numbered, [params[it] for it in names])
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


@dataclass(frozen=True)
class Statements:
    """Another app's statements, in a folder of its own."""

    folder: Path

    def rows(self, name: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Run `<folder>/<name>.sql` and return its rows as dicts. JSON columns are text."""
        return rows(name, params, folder=self.folder)

    def text(self, name: str) -> str:
        """What is sent for `<folder>/<name>.sql`."""
        return statement(name, self.folder)


def rows_together(*calls: tuple[str, Mapping[str, Any]]) -> list[list[dict[str, Any]]]:
    """Run statements in one round trip, in one transaction: all or none. The rows of each, as `rows` returns them.

    Each sees what those before it did. Outside a transaction they are one of their own, whose end waits for the disk
    once: that is how Postgres treats what comes before a pipeline's Sync.
    """
    with contextlib.ExitStack() as cursors:
        opened = [cursors.enter_context(_cursor()) for _ in calls]
        with connection.wrap_database_errors, connection.connection.pipeline():
            for cursor, (name, params) in zip(opened, calls, strict=True):
                _execute(cursor, name, params)
        return [_fetch(name, cursor) for cursor, (name, _) in zip(opened, calls, strict=True)]


def _cursor() -> Any:
    connection.ensure_connection()
    # Django's own cursors bind on the client. Wrapped as those are: with its error classes and its query log.
    return connection._prepare_cursor(_PreparedCursor(connection.connection))  # type: ignore[attr-defined]


def _execute(cursor: Any, name: str, params: Mapping[str, Any], folder: Path = _FOLDER) -> None:
    text, names = _numbered(name, folder)
    cursor.execute(text, [params[it] for it in names])


def _fetch(name: str, cursor: Any, folder: Path = _FOLDER) -> list[dict[str, Any]]:
    if (columns := _columns.get((folder, name))) is None:
        columns = _columns[folder, name] = tuple(column[0] for column in cursor.description)
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def jobs(name: str, params: Mapping[str, Any]) -> list[Job]:
    """Run a statement that returns whole rows of jobs_job."""
    return [_job(row) for row in rows(name, params)]


def _job(row: dict[str, Any]) -> Job:
    for column in _JSON_COLUMNS:
        if row[column] is not None:
            row[column] = json.loads(row[column])
    return Job.from_db(connection.alias, _JOB_COLUMNS, [row[column] for column in _JOB_COLUMNS])
