"""How many subscribers there are, over all web processes: each notes its own in Redis, where the notes expire."""

from __future__ import annotations

import os
import socket

from rauskuclaw import redis
from rauskuclaw.wire import KEY_PREFIX

NOTE_SEC = 5.0
_KEY = f"{KEY_PREFIX}subscribers:"


def note(count: int) -> None:
    """Say how many this process serves. Holds for three times NOTE_SEC."""
    try:
        redis.client().set(f"{_KEY}{socket.gethostname()}:{os.getpid()}", count, px=round(3000 * NOTE_SEC))
    except redis.REDIS_ERRORS:
        return


def total() -> int | None:
    """How many all web processes serve; None while Redis is away."""
    try:
        keys = list(redis.client().scan_iter(f"{_KEY}*", count=1000))
        return sum(int(number or 0) for number in redis.client().mget(keys)) if keys else 0
    except redis.REDIS_ERRORS:
        return None
