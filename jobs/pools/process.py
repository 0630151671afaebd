"""The pool for work that computes or runs commands: Celery's prefork pool, an attempt in each process."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import uuid
from collections import deque

import psutil

from jobs import processes
from jobs.execution import STOP_SIGNAL, cookie
from jobs.pools import Death, End
from jobs.slots import Held, Slots, Why, file_of
from rauskuclaw.config import load
from rauskuclaw.wire import PoolName

UNREPORTED_SEC = 2.0
"""How long Celery may take to report a pool process that died."""


class ProcessPool:
    """The pool as the worker's parent sees it. What the processes run stands in memory that they share with it."""

    name: PoolName = "process"
    is_broken = False

    def __init__(self, node: uuid.UUID, concurrency: int) -> None:
        self.concurrency = concurrency
        self.slots = Slots(concurrency, file=file_of(node))
        self._node = node
        self._reported: deque[Death] = deque()
        self._missing: dict[int, float] = {}

    def process_failed(self, pid: int, *, timed_out: bool, detail: str) -> None:
        """The pool process died, or overran its hard limit and is killed next. Called before anything replaces it.

        On the worker's main thread, by Celery; it never blocks.
        """
        if (held := self.slots.of(pid)) is not None:
            self._reported.extend(self._deaths_with(held, End.TIMED_OUT if timed_out else End.LOST, detail))

    def _deaths_with(self, held: Held, end: End, detail: str = "") -> list[Death]:
        """The attempt that the process ran, and what else it had in hand."""
        before, after = self.slots.others(held)
        return [
            Death(held, end, detail),
            *(Death(it, End.LOST, f"pool process {held.pid} ended before it had told") for it in before),
            *(Death(it, End.UNBEGUN, f"pool process {held.pid} ended before its turn had come") for it in after),
        ]

    def held(self) -> list[Held]:
        """The attempts that run now."""
        return self.slots.held()

    def runs(self, held: Held) -> bool:
        """Whether this attempt still runs."""
        now = self.slots.of(held.pid)
        return now is not None and now.key == held.key

    def interrupt(self, held: Held, why: Why) -> None:
        """Raise in the attempt's handler."""
        self.slots.tell(held, why)
        with contextlib.suppress(ProcessLookupError):
            os.kill(held.pid, STOP_SIGNAL)

    def kill(self, held: Held) -> bool:
        """Frozen first: between a look at its slot and the kill the process could have gone on to another attempt."""
        try:
            os.kill(held.pid, signal.SIGSTOP)
            if runs := self.runs(held):
                processes.kill_descendants(held.pid)
                os.kill(held.pid, signal.SIGKILL)
            os.kill(held.pid, signal.SIGCONT)
        except ProcessLookupError:
            return False
        return runs

    def deaths(self) -> list[Death]:
        """What Celery reported, those of processes that nobody reports, and those that are killed now."""
        found = [self._reported.popleft() for _ in range(len(self._reported))]
        found += self._kill_overdue()
        missing = [pid for pid in self.slots.pids() if not _is_child(pid)]
        self._missing = {pid: self._missing.get(pid, time.monotonic()) for pid in missing}
        for pid, since in self._missing.items():
            if (held := self.slots.of(pid)) is None:
                self.slots.leave(pid)
            elif time.monotonic() - since > UNREPORTED_SEC:
                found += self._deaths_with(held, End.LOST, f"pool process {pid} is gone")
        return found

    def _kill_overdue(self) -> list[Death]:
        """Celery's hard limit is the message's, and so the first attempt's of a chain: later ones have theirs here."""
        now, grace_sec = time.monotonic(), load().hard_limit_grace_sec
        overdue = [held for held in self.held() if now >= held.since + held.timeout_sec + grace_sec]
        return [death for held in overdue if self.kill(held) for death in self._deaths_with(held, End.TIMED_OUT)]

    def bury(self, death: Death) -> None:
        """Kill what the attempt started, wherever it is, and free the slot."""
        processes.kill_adopted()
        processes.kill_marked(cookie(self._node, *death.held.key))
        self.slots.leave(death.held.pid)


def _is_child(pid: int) -> bool:
    try:
        return psutil.Process(pid).ppid() == os.getpid()
    except psutil.Error:
        return False
