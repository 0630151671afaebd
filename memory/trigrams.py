"""Finding words that are misspelt, or parts of words: by trigrams, where the database has the extension `pg_trgm`.

An operator creates it (`CREATE EXTENSION pg_trgm`), the upkeep job makes the index, and text searches use it from then
on when too few memories hold the words themselves.
"""

from __future__ import annotations

from django.db import connection

INDEX = "memory_by_trigram"


def is_installed() -> bool:
    """Whether the database has the extension."""
    return _is_true("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm')")


def has_index() -> bool:
    """Whether searches can use it."""
    return _is_true(f"SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('{INDEX}')")


def make_index() -> None:
    """Make the index without locking anybody out; not in a transaction."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}")
        cursor.execute(f"CREATE INDEX CONCURRENTLY {INDEX} ON memory_memory USING gin (words gin_trgm_ops)")


def _is_true(question: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(question)
        row = cursor.fetchone()
    return bool(row and row[0])
