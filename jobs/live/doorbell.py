"""The web process's ear on Redis: one subscription for all its subscribers, renewed for as long as it takes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from jobs.live.hints import CHANNEL, Hint, parse
from jobs.live.pace import Backoff

logger = logging.getLogger(__name__)

PING_SEC = 5.0
"""Silence after which the connection is asked for a sign of life; twice that without one, it counts as dead."""


class OnChange(Protocol):
    """Told whether hints are heard from now on. What was announced before may have been missed."""

    def __call__(self, *, hears_hints: bool) -> None: ...


class Doorbell:
    """Listens for hints while `run()` runs."""

    def __init__(self, redis_url: str, on_hint: Callable[[Hint], None], on_change: OnChange) -> None:
        self._redis_url, self._on_hint, self._on_change = redis_url, on_hint, on_change
        self._up: bool | None = None

    async def run(self) -> None:
        """Subscribe, listen, and subscribe again whenever the connection is lost."""
        backoff = Backoff()
        while True:
            try:
                await self._listen(backoff)
            except (RedisError, OSError, TimeoutError) as error:
                if not backoff.failures:
                    logger.warning("live streams: Redis is away (%s); the rows are polled until it is back", error)
            self._set(up=False)
            await backoff.wait()

    async def _listen(self, backoff: Backoff) -> None:
        # No retries inside redis-py: it would subscribe again in silence, and the hints missed meanwhile would stay
        # unnoticed until the next poll.
        redis = Redis.from_url(
            self._redis_url, retry=Retry(NoBackoff(), 0), socket_connect_timeout=2, socket_keepalive=True
        )
        async with redis, redis.pubsub() as subscription:
            await subscription.subscribe(CHANNEL)
            silent = False
            while True:
                message = await subscription.get_message(timeout=PING_SEC)
                if message is None:
                    if silent:
                        raise TimeoutError("no answer to a ping")
                    silent = True
                    await subscription.ping()
                    continue
                silent = False
                if message["type"] == "subscribe":
                    backoff.reset()
                    self._set(up=True)
                elif message["type"] == "message" and (hint := parse(message["data"])) is not None:
                    self._on_hint(hint)

    def _set(self, *, up: bool) -> None:
        if up != self._up:
            self._up = up
            self._on_change(hears_hints=up)
