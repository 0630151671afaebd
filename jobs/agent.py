"""The agent: a thread in a worker's parent process that keeps leases alive and stops what must stop.

Being in the parent, it goes on while a handler hogs the interpreter, and it sees pool processes die. It hears of
cancels by Postgres NOTIFY (no Redis needed), of time limits and deaths by Celery's request callbacks (jobs/tasks.py).
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from django.db import Error as DatabaseError
from django.db import connection

from jobs import lifecycle, processes
from jobs.execution import STOP_SIGNAL, cookie
from jobs.models import Job, Node, Outcome, Status
from jobs.sql import rows
from rauskuclaw import __version__, errors, redis
from rauskuclaw.config import load

logger = logging.getLogger("jobs.agent")

STOP_GRACE_SEC = 0.4
"""From the stop signal to the kill of a handler that did not stop. A cancelled job is to be gone in under 1 s."""
STUCK_AFTER_SEC = 20.0
"""An idle worker whose queues hold jobs published so long ago has stopped consuming, whatever it says."""
YOUNG_SEC = 5.0
"""An attempt taken so recently may not have been claimed yet; its lease is not missed."""


def host_identity() -> str:
    """This machine, boot and process namespace: where a pid means what it says."""
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    try:
        return f"{socket.gethostname()}/{boot.read_text('ascii').strip()}/{namespace.stat().st_ino}"
    except OSError:
        return f"{socket.gethostname()}/{psutil.boot_time():.0f}"


@dataclass
class Held:
    """An attempt that a pool process of this worker runs. `number` is its fencing number."""

    job_id: uuid.UUID
    number: int
    pid: int
    since: float = field(default_factory=time.monotonic)
    stopped_at: float | None = None
    kill_at: float | None = None
    killed: bool = False


@dataclass(frozen=True)
class _End:
    """What Celery's parent said of an attempt's process."""

    held: Held
    reason: str
    """"" (it ended by itself), "lost" or "hard timeout"."""
    detail: str = ""


class Agent(threading.Thread):
    """One a worker. `accepted` and the `ended_*` methods are called on the worker's main thread and never block."""

    def __init__(self, *, queues: list[str], concurrency: int) -> None:
        super().__init__(name="agent", daemon=True)
        self.node = uuid.uuid4()
        self._queues, self._concurrency = queues, concurrency
        self._held: dict[tuple[uuid.UUID, int], Held] = {}
        self._lock = threading.Lock()
        self._ends: deque[_End] = deque()
        self._stopping = threading.Event()
        self._renew_at = 0.0
        self._last_taken = time.monotonic()

    def accepted(self, job_id: uuid.UUID, number: int, pid: int) -> None:
        """A pool process has taken the attempt's message."""
        with self._lock:
            self._held[job_id, number] = Held(job_id, number, pid)
            self._last_taken = time.monotonic()

    def ended(self, job_id: uuid.UUID, number: int, *, reason: str = "", detail: str = "") -> None:
        """The pool process is done with the attempt: by itself, or because it died or was killed (`reason`)."""
        with self._lock:
            held = self._held.pop((job_id, number), None)
        if held is not None and (reason or held.stopped_at is not None):
            self._ends.append(_End(held, reason, detail))

    def stop(self) -> None:
        """Let the thread end and take the node off the list of the living."""
        self._stopping.set()
        self.join(timeout=5)

    def run(self) -> None:
        """Serve until stopped; while Postgres is away, wait and go on."""
        while not self._stopping.is_set():
            try:
                with connection.cursor() as cursor:
                    cursor.execute("LISTEN rauskuclaw_stop")
                self._bury_dead_nodes()
                while not self._stopping.is_set():
                    self._serve_once()
            except DatabaseError as error:
                logger.warning("agent: the database is away, trying again: %s", error)
                self._start_over()
            except Exception:
                # Without an agent every lease of this worker would run out: whatever it is, it must not end the thread.
                logger.exception("agent: starting over")
                self._start_over()
        with contextlib.suppress(DatabaseError):
            Node.objects.filter(pk=self.node).delete()
        connection.close()

    def _start_over(self) -> None:
        connection.close()
        self._stopping.wait(0.5)

    def _serve_once(self) -> None:
        busy = bool(self._ends) or any(held.kill_at for held in list(self._held.values()))
        # psycopg's own connection raises psycopg's errors; everything else here goes through Django, which wraps them.
        with connection.wrap_database_errors:
            notices = list(connection.connection.notifies(timeout=0.02 if busy else 0.2, stop_after=1))
        for notice in notices:
            job_id, _, number = notice.payload.partition(":")
            self._stop_attempt(self._held.get((uuid.UUID(job_id), int(number))))
        self._kill_the_stubborn()
        self._settle_ends()
        if time.monotonic() >= self._renew_at:
            self._renew()
            self._renew_at = time.monotonic() + load().lease_sec / 3

    def _stop_attempt(self, held: Held | None) -> None:
        """Interrupt the handler. Under the lock: the pool hands this process its next attempt only after `ended`."""
        with self._lock:
            if held is None or held.stopped_at is not None or (held.job_id, held.number) not in self._held:
                return
            held.stopped_at = time.monotonic()
            held.kill_at = held.stopped_at + STOP_GRACE_SEC
            with contextlib.suppress(ProcessLookupError):
                os.kill(held.pid, STOP_SIGNAL)

    def _kill_the_stubborn(self) -> None:
        now = time.monotonic()
        for held in list(self._held.values()):
            if held.kill_at is None or now < held.kill_at:
                continue
            with self._lock:
                if (held.job_id, held.number) not in self._held:
                    continue
                held.kill_at, held.killed = None, True
                processes.kill_descendants(held.pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(held.pid, signal.SIGKILL)

    def _settle_ends(self) -> None:
        """The row first: looking for stray processes may take longer than what is left of the lease."""
        while self._ends:
            held, end = self._ends[0].held, self._ends[0]
            if end.reason == "hard timeout":
                lifecycle.fail(
                    held.job_id,
                    held.number,
                    code=errors.JOB_TIMEOUT.name,
                    message="timeout",
                    details={"killed": True},
                    retry=True,
                    retry_in_sec=lifecycle.RetryPolicy().wait_sec(1),
                    outcome=Outcome.TIMED_OUT,
                )
            elif end.reason == "lost" and held.stopped_at is None:
                lifecycle.lose(held.job_id, held.number, reason=end.detail)
            if end.reason:
                processes.kill_adopted()
                processes.kill_marked(cookie(self.node, held.job_id, held.number))
            if held.stopped_at is not None:
                meta = {
                    "stopped_in_ms": round((time.monotonic() - held.stopped_at) * 1000),
                    "killed": held.killed,
                    "attempt": held.number,
                }
                lifecycle.append_logs(held.job_id, [("info", "Running work stopped", meta)])
            self._ends.popleft()

    def _renew(self) -> None:
        with self._lock:
            held = list(self._held.values())
        process = psutil.Process()
        row = rows(
            "renew",
            {
                "node": self.node, "name": load().worker_id, "host": host_identity(), "pid": process.pid,
                "pid_created_at": process.create_time(), "queues": self._queues, "concurrency": self._concurrency,
                "version": __version__, "lease_sec": load().lease_sec, "stuck_after_sec": STUCK_AFTER_SEC,
                "ids": [item.job_id for item in held], "fences": [item.number for item in held],
            },
        )[0]  # fmt: skip
        renewed = set(row["renewed"])
        for item in held:
            if str(item.job_id) not in renewed and time.monotonic() - item.since > YOUNG_SEC:
                self._stop_attempt(item)
        if row["stuck"] and not held and time.monotonic() - self._last_taken > STUCK_AFTER_SEC:
            self._restart_if_redis_lives(row["stuck"])

    def _restart_if_redis_lives(self, waiting: int) -> None:
        """A worker that idles beside work in a Redis that answers has lost its subscription: a new process has one."""
        try:
            redis.client().ping()
        except redis.REDIS_ERRORS:
            return
        logger.error("%d jobs have waited over %.0f s for this idle worker: restarting it", waiting, STUCK_AFTER_SEC)
        os.kill(os.getpid(), signal.SIGTERM)
        self._last_taken = time.monotonic()

    def _bury_dead_nodes(self) -> None:
        """Take back at once what workers of this machine held whose process is gone, instead of waiting for leases."""
        for node in Node.objects.filter(kind=Node.Kind.WORKER, host=host_identity()).exclude(pk=self.node):
            if _lives(node):
                continue
            processes.kill_marked(f"{node.id}/")
            for job in Job.objects.filter(status=Status.RUNNING, node=node.id).only("id", "fence"):
                lifecycle.lose(job.id, job.fence, reason=f"worker process {node.pid} is gone")
            node.delete()


def _lives(node: Node) -> bool:
    try:
        return abs(psutil.Process(node.pid).create_time() - node.pid_created_at) < 1.0
    except psutil.Error:
        return False


_agent: Agent | None = None


def start(*, queues: list[str], concurrency: int) -> None:
    """Make this worker's agent, before its pool forks: children must know the node's id."""
    global _agent  # noqa: PLW0603 - one agent a process
    _agent = Agent(queues=queues, concurrency=concurrency)


def current() -> Agent | None:
    """This worker's agent; None in processes that run no jobs."""
    return _agent


def node_id() -> uuid.UUID | None:
    """The id of this worker, also in its pool processes."""
    return _agent.node if _agent else None
