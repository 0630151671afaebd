"""Postgres for `AsyncHandler`s: steps that need it run in a few threads that keep their connections."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from django.db import close_old_connections

THREADS = 4
"""And so connections of one I/O worker, beside its own. Hundreds of handlers share them: a step must be short."""

T = TypeVar("T")

_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="handler-database")


async def in_database(step: Callable[[], T]) -> T:
    """Run `step` in a thread with a connection, and return what it returns. A cancel leaves it running to its end."""
    run = partial(contextvars.copy_context().run, _with_a_fresh_connection, step)
    return await asyncio.get_running_loop().run_in_executor(_threads, run)


def _with_a_fresh_connection(step: Callable[[], T]) -> T:
    try:
        return step()
    finally:
        # One that Postgres has closed would fail the next step too.
        close_old_connections()
