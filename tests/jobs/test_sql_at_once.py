"""Statements run in one call of libpq are as those through a cursor: rows, errors, and what becomes of a connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
from django.db import (
    DEFAULT_DB_ALIAS,
    DataError,
    OperationalError,
    close_old_connections,
    connection,
    connections,
    transaction,
)
from django.test.utils import CaptureQueriesContext

from jobs import sql
from jobs.models import Job
from jobs.sql import at_once

pytestmark = pytest.mark.django_db(transaction=True)

Result = TypeVar("Result")
InThread = Callable[[Callable[[], Result]], Result]

ECHO = "SELECT $1::int AS number, $2::text AS word, $3::jsonb AS document"
PARAMS = (7, "seven", '{"a": 1}')


@pytest.fixture
def in_thread() -> Iterator[InThread[Any]]:
    """Does things in one thread that is not the main one, with a connection of its own."""
    with ThreadPoolExecutor(1) as thread:
        yield lambda act: thread.submit(act).result()
        thread.submit(connections.close_all).result()


def echo(*params: object) -> tuple[list[str], list[tuple[Any, ...]]]:
    connection.ensure_connection()
    assert at_once.is_possible(connections[DEFAULT_DB_ALIAS])
    return at_once.run(connections[DEFAULT_DB_ALIAS], ECHO, params)


def prepared() -> int:
    """How many statements this thread's connection has prepared that are ECHO."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement = %s", [ECHO])
        return int(cursor.fetchone()[0])


def test_the_columns_and_the_rows(in_thread: InThread[Any]) -> None:
    assert in_thread(lambda: echo(*PARAMS)) == (["number", "word", "document"], [PARAMS])


def test_a_statement_is_prepared_once_a_connection(in_thread: InThread[Any]) -> None:
    for _ in range(3):
        in_thread(lambda: echo(*PARAMS))

    assert in_thread(prepared) == 1


def test_an_error_is_djangos_and_harms_no_later_statement(in_thread: InThread[Any]) -> None:
    with pytest.raises(DataError, match="invalid input syntax"):
        in_thread(lambda: echo(7, "seven", "{"))

    assert in_thread(lambda: echo(*PARAMS))[1] == [PARAMS]


def test_what_a_rollback_has_made_psycopg_drop_is_prepared_anew(in_thread: InThread[Any]) -> None:
    def roll_back() -> None:
        with transaction.atomic():
            sql.rows("fill_lock", {"queue": "default", "wait": True})
            transaction.set_rollback(True)

    def number(text: str) -> int:
        return int(at_once.run(connections[DEFAULT_DB_ALIAS], text, [])[1][0][0])

    in_thread(lambda: echo(*PARAMS))
    in_thread(roll_back)
    assert in_thread(prepared) == 0

    assert in_thread(lambda: number("SELECT 1")) == 1, "one that was not prepared before"
    assert in_thread(lambda: echo(*PARAMS))[1] == [PARAMS]
    assert in_thread(lambda: [number("SELECT 2"), number("SELECT 1")]) == [2, 1]


def test_a_lost_connection_is_told_and_replaced(in_thread: InThread[Any]) -> None:
    def backend() -> int:
        connection.ensure_connection()
        return int(connection.connection.info.backend_pid)

    in_thread(lambda: echo(*PARAMS))
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [in_thread(backend)])

    with pytest.raises(OperationalError):
        in_thread(lambda: echo(*PARAMS))
    in_thread(close_old_connections)
    assert in_thread(lambda: echo(*PARAMS))[1] == [PARAMS]


def test_a_job_made_this_way_is_as_one_made_by_cursor(in_thread: InThread[Any], make_job: Callable[..., Job]) -> None:
    made = in_thread(make_job)

    by_cursor = make_job()
    ignored = {"id", "created_at", "updated_at", "available_at", "turn_at", "published_at"}
    facts = [
        {field.attname: getattr(job, field.attname) for field in Job._meta.concrete_fields if field.name not in ignored}
        for job in (made, Job.objects.get(pk=made.id), by_cursor)
    ]
    assert facts[0] == facts[1] == facts[2]


def test_statements_that_are_counted_or_in_a_transaction_go_by_cursor(in_thread: InThread[Any]) -> None:
    def possible() -> list[bool]:
        here = connections[DEFAULT_DB_ALIAS]
        with CaptureQueriesContext(connection):
            counted = at_once.is_possible(here)
        with transaction.atomic():
            inside = at_once.is_possible(here)
        return [counted, inside, at_once.is_possible(here)]

    assert in_thread(possible) == [False, False, True]
    assert not at_once.is_possible(connections[DEFAULT_DB_ALIAS]), "the main thread hears signals"
