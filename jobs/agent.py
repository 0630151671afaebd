"""The agent: a thread in a worker's parent process that keeps leases alive and stops what must stop.

Being in the parent, it goes on while a handler hogs the interpreter, and it sees pool processes die. It reads what they
run in jobs/slots.py, hears of cancels by Postgres NOTIFY (no Redis needed), and is told of hard time limits and deaths
by Celery's request callbacks (jobs/tasks.py).
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
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil
from django.db import Error as DatabaseError
from django.db import connection

from jobs import lifecycle, processes
from jobs.execution import STOP_SIGNAL, cookie
from jobs.models import Job, Node, Outcome, Status
from jobs.slots import Held, Slots, Why
from jobs.sql import rows
from rauskuclaw import __version__, errors, redis
from rauskuclaw.config import load
from rauskuclaw.wire import job_queue, redis_keys

logger = logging.getLogger("jobs.agent")

STOP_GRACE_SEC = 0.4
"""From the stop signal to the kill of a handler that did not stop. A cancelled job is to be gone in under 1 s."""
STUCK_AFTER_SEC = 20.0
"""An idle worker whose queues hold jobs published so long ago has stopped consuming, whatever it says."""
UNREPORTED_SEC = 2.0
"""How long Celery may take to report a pool process that died."""
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
class _Stop:
    """An attempt that was told to stop. kill_at: when patience ends, monotonic seconds; None once it was killed."""

    held: Held
    since: float
    kill_at: float | None

    @property
    def killed(self) -> bool:
        return self.kill_at is None


@dataclass(frozen=True)
class _Death:
    """What Celery's parent said of a pool process that died, or is about to be killed, while it ran `held`."""

    held: Held
    timed_out: bool
    detail: str


