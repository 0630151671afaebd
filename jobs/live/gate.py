"""Who may subscribe: the rules of both wires, asked off the event loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import Error, connections

from access.authentication import is_still_valid
from access.principals import Principal
from jobs.live.events import HEARTBEAT, Event
from jobs.queries import visible_job

P = ParamSpec("P")
R = TypeVar("R")


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call something that may ask Postgres, in a pooled thread that keeps no connection afterwards."""

    def call() -> R:
        try:
            return function(*args, **kwargs)
        finally:
            connections.close_all()

    return await sync_to_async(call, thread_sensitive=False)()


async def admit(authenticate: Callable[[], Principal], job_id: str) -> tuple[Principal, UUID]:
    """The caller and the job to follow, whose queue the caller may see.

    Raises what `authenticate` raises, before the job is looked up, and NOT_FOUND.
    """

    def ask() -> tuple[Principal, UUID]:
        principal = authenticate()
        return principal, visible_job(job_id, principal=principal).id

    return await in_thread(ask)


async def is_revoked(principal: Principal, events: Sequence[Event]) -> bool:
    """Whether the subscriber's credential is gone; asked with each heartbeat. Without an answer it counts as valid."""
    if HEARTBEAT not in events:
        return False
    try:
        return not await in_thread(is_still_valid, principal)
    except Error:
        return False


def since_log_id(*candidates: str | None) -> int:
    """The largest positive integer among the candidates, else 0: everything (contract section 3)."""
    largest = 2**63 - 1
    numbers = [
        min(int(text), largest) for text in candidates if text and text.isascii() and text.isdigit() and len(text) < 40
    ]
    return max(numbers, default=0)
