"""Keeping a web thread's database connection honest after Postgres was away, without a ping on every request.

Django's CONN_HEALTH_CHECKS costs a round trip a request. Here a connection is pinged only after it has idled, and
closed unseen when another thread has found Postgres gone since it was opened: so a restart of the database does not
answer one 503 from each thread in turn.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from django.core.signals import request_started
from django.db import connection
from django.db.backends.signals import connection_created

IDLE_SEC = 2.0
"""A connection not used for so long is pinged before it is used again."""

_lost_at = 0.0


class _Seen(threading.local):
    """When this thread's connection was opened and last used, on the monotonic clock."""

    opened_at = 0.0
    used_at = 0.0


_seen = _Seen()


def note_loss() -> None:
    """A connection broke or could not be opened: distrust all that are older than now."""
    global _lost_at  # noqa: PLW0603 - one fact about one server, told to all threads
    _lost_at = time.monotonic()


def _opened(**_kwargs: Any) -> None:
    _seen.opened_at = _seen.used_at = time.monotonic()


def _before_request(**_kwargs: Any) -> None:
    idle_sec = time.monotonic() - _seen.used_at
    distrusted = _seen.opened_at <= _lost_at
    if connection.connection is not None and (distrusted or (idle_sec > IDLE_SEC and not connection.is_usable())):
        connection.close()
    _seen.used_at = time.monotonic()


def watch() -> None:
    """Connect the signals; once, when the apps are ready."""
    connection_created.connect(_opened, dispatch_uid="rauskuclaw.connections")
    request_started.connect(_before_request, dispatch_uid="rauskuclaw.connections")