class Agent(threading.Thread):
    """One a worker. `process_failed` is called on the worker's main thread and never blocks."""

    def __init__(self, *, queues: list[str], concurrency: int) -> None:
        super().__init__(name="agent", daemon=True)
        self.node = uuid.uuid4()
        self.slots = Slots(concurrency)
        self._queues, self._concurrency = queues, concurrency
        self._stops: dict[tuple[uuid.UUID, int], _Stop] = {}
        self._deaths: deque[_Death] = deque()
        self._timed: set[tuple[uuid.UUID, int]] = set()
        self._missing: dict[int, float] = {}
        self._stopping = threading.Event()
        self._renew_at = 0.0
        self._last_taken = time.monotonic()

    @property
    def queues(self) -> list[str]:
        """The job queues of this worker."""
        return self._queues

    def process_failed(self, pid: int, *, timed_out: bool, detail: str) -> None:
        """The pool process died, or overran its hard limit and is killed next. Called before anything replaces it."""
        if (held := self.slots.of(pid)) is not None:
            self._deaths.append(_Death(held, timed_out, detail))

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
        # psycopg's own connection raises psycopg's errors; everything else here goes through Django, which wraps them.
        with connection.wrap_database_errors:
            wait = 0.02 if self._deaths or self._stops else 0.2
            notices = list(connection.connection.notifies(timeout=wait, stop_after=1))
        held = self.slots.held()
        for notice in notices:
            job_id, _, number = notice.payload.partition(":")
            self._stop_attempts(item for item in held if item.key == (uuid.UUID(job_id), int(number)))
        self._call_time(held)
        self._kill_the_stubborn()
        self._settle_deaths()
        self._settle_stops()
        self._clear_slots_of_the_dead()
        if time.monotonic() >= self._renew_at:
            self._renew()
            self._renew_at = time.monotonic() + load().lease_sec / 3

    def _stop_attempts(self, attempts: Iterable[Held]) -> None:
        """Interrupt the handlers of attempts that are not this worker's any more."""
        for held in attempts:
            if held.key not in self._stops:
                now = time.monotonic()
                self._stops[held.key] = _Stop(held, now, now + STOP_GRACE_SEC)
                self._signal(held, Why.NOT_ITS_OWN)

    def _call_time(self, attempts: list[Held]) -> None:
        """Interrupt once the handlers whose time is up. Celery's hard limit kills those that do not end."""
        due = {held.key: held for held in attempts if time.monotonic() >= held.since + held.timeout_sec}
        for key in due.keys() - self._timed - self._stops.keys():
            self._signal(due[key], Why.TIME_LIMIT)
        self._timed = set(due)

    def _signal(self, held: Held, why: Why) -> None:
        self.slots.tell(held, why)
        with contextlib.suppress(ProcessLookupError):
            os.kill(held.pid, STOP_SIGNAL)

    def _kill_the_stubborn(self) -> None:
        for stop in self._stops.values():
            if stop.kill_at is not None and time.monotonic() >= stop.kill_at:
                self._kill(stop)

    def _kill(self, stop: _Stop) -> None:
        """Frozen first: between a look at its slot and the kill the process could have gone on to another attempt."""
        pid = stop.held.pid
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            if self._still_runs(stop.held):
                stop.kill_at = None
                processes.kill_descendants(pid)
                os.kill(pid, signal.SIGKILL)
            os.kill(pid, signal.SIGCONT)

    def _still_runs(self, held: Held) -> bool:
        now = self.slots.of(held.pid)
        return now is not None and now.key == held.key

    def _settle_deaths(self) -> None:
        """The row first: looking for stray processes may take longer than what is left of the lease."""
        while self._deaths:
            death = self._deaths[0]
            held = death.held
            if death.timed_out:
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
            elif held.key not in self._stops:
                lifecycle.lose(held.job_id, held.number, reason=death.detail)
            processes.kill_adopted()
            processes.kill_marked(cookie(self.node, *held.key))
            self.slots.leave(held.pid)
            self._deaths.popleft()

    def _settle_stops(self) -> None:
        """Say of each attempt told to stop, once it has, how long that took."""
        for key, stop in list(self._stops.items()):
            if self._still_runs(stop.held):
                continue
            meta = {
                "stopped_in_ms": round((time.monotonic() - stop.since) * 1000),
                "killed": stop.killed,
                "attempt": stop.held.number,
            }
            lifecycle.append_logs(stop.held.job_id, [("info", "Running work stopped", meta)])
            del self._stops[key]

    def _clear_slots_of_the_dead(self) -> None:
        """Celery says of each process that died at work; one that nobody reports, or that idled, is found here."""
        missing = [pid for pid in self.slots.pids() if not _is_child(pid)]
        self._missing = {pid: self._missing.get(pid, time.monotonic()) for pid in missing}
        for pid, since in self._missing.items():
            if (held := self.slots.of(pid)) is None:
                self.slots.leave(pid)
            elif time.monotonic() - since > UNREPORTED_SEC:
                self._deaths.append(_Death(held, timed_out=False, detail=f"pool process {pid} is gone"))

    def _renew(self) -> None:
        held = self.slots.held()
        if held:
            self._last_taken = time.monotonic()
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
        self._stop_attempts(
            item for item in held if str(item.job_id) not in renewed and time.monotonic() - item.since > YOUNG_SEC
        )
        if row["stuck"] and not held and time.monotonic() - self._last_taken > STUCK_AFTER_SEC:
            self._restart_if_messages_wait(row["stuck"])

    def _restart_if_messages_wait(self, waiting: int) -> None:
        """A worker that idles beside messages in Redis has lost its subscription: a new process has one.

        Jobs whose messages Redis has lost are the reconciler's to publish again; a new worker would not find them.
        """
        try:
            with redis.client().pipeline(transaction=False) as pipe:
                for key in (key for queue in self._queues for key in redis_keys(job_queue(queue))):
                    pipe.llen(key)
                if not any(pipe.execute()):
                    return
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


def _is_child(pid: int) -> bool:
    try:
        return psutil.Process(pid).ppid() == os.getpid()
    except psutil.Error:
        return False


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
