"""Following one job: replay from a position, then whatever is new, until the job has ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self
from uuid import UUID

from jobs.live.events import DELETED, HEARTBEAT, Event, ended, to_json
from jobs.live.hints import Delta
from jobs.live.pace import Backoff, now, set_or_time
from jobs.live.rows import UNAVAILABLE, Position, Rows, Snapshot
from jobs.live.speech import Speech, said_so_far
from jobs.models import Job, Status
from jobs.representation import job_json, log_json

logger = logging.getLogger(__name__)

HEARTBEAT_SEC = 20.0
COALESCE_SEC = 0.02
"""Least time between two readings, so that a burst of hints costs one."""
POLL_SEC = 5.0
"""How often the rows are asked although nobody rang: a hint may be lost."""
POLL_WITHOUT_HINTS_SEC = 1.0
POSITIONS_MOST = 256
"""Distinct positions of one reading."""
REPLAYS_MOST = 4
"""Of these, positions of followers that are catching up: each may return 200 lines, and the others wait for it."""


@dataclass(frozen=True, slots=True)
class News:
    """A snapshot as events, shared by all followers that stood at its position."""

    position: Position
    update: Event | None
    progress: Event | None
    lines: tuple[Event, ...]
    end: Event | None
    more: bool


class Follower:
    """One subscriber of one job: an asynchronous iterator of batches of events, at the subscriber's own pace.

    It asks for news only when the previous batch has been taken, so a slow subscriber holds no queue: it reads on from
    its position. The first event is the job's state, the last one is `end`; heartbeats come every HEARTBEAT_SEC.
    """

    def __init__(self, topic: Topic, since_log_id: int) -> None:
        self.position = Position(topic.job_id, since_log_id)
        self.catching_up = True
        self.waiting = False
        self._topic = topic
        self._news: News | None = None
        self._heard: tuple[int, int] = (0, 0)
        """Attempt, and how far into its streaming text."""
        self._last_update: Event | None = None
        self._last_progress: Event | None = None
        self._over = False
        self._wake = asyncio.Event()
        self._beat_at = now() + HEARTBEAT_SEC

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[Event, ...]:
        while not self._over:
            if self._news is None:
                self.waiting = True
                self._topic.follows.asks(self)
            await set_or_time(self._wake, self._beat_at)
            self._wake.clear()
            if events := self._take():
                return tuple(events)
        raise StopAsyncIteration

    def deliver(self, news: News) -> None:
        """Hand over what is new at the follower's position."""
        self._news, self.waiting = news, False
        self._wake.set()

    def listen(self) -> None:
        """There may be streaming text that it has not heard."""
        self._wake.set()

    def close(self) -> None:
        """End the iteration without an `end` event: the server goes, and the subscriber may come back."""
        self._over = True
        self._wake.set()

    def _take(self) -> list[Event]:
        # Nothing precedes the job's state; and the line that ends a job must not overtake its text.
        events = self._unheard() if self._last_update is not None else []
        news, self._news = self._news, None
        if news is not None:
            self.position, self.catching_up = news.position, news.more
            if news.update is not None and news.update is not self._last_update:
                is_first = self._last_update is None
                events.append(news.update)
                self._last_update = news.update
                if is_first:
                    events += self._unheard()
            if news.progress is not None and news.progress is not self._last_progress:
                events.append(news.progress)
                self._last_progress = news.progress
            events += news.lines
            if news.end is not None:
                events.append(news.end)
                self._over = True
        if now() >= self._beat_at:
            events.append(HEARTBEAT)
            self._beat_at = now() + HEARTBEAT_SEC
        return events

    def _unheard(self) -> list[Event]:
        speech = self._topic.speech
        end, event = speech.since(*self._heard)
        self._heard = (speech.fence, end)
        return [] if event is None else [event]


@dataclass(eq=False)
class Topic:
    """A job that somebody follows."""

    job_id: UUID
    follows: Follows
    followers: dict[Follower, None] = field(default_factory=dict)
    speech: Speech = field(default_factory=Speech)
    _asked_fence: int = 0
    _update: Event | None = None
    _progress: Event | None = None

    def hear(self, delta: Delta) -> None:
        """A piece of streaming text came."""
        if self.speech.take(delta):
            self._tell()
        else:
            self.follows.catch_up(self, delta.fence, delta)

    def mend(self, fence: int, text: bytes | None, delta: Delta | None) -> None:
        """Redis was asked for the text so far."""
        self.speech.mend(fence, text, delta)
        self._tell()

    def _tell(self) -> None:
        for follower in self.followers:
            follower.listen()

    def _catch_up(self, job: Job) -> None:
        """Once for each attempt that was under way when somebody began to follow: what did it say before?"""
        if job.status == Status.RUNNING and job.fence > max(self._asked_fence, self.speech.fence):
            self._asked_fence = job.fence
            self.follows.catch_up(self, job.fence, None)

    def news(self, snapshot: Snapshot) -> News:
        """The events of a snapshot. A state that looks like the last one is the same Event, so nobody gets it twice."""
        job, position = snapshot.job, snapshot.position
        if snapshot.status is None:
            return News(position, None, None, (), DELETED, more=False)
        if job is not None:
            self._catch_up(job)
            self._update = _same_or_new(self._update, Event("job_update", to_json({"job": job_json(job)})))
            # A new attempt starts without progress: the same fraction again is news then.
            self._progress = job.progress and _same_or_new(self._progress, Event("progress", to_json(job.progress)))
        lines = tuple(Event("log_append", to_json(log_json(line)), line.id) for line in snapshot.lines)
        return News(
            Position(position.job_id, lines[-1].id or 0 if lines else position.after, snapshot.version),
            self._update if job is not None else None,
            self._progress if job is not None else None,
            lines,
            ended(snapshot.status) if Status(snapshot.status).is_terminal and not snapshot.more else None,
            snapshot.more,
        )


