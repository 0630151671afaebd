"""The web process's one place where hints come in and subscribers are served."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from uuid import UUID
from weakref import WeakKeyDictionary

from jobs.live import audience
from jobs.live.doorbell import Doorbell
from jobs.live.follow import Follower, Follows
from jobs.live.hints import Hint, Rings
from jobs.live.rows import Rows
from jobs.live.watch import Watcher, Watches
from jobs.models import Job
from rauskuclaw.config import load

logger = logging.getLogger(__name__)

LINGER_SEC = 10.0
"""How long the connections to Redis and Postgres outlive the last subscriber."""


class Hub:
    """Serves all subscribers of one event loop with one Redis subscription and one Postgres connection.

    Both exist while anybody subscribes. Only to be used on its loop. Redis away: the rows are polled. Postgres away:
    subscribers stay connected and go on when it is back.
    """

    def __init__(self) -> None:
        self._rows = Rows()
        self._follows = Follows(self._rows)
        self._watches = Watches(self._rows)
        self._serving: asyncio.Task[None] | None = None
        self._linger: asyncio.TimerHandle | None = None

    @contextmanager
    def follow(self, job_id: UUID, since_log_id: int = 0) -> Iterator[Follower]:
        """Follow one job from the log line after `since_log_id`: iterate over batches of events, up to `end`."""
        with self._running(), self._follows.following(job_id, since_log_id) as follower:
            yield follower

    @contextmanager
    def watch(self, wants: Callable[[Job], bool]) -> Iterator[Watcher]:
        """Watch the state of all jobs that `wants` accepts: iterate over batches of events."""
        with self._running(), self._watches.watching(wants) as watcher:
            yield watcher

    def close(self) -> None:
        """End all subscriptions, as a stopping server must: streams have no end of their own. They may come back."""
        self._follows.close()
        self._watches.close()

    @contextmanager
    def _running(self) -> Iterator[None]:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self._serving is None:
            self._serving = asyncio.create_task(self._serve())
        try:
            yield
        finally:
            if not self._follows and not self._watches and self._linger is None:
                self._linger = asyncio.get_running_loop().call_later(LINGER_SEC, self._rest)

    def _rest(self) -> None:
        self._linger = None
        if self._serving is not None:
            self._serving.cancel()
            self._serving = None

    async def _serve(self) -> None:
        parts = [self._follows.run, self._watches.run, self._tell_how_many]
        if (url := load().redis_url) is not None:
            parts.append(Doorbell(url.get_secret_value(), self._on_hint, self._on_change).run)
        else:
            self._on_change(hears_hints=False)
        try:
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    group.create_task(_forever(part))
        finally:
            self._follows.hears_hints = self._watches.hears_hints = None
            self._rows.drop_connection()

    async def _tell_how_many(self) -> None:
        """Note the number of subscribers where metrics find it (jobs/live/audience.py)."""
        while True:
            await asyncio.to_thread(audience.note, len(self._follows) + len(self._watches))
            await asyncio.sleep(audience.NOTE_SEC)

    def _on_hint(self, hint: Hint) -> None:
        if isinstance(hint, Rings):
            self._follows.ring(hint.job_ids)
            self._watches.ring(hint.job_ids)
        else:
            self._follows.deliver_delta(hint)

    def _on_change(self, *, hears_hints: bool) -> None:
        self._follows.hears_hints = self._watches.hears_hints = hears_hints
        self._follows.ring_all()
        self._watches.resync()


async def _forever(part: Callable[[], Awaitable[None]]) -> None:
    """Run a part of the hub. Whatever fault it meets, the streams of everybody else must go on."""
    while True:
        try:
            await part()
        except Exception:
            logger.exception("live streams: a fault in the hub; going on")
            await asyncio.sleep(1)


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub() -> Hub:
    """The hub of the running event loop, made on first use. A forked process has loops, and so hubs, of its own."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = Hub()
    return _hubs[loop]
