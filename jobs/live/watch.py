"""Watching the list: the newest state of jobs as they change, at most a few times a second for each."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self
from uuid import UUID

from jobs.live.events import HEARTBEAT, RESYNC, Event, to_json
from jobs.live.follow import HEARTBEAT_SEC
from jobs.live.pace import Backoff, now, set_or_time
from jobs.live.rows import UNAVAILABLE, Position, Rows, Snapshot
from jobs.models import Job
from jobs.representation import job_json

logger = logging.getLogger(__name__)

INTERVAL_SEC = 0.25
"""Least time between two updates of one job."""
RESYNC_WITHOUT_HINTS_SEC = 5.0
READ_MOST = 500
CHANGED_MOST = 5_000
"""Changed jobs not yet read; when there are more, watchers are told to load their list again instead."""
PENDING_MOST = 1_000
"""Updates kept for a watcher that does not take them; when there are more, it is told to load its list again."""
SEEN_MOST = 10_000
"""Jobs whose last shown state is remembered: a hint about a log line changes no list."""
NO_LINES = 2**63 - 1
"""A position after every log line."""


class Watcher:
    """One subscriber of the list: an asynchronous iterator of batches of `job_update`, `resync` and heartbeats.

    The first event is `resync`: changes are followed from here on, so load the list now. It comes again whenever
    changes may have been missed, and every few seconds while Redis is away. A slow subscriber gets the newest state
    of each job, not every state.
    """

    def __init__(self, wants: Callable[[Job], bool]) -> None:
        self.wants = wants
        self._pending: dict[UUID, Event] = {}
        self._resync = False
        self._over = False
        self._wake = asyncio.Event()
        self._beat_at = now() + HEARTBEAT_SEC

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[Event, ...]:
        while not self._over:
            await set_or_time(self._wake, self._beat_at)
            self._wake.clear()
            events = [RESYNC] if self._resync else []
            events += self._pending.values()
            self._pending.clear()
            self._resync = False
            if now() >= self._beat_at:
                events.append(HEARTBEAT)
                self._beat_at = now() + HEARTBEAT_SEC
            if events:
                return tuple(events)
        raise StopAsyncIteration

    def deliver(self, job: Job, update: Event) -> None:
        """Hand over a job's new state, if it is wanted."""
        if not self.wants(job):
            return
        self._pending[job.id] = update
        if len(self._pending) > PENDING_MOST:
            self.resync()
        self._wake.set()

    def resync(self) -> None:
        """Changes may have been missed."""
        self._pending.clear()
        self._resync = True
        self._wake.set()

    def close(self) -> None:
        """End the iteration: the server goes."""
        self._over = True
        self._wake.set()


class Watches:
    """All watchers of a web process, and the loop that reads the jobs that changed."""

    def __init__(self, rows: Rows) -> None:
        self.hears_hints: bool | None = None
        self._rows = rows
        self._watchers: dict[Watcher, None] = {}
        self._changed: dict[UUID, None] = {}
        self._seen: OrderedDict[UUID, tuple[str, int]] = OrderedDict()
        self._work = asyncio.Event()

    def __len__(self) -> int:
        return len(self._watchers)

    @contextmanager
    def watching(self, wants: Callable[[Job], bool]) -> Iterator[Watcher]:
        """Watch the jobs that `wants` accepts, until the block is left."""
        watcher = Watcher(wants)
        # None: the first news about Redis brings the first `resync`.
        if self.hears_hints is not None:
            watcher.resync()
        self._watchers[watcher] = None
        try:
            yield watcher
        finally:
            del self._watchers[watcher]

    def ring(self, job_ids: tuple[UUID, ...]) -> None:
        """These jobs may have changed."""
        if not self._watchers:
            return
        self._changed.update(dict.fromkeys(job_ids))
        if len(self._changed) > CHANGED_MOST:
            self._changed.clear()
            self.resync()
        self._work.set()

    def resync(self) -> None:
        """Any job may have changed."""
        for watcher in self._watchers:
            watcher.resync()

    def close(self) -> None:
        """End all iterations."""
        for watcher in self._watchers:
            watcher.close()

    async def run(self) -> None:
        """Read what changed, for ever. Without hints nobody says what changed, so watchers load their lists."""
        backoff = Backoff()
        while True:
            await set_or_time(self._work, now() + RESYNC_WITHOUT_HINTS_SEC)
            self._work.clear()
            if not self.hears_hints:
                self.resync()
            while self._changed:
                try:
                    await self._read()
                    backoff.reset()
                except UNAVAILABLE:
                    await backoff.wait()
                await asyncio.sleep(INTERVAL_SEC)

    async def _read(self) -> None:
        ids = list(self._changed)[:READ_MOST]
        for job_id in ids:
            del self._changed[job_id]
        try:
            snapshots = await self._rows.news([Position(job_id, NO_LINES, self._version(job_id)) for job_id in ids])
        except Exception:
            self._changed.update(dict.fromkeys(ids))
            raise
        for snapshot in snapshots:
            self._deliver(snapshot)

    def _version(self, job_id: UUID) -> str:
        return self._seen.get(job_id, ("", 0))[0]

    def _deliver(self, snapshot: Snapshot) -> None:
        job = snapshot.job
        if job is None:
            return
        update = Event("job_update", to_json({"job": job_json(job)}))
        _, last_shown = self._seen.pop(job.id, ("", 0))
        shown = hash(update.data)
        self._seen[job.id] = (snapshot.version, shown)
        if len(self._seen) > SEEN_MOST:
            self._seen.popitem(last=False)
        if shown != last_shown:
            for watcher in self._watchers:
                watcher.deliver(job, update)
