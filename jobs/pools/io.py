"""The pool for work that waits for the network: coroutines, all in one event loop of the worker's process.

Celery's threads only count the places and wait. An attempt claims and ends in one of a few threads that have database
connections; in between its handler runs in the loop, where a cancel closes its sockets. See docs/adr/0014-io-pool.md.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, TypeVar
from weakref import WeakSet

from jobs import attempts
from jobs.attempts import Done, Ending
from jobs.context import AsyncAttemptContext
from jobs.execution import cookie
from jobs.handlers.base import AsyncHandler, TimeLimit
from jobs.log_buffer import LogBuffer
from jobs.pools import Death, End
from jobs.slots import NO_LIMIT_SEC, Held, Why
from jobs.transitions import Claim, Claimable
from rauskuclaw import logs, tracing
from rauskuclaw.config import load
from rauskuclaw.wire import PoolName

logger = logging.getLogger("jobs.pools")

DATABASE_THREADS = 6
"""Claims and ends that run at once. With the agent and the writer of logs the worker has two connections more."""
TICK_SEC = 1.0
BLOCKED_AFTER_SEC = 10.0
"""A loop that has not ticked for so long is blocked by one of its coroutines: nothing else runs or ends in it."""
MOST_UNSEEN_SEC = 0.5
"""What one look at a loop that stands still adds to that. A process that was itself stopped meanwhile saw nothing."""
ABANDONED_SHARE = 0.1
"""With more coroutines that ignore their end than this share of the places, a new process is due."""

T = TypeVar("T")


class _Attempt:
    """One attempt at run time. Its tasks belong to the loop's thread."""

    def __init__(self, held: Held, given_up: asyncio.Future[None]) -> None:
        self.held = held
        self.why: Why | None = None
        self.context: AsyncAttemptContext | None = None
        self.handler: asyncio.Task[Any] | None = None
        """While it runs."""
        self.given_up = given_up
        self.tasks: WeakSet[asyncio.Task[Any]] = WeakSet()
        """The handler's task and all that it started."""

    def interrupt(self) -> None:
        """Cancel the handler, which closes what it waits for."""
        if self.context is not None:
            self.context.stop_requested = True
        if self.handler is not None:
            self.handler.cancel()

    def give_up(self) -> None:
        """Wait for the handler no longer."""
        if not self.given_up.done():
            self.given_up.set_result(None)


_current: ContextVar[_Attempt | None] = ContextVar("attempt", default=None)
"""Whose code runs: each task inherits it from the one that made it."""