def _same_or_new(last: Event | None, event: Event) -> Event:
    return last if last is not None and last.data == event.data else event


class Follows:
    """All followers of a web process, and the loop that reads for those who may have news. One loop, one event loop."""

    def __init__(self, rows: Rows) -> None:
        self.hears_hints: bool | None = None
        self._rows = rows
        self._topics: dict[UUID, Topic] = {}
        self._rung: set[UUID] = set()
        self._due: dict[Follower, None] = {}
        self._work = asyncio.Event()
        self._next_poll = 0.0
        self._asking: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return sum(len(topic.followers) for topic in self._topics.values())

    @contextmanager
    def following(self, job_id: UUID, since_log_id: int) -> Iterator[Follower]:
        """Follow a job, from the line after `since_log_id`, until the block is left."""
        topic = self._topics.setdefault(job_id, Topic(job_id, self))
        follower = Follower(topic, since_log_id)
        topic.followers[follower] = None
        self._due[follower] = None
        try:
            yield follower
        finally:
            del topic.followers[follower]
            self._due.pop(follower, None)
            if not topic.followers:
                del self._topics[job_id]

    def ring(self, job_ids: tuple[UUID, ...]) -> None:
        """There may be news about these jobs."""
        if rung := self._topics.keys() & job_ids:
            self._rung |= rung
            self._work.set()

    def ring_all(self) -> None:
        """There may be news about any job."""
        self._next_poll = 0.0
        self._work.set()

    def deliver_delta(self, delta: Delta) -> None:
        """Pass streaming text on to the job's followers, at once."""
        if (topic := self._topics.get(delta.job_id)) is not None:
            topic.hear(delta)

    def catch_up(self, topic: Topic, fence: int, delta: Delta | None) -> None:
        """Ask Redis for the text so far of an attempt. delta: the piece before which some is missing."""

        async def ask() -> None:
            topic.mend(fence, await asyncio.to_thread(said_so_far, topic.job_id, fence), delta)

        task = asyncio.create_task(ask())
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    def asks(self, follower: Follower) -> None:
        """The follower is ready for news; it is due if the job rang since its last reading, or there was more."""
        if follower.catching_up:
            self._due[follower] = None
        if follower in self._due:
            self._work.set()

    def close(self) -> None:
        """End all iterations."""
        for topic in self._topics.values():
            for follower in topic.followers:
                follower.close()

    async def run(self) -> None:
        """Read for whoever is due, for ever."""
        backoff = Backoff()
        while True:
            self._mark_due()
            batch = self._next_batch()
            if not batch:
                await set_or_time(self._work, self._next_poll)
                self._work.clear()
                continue
            try:
                await self._read(batch)
                backoff.reset()
            except UNAVAILABLE as error:
                if not backoff.failures:
                    logger.warning("live streams: Postgres is away (%s); they go on when it is back", error)
                await backoff.wait()
            if not any(follower.catching_up for followers in batch.values() for follower in followers):
                await asyncio.sleep(COALESCE_SEC)

    def _mark_due(self) -> None:
        rung, self._rung = self._rung, set()
        if now() >= self._next_poll:
            rung = set(self._topics)
            self._next_poll = now() + (POLL_SEC if self.hears_hints else POLL_WITHOUT_HINTS_SEC)
        for job_id in rung & self._topics.keys():
            self._due.update(self._topics[job_id].followers)

    def _next_batch(self) -> dict[Position, list[Follower]]:
        batch: dict[Position, list[Follower]] = {}
        replays = 0
        for follower in self._due:
            if not follower.waiting:
                continue
            if follower.position not in batch:
                if len(batch) == POSITIONS_MOST or (follower.catching_up and replays == REPLAYS_MOST):
                    continue
                replays += follower.catching_up
            batch.setdefault(follower.position, []).append(follower)
        return batch

    async def _read(self, batch: dict[Position, list[Follower]]) -> None:
        # Before the statement: whoever is rung for while it runs is due again.
        for followers in batch.values():
            for follower in followers:
                del self._due[follower]
        try:
            snapshots = await self._rows.news(batch)
        except Exception:
            self._due.update((follower, None) for followers in batch.values() for follower in followers)
            raise
        for snapshot in snapshots:
            topic = self._topics.get(snapshot.position.job_id)
            if topic is not None:
                news = topic.news(snapshot)
                for follower in batch[snapshot.position]:
                    follower.deliver(news)
