"""The one synchronous Redis client of the project: it answers fast or fails fast.

Redis is the doorbell, Postgres the truth: a caller that cannot ring goes on at normal speed and the reconciler repeats
the ring. So there are short time-outs, no retries, and a circuit breaker: once Redis has not answered, calls raise
`RedisDown` at once for a second, then a single call probes. Callers catch `REDIS_ERRORS`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from rauskuclaw.config import load

CONNECT_TIMEOUT_SEC = 0.3
ANSWER_TIMEOUT_SEC = 1.0
OPEN_SEC = 1.0

REDIS_ERRORS: tuple[type[Exception], ...] = (redis.RedisError, OSError)
"""Everything that a call on `client()` raises when Redis is away, slow or unwilling."""


class RedisDown(redis.ConnectionError):
    """Redis did not answer a moment ago, so this call was not even tried."""


class Breaker:
    """Remembers that Redis is away. Closed: calls pass. Open: they raise, but for one probe every `OPEN_SEC`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._open = False
        self._probe_at = 0.0

    def check(self) -> None:
        """Return to let a call pass. Raises RedisDown while open."""
        if not self._open:
            return
        with self._lock:
            if self._open and self._clock() < self._probe_at:
                raise RedisDown("Redis did not answer a moment ago; see REDIS_URL and `manage.py doctor`.")
            # This caller is the probe. The others wait for its outcome or for the next second.
            self._probe_at = self._clock() + OPEN_SEC

    def trip(self) -> None:
        """Redis failed to answer: open."""
        with self._lock:
            self._open, self._probe_at = True, self._clock() + OPEN_SEC

    def reset(self) -> None:
        """Redis answered: close."""
        self._open = False


class _Once(Retry):
    """redis-py's one hook around every command, pipeline and connect: here it tells the breaker, and never retries."""

    def __init__(self, breaker: Breaker) -> None:
        super().__init__(NoBackoff(), 0)
        self.breaker = breaker

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # redis-py copies the policy into each connection; the breaker is one for all of them

    def call_with_retry(self, do: Callable[[], Any], *args: Any, **kwargs: Any) -> Any:
        """Call `do` once."""
        try:
            result = super().call_with_retry(do, *args, **kwargs)
        except (redis.ConnectionError, redis.TimeoutError):
            self.breaker.trip()
            raise
        self.breaker.reset()
        return result


class _Pool(redis.ConnectionPool):
    """Hands out no connection while the breaker is open."""

    def __init__(self, **kwargs: Any) -> None:
        self.breaker = Breaker()
        super().__init__(**kwargs, retry=_Once(self.breaker))

    def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        """A connection that is ready to send. Raises RedisDown."""
        self.breaker.check()
        return super().get_connection()


def client() -> redis.Redis:
    """The process's client, safe to use from any thread and after a fork. Answers are bytes.

    Raises RedisDown when no REDIS_URL is configured; its calls raise one of REDIS_ERRORS within about a second.
    """
    return _client(os.getpid())


@cache
def _client(_pid: int) -> redis.Redis:
    url = load().redis_url
    if url is None:
        raise RedisDown("No Redis is configured: set REDIS_URL, or run `make up`, which brings its own.")
    pool = _Pool.from_url(
        url.get_secret_value(),
        socket_connect_timeout=CONNECT_TIMEOUT_SEC,
        socket_timeout=ANSWER_TIMEOUT_SEC,
        socket_keepalive=True,
        protocol=2,
    )
    return redis.Redis(connection_pool=pool)


def forget() -> None:
    """Drop the client, so that the next call reads REDIS_URL again: for the supervisor and for tests."""
    _client.cache_clear()