class IOPool:
    """The pool. `run` is for Celery's threads, the rest for the agent's."""

    name: PoolName = "io"

    def __init__(self, node: uuid.UUID, concurrency: int) -> None:
        self.concurrency = concurrency
        self.is_broken = False
        self._node = node
        self._attempts: set[_Attempt] = set()
        self._lock = threading.Lock()
        self._abandoned: set[asyncio.Task[Any]] = set()
        self._ticks = self._seen_ticks = 0
        self._looked_at = time.monotonic()
        self._still_sec = 0.0
        self._database = ThreadPoolExecutor(DATABASE_THREADS, thread_name_prefix="io-database")
        self._loop = asyncio.new_event_loop()
        self._loop.set_task_factory(_make_task)
        self._thread = threading.Thread(target=self._serve, name="io-loop", daemon=True)
        self._thread.start()

    def run(self, job_id: uuid.UUID, fence: int, *, worker: str) -> None:
        """Claim the job at `fence`, run it, and end the attempt. Twice is safe: the second claim finds nothing."""
        asyncio.run_coroutine_threadsafe(self._run(job_id, fence, worker), self._loop).result()

    # In the loop.

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        ticking = self._loop.create_task(self._tick())
        while not ticking.done():
            try:
                self._loop.run_forever()
            except (SystemExit, KeyboardInterrupt):
                # asyncio lets these two out of the loop; they are a handler's, and its attempt hears of them too.
                logger.warning("a handler tried to end the worker")

    async def _tick(self) -> None:
        while True:
            self._ticks += 1
            self._abandoned = {task for task in self._abandoned if not task.done()}
            for task in self._abandoned:
                task.cancel()
            if len(self._abandoned) > max(1, self.concurrency * ABANDONED_SHARE):
                logger.error("%d coroutines ignore their end: restarting this worker", len(self._abandoned))
                os.kill(os.getpid(), signal.SIGTERM)
                self._abandoned.clear()
            await asyncio.sleep(TICK_SEC)

    async def _run(self, job_id: uuid.UUID, fence: int, worker: str) -> None:
        held = Held(job_id, fence + 1, time.monotonic(), NO_LIMIT_SEC, os.getpid())
        attempt = _Attempt(held, self._loop.create_future())
        try:
            since_ns = tracing.now_ns()
            claim = await self._in_database(lambda: self._claim(attempt, fence, worker))
            if claim is not None:
                logs.bind_attempt(job=str(claim.id), attempt=claim.fence, queue=claim.queue, worker=worker)
                buffer = LogBuffer(claim.id, claim.fence)
                with attempts.traced(claim, worker, since_ns) as span:
                    ending = await self._perform(attempt, claim, buffer)
                    if ending is not None:
                        tracing.note(span, error=ending.message, outcome=ending.outcome.value)
                await self._in_database(lambda: self._end(claim, ending, buffer, worker))
        finally:
            self._forget(attempt)

    async def _in_database(self, step: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._database, step)

    async def _perform(self, attempt: _Attempt, claim: Claim, buffer: LogBuffer) -> Ending | None:
        """Run the handler. None: the attempt has nothing to say, because it is nobody's any more or was given up."""
        try:
            handler = attempts.handler_of(claim)
            if not isinstance(handler, AsyncHandler):
                return await self._in_database(lambda: attempts.misrouted(claim, handler))
            given, mark = attempts.parsed_input(claim, handler, buffer), cookie(self._node, claim.id, claim.fence)
            context = AsyncAttemptContext(claim, given, buffer, cookie=mark)
            if attempt.why is not None:
                raise asyncio.CancelledError
            attempt.context = context
            _current.set(attempt)
            attempt.handler = self._loop.create_task(handler.arun(context))
            await asyncio.wait([attempt.handler, attempt.given_up], return_when=asyncio.FIRST_COMPLETED)
            return attempts.succeeded(attempt.handler.result()) if attempt.handler.done() else None
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError) or attempt.why is None:
                return attempts.failed(claim, error)
            return attempts.failed(claim, TimeLimit()) if attempt.why is Why.TIME_LIMIT else None
        finally:
            attempt.handler = None
            # Whatever the handler left running ends with the attempt, however it ended.
            left = {task for task in attempt.tasks if not task.done()}
            for task in left:
                task.cancel()
            self._abandoned |= left

    # In the threads with a connection.

    def _claim(self, attempt: _Attempt, fence: int, worker: str) -> Claim | None:
        # Only now: the agent would take one that still waits for its turn here for one that has lost its lease.
        attempt.held = replace(attempt.held, since=time.monotonic())
        with self._lock:
            self._attempts.add(attempt)
        claim = attempts.claim(Claimable(attempt.held.job_id, fence, worker, self._node))
        if claim is not None:
            attempt.held = replace(attempt.held, since=time.monotonic(), timeout_sec=claim.timeout_sec)
            attempts.refill(claim, slots=self.concurrency)
        return claim

    def _end(self, claim: Claim, ending: Ending | None, buffer: LogBuffer, worker: str) -> None:
        lines = buffer.close()
        if ending is not None:
            attempts.settle([Done(claim, ending, lines)], worker)
        attempts.make_room([claim])

    def _forget(self, attempt: _Attempt) -> None:
        with self._lock:
            self._attempts.discard(attempt)

    # For the agent.

    def held(self) -> list[Held]:
        """The attempts that run now."""
        return [attempt.held for attempt in self._running()]

    def runs(self, held: Held) -> bool:
        """Whether this attempt still runs."""
        return bool(self._running(held))

    def interrupt(self, held: Held, why: Why) -> None:
        """Cancel the attempt's handler."""
        for attempt in self._running(held):
            if attempt.why is not Why.NOT_ITS_OWN:
                attempt.why = why
            self._loop.call_soon_threadsafe(attempt.interrupt)

    def kill(self, held: Held) -> bool:
        """Give the attempt up: its place is free, and its coroutine is cancelled again and again until it ends."""
        given_up = [self._give_up(attempt) for attempt in self._running(held)]
        return any(given_up)

    def deaths(self) -> list[Death]:
        """Attempts that go on after their hard limit; all of them when one blocks the loop."""
        if self.is_broken:
            return []
        if self._is_blocked():
            self.is_broken = True
            return self._deaths_of_blocking()
        now, grace_sec = time.monotonic(), load().hard_limit_grace_sec
        overdue = [it for it in self._running() if now >= it.held.since + it.held.timeout_sec + grace_sec]
        return [Death(attempt.held, End.TIMED_OUT) for attempt in overdue if self._give_up(attempt)]

    def bury(self, death: Death) -> None:
        """Nothing of an attempt is outside the loop."""

    def _running(self, held: Held | None = None) -> list[_Attempt]:
        """All attempts, or those that are `held`: a message that was delivered twice is claimed by one of two."""
        with self._lock:
            return [attempt for attempt in self._attempts if held is None or attempt.held.key == held.key]

    def _give_up(self, attempt: _Attempt) -> bool:
        if attempt.handler is None:
            return False  # it ends already, or never began
        self._forget(attempt)
        self._loop.call_soon_threadsafe(attempt.give_up)
        return True

    def _is_blocked(self) -> bool:
        now, ticks = time.monotonic(), self._ticks
        passed_sec = min(now - self._looked_at, MOST_UNSEEN_SEC)
        self._still_sec = self._still_sec + passed_sec if ticks == self._seen_ticks else 0.0
        self._looked_at, self._seen_ticks = now, ticks
        return self._still_sec >= BLOCKED_AFTER_SEC

    def _deaths_of_blocking(self) -> list[Death]:
        task = asyncio.current_task(self._loop)
        frame = sys._current_frames().get(self._thread.ident or 0)
        logger.critical(
            "the event loop is blocked by %s: replacing this worker\n%s", task, "".join(traceback.format_stack(frame))
        )
        place = f"{frame.f_globals.get('__name__')}.{frame.f_code.co_name}, line {frame.f_lineno}" if frame else "?"
        fault = f"the handler blocked the event loop of its I/O worker for {BLOCKED_AFTER_SEC:.0f} s, in {place}"
        return [
            Death(attempt.held, End.AT_FAULT, fault)
            if task in attempt.tasks
            else Death(attempt.held, End.LOST, "another job blocked the event loop of its I/O worker")
            for attempt in self._running()
        ]


def _make_task(
    loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, T] | Generator[Any, None, T], **options: Any
) -> asyncio.Task[T]:
    task = asyncio.Task(coro, loop=loop, **options)
    if (attempt := _current.get()) is not None:
        attempt.tasks.add(task)
    return task
