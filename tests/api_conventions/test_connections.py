"""After Postgres was away, no thread answers with a connection of before."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.signals import request_started
from django.db import connection

from rauskuclaw import connections

pytestmark = pytest.mark.django_db(transaction=True)


def backend_pid() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def kill(pid: int) -> None:
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    other.close()


def test_a_connection_that_died_while_idle_is_replaced_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    before = backend_pid()
    monkeypatch.setattr(connections, "IDLE_SEC", -1.0)
    kill(before)

    request_started.send(sender=None)

    assert backend_pid() != before


def test_what_one_thread_found_out_makes_others_reconnect() -> None:
    before = backend_pid()

    connections.note_loss()
    request_started.send(sender=None)

    assert backend_pid() != before


def test_a_busy_connection_is_not_pinged(django_assert_num_queries: Any) -> None:
    before = backend_pid()

    with django_assert_num_queries(0):
        request_started.send(sender=None)

    assert backend_pid() == before
