"""Running a prepared statement in one call of libpq, where there is no transaction and nothing to interrupt it.

psycopg's cursor takes a statement through a dozen generators, so that it can be sent, waited for and interrupted in all
the ways it knows: 125 µs of Python where `PQexecPrepared`, which sends and waits in C, needs 60. The price is that no
signal is heard before the statement has ended, so the main thread, where signals are handled, keeps to the cursor.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import Any

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import pq
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import InvalidSqlStatementName, error_from_result


class _Prepared:
    """What one connection has prepared."""

    def __init__(self, used: psycopg.Connection[Any]) -> None:
        self.used = used
        self._adapt = Transformer(used)
        self._names: dict[tuple[str, tuple[int, ...]], bytes] = {}
        self._numbers = itertools.count()

    def run(self, text: str, params: Sequence[Any]) -> tuple[list[str], list[tuple[Any, ...]]]:
        """The names of the columns, and the rows. Raises psycopg's errors."""
        adapt, server = self._adapt, self.used.pgconn
        values: Any = adapt.dump_sequence(params, [PyFormat.AUTO] * len(params))
        types = adapt.types or ()
        if (name := self._names.get((text, types))) is None:
            name = b"_at_once_%d" % next(self._numbers)
            self._checked(server.prepare(name, text.encode(), types))
            self._names[text, types] = name
        try:
            result = self._checked(server.exec_prepared(name, values, adapt.formats))
        except InvalidSqlStatementName:
            # psycopg drops all that a connection has prepared after a ROLLBACK. Nothing was run. What was prepared
            # since then is still there, and keeps its name.
            self._names.clear()
            return self.run(text, params)
        adapt.set_pgresult(result)
        columns = [(result.fname(n) or b"").decode() for n in range(result.nfields)]
        return columns, adapt.load_rows(0, result.ntuples, tuple)

    def _checked(self, result: pq.abc.PGresult) -> pq.abc.PGresult:
        if result.status in {pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK}:
            return result
        if self.used.pgconn.status != pq.ConnStatus.OK:
            raise psycopg.OperationalError(result.get_error_message())
        raise error_from_result(result)


_of_thread = threading.local()


def is_possible(database: BaseDatabaseWrapper) -> bool:
    """Whether this thread's statements may be run here. Those that are counted or wrapped need Django's cursor."""
    return (
        threading.current_thread() is not threading.main_thread()
        and database.get_autocommit()
        and not database.queries_logged
        and not database.execute_wrappers
    )


def run(database: BaseDatabaseWrapper, text: str, params: Sequence[Any]) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Run a statement with `$1`, `$2`…: the names of its columns, and its rows. Raises Django's database errors."""
    prepared: _Prepared | None = getattr(_of_thread, "prepared", None)
    if prepared is None or prepared.used is not database.connection:
        prepared = _of_thread.prepared = _Prepared(database.connection)
    with database.wrap_database_errors:
        return prepared.run(text, params)
