"""The agent: a thread in each job worker that keeps leases alive and stops what must stop.

It goes on while handlers hog their interpreter or their event loop, and it sees them die. What runs, and how to stop
it, is the pool's to know (jobs/pools); the agent hears of cancels by Postgres NOTIFY (no Redis needed), calls time, and
tells the rows of attempts that could not say themselves how they ended.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import psutil
from django.db import Error as DatabaseError
from django.db import connection

from jobs import lifecycle, processes
from jobs.models import Job, Node, Outcome, Status
from jobs.nodes import host_identity, is_gone
from jobs.pools import Death, End, Pool
from jobs.pools.io import IOPool
from jobs.pools.process import ProcessPool
from jobs.slots import Held, Why, file_of, unbegun_of
from jobs.sql import rows
from jobs.transitions import RetryPolicy
from rauskuclaw import __version__, errors, redis
from rauskuclaw.config import load
from rauskuclaw.wire import PoolName, job_queue, redis_keys

logger = logging.getLogger("jobs.agent")

STOP_GRACE_SEC = 0.4
"""From the stop signal to the kill of a handler that did not stop. A cancelled job is to be gone in under 1 s."""
STUCK_AFTER_SEC = 20.0
"""An idle worker whose queues hold jobs published so long ago has stopped consuming, whatever it says."""
UNMET_SEC = 5.0
"""So long a request to stop an attempt is remembered: its turn may come after the others of its message."""
YOUNG_SEC = 5.0
"""An attempt taken so recently may not have been claimed yet; its lease is not missed."""


@dataclass
class _Stop:
    """An attempt that was told to stop. kill_at: when patience ends, monotonic seconds; None once it was killed."""

    held: Held
    since: float
    kill_at: float | None

    @property
    def killed(self) -> bool:
        return self.kill_at is None


class Agent(threading.Thread):
    """One a worker."""

    def __init__(self, node: uuid.UUID, pool: Pool, *, queues: list[str]) -> None:
        super().__init__(name="agent", daemon=True)
        self.node, self.pool = node, pool
        self._queues = queues
        self._stops: dict[tuple[uuid.UUID, int], _Stop] = {}
        self._deaths: deque[Death] = deque()
        self._unmet: dict[tuple[uuid.UUID, int], float] = {}
        self._timed: set[tuple[uuid.UUID, int]] = set()
        self._stopping = threading.Event()
        self._renew_at = 0.0
        self._last_taken = time.monotonic()

    @property
    def queues(self) -> list[str]:
        """The job queues of this worker."""
        return self._queues

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
            file_of(self.node).unlink(missing_ok=True)
        connection.close()

    def _start_over(self) -> None:
        connection.close()
        self._stopping.wait(0.5)

    def _serve_once(self) -> None:
        # psycopg's own connection raises psycopg's errors; everything else here goes through Django, which wraps them.
        with connection.wrap_database_errors:
            wait = 0.02 if self._deaths or self._stops else 0.2
            notices = list(connection.connection.notifies(timeout=wait, stop_after=1))
        held = self.pool.held()
        now = time.monotonic()
        self._unmet = {key: until for key, until in self._unmet.items() if until > now}
        for notice in notices:
            job_id, _, number = notice.payload.partition(":")
            self._unmet[uuid.UUID(job_id), int(number)] = now + UNMET_SEC
        self._stop_attempts(item for item in held if item.key in self._unmet)
        self._call_time(held)
        self._kill_the_stubborn()
        self._deaths.extend(self.pool.deaths())
        self._settle_deaths()
        self._settle_stops()
        if self.pool.is_broken:
            self._replace_worker()
        if time.monotonic() >= self._renew_at:
            self._renew()
            self._renew_at = time.monotonic() + load().lease_sec / 3

    def _stop_attempts(self, attempts: Iterable[Held]) -> None:
        """Interrupt the handlers of attempts that are not this worker's any more."""
        for held in attempts:
            if held.key not in self._stops:
                now = time.monotonic()
                self._stops[held.key] = _Stop(held, now, now + STOP_GRACE_SEC)
                self.pool.interrupt(held, Why.NOT_ITS_OWN)

    def _call_time(self, attempts: list[Held]) -> None:
        """Interrupt once the handlers whose time is up. A hard limit, Celery's or the pool's, ends those that go on."""
        due = {held.key: held for held in attempts if time.monotonic() >= held.since + held.timeout_sec}
        for key in due.keys() - self._timed - self._stops.keys():
            self.pool.interrupt(due[key], Why.TIME_LIMIT)
        self._timed = set(due)

    def _kill_the_stubborn(self) -> None:
        for stop in self._stops.values():
            if stop.kill_at is not None and time.monotonic() >= stop.kill_at and self.pool.kill(stop.held):
                stop.kill_at = None

    def _settle_deaths(self) -> None:
        """The row first: looking for stray processes may take longer than what is left of the lease."""
        if unbegun := [death for death in self._deaths if death.end is End.UNBEGUN]:
            lifecycle.give_back([death.held.key for death in unbegun], reason=unbegun[0].detail)
            self._deaths = deque(death for death in self._deaths if death.end is not End.UNBEGUN)
        while self._deaths:
            death = self._deaths[0]
            if death.end is not End.LOST:
                _fail(death)
            elif death.held.key not in self._stops:
                lifecycle.lose(*death.held.key, reason=death.detail)
            self.pool.bury(death)
            self._deaths.popleft()

    def _replace_worker(self) -> None:
        """End this process at once: whoever started it starts another. Its attempts are settled."""
        Node.objects.filter(pk=self.node).delete()
        os._exit(os.EX_SOFTWARE)

    def _settle_stops(self) -> None:
        """Say of each attempt told to stop, once it has, how long that took."""
        for key, stop in list(self._stops.items()):
            if self.pool.runs(stop.held):
                continue
            meta = {
                "stopped_in_ms": round((time.monotonic() - stop.since) * 1000),
                "killed": stop.killed,
                "attempt": stop.held.number,
            }
            lifecycle.append_logs(stop.held.job_id, [("info", "Running work stopped", meta)])
            del self._stops[key]

    def _renew(self) -> None:
        held = self.pool.held()
        if held:
            self._last_taken = time.monotonic()
        process = psutil.Process()
        row = rows(
            "renew",
            {
                "node": self.node, "name": load().worker_id, "host": host_identity(), "pid": process.pid,
                "pid_created_at": process.create_time(), "pool": self.pool.name, "queues": self._queues,
                "concurrency": self.pool.concurrency,
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
                for key in (key for queue in self._queues for key in redis_keys(job_queue(queue, self.pool.name))):
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
            if not is_gone(node):
                continue
            processes.kill_marked(f"{node.id}/")
            reason = f"worker process {node.pid} is gone"
            lifecycle.give_back([held.key for held in unbegun_of(node.id)], reason=reason)
            for job in Job.objects.filter(status=Status.RUNNING, node=node.id).only("id", "fence"):
                lifecycle.lose(job.id, job.fence, reason=reason)
            file_of(node.id).unlink(missing_ok=True)
            node.delete()


def _fail(death: Death) -> None:
    """Tell the row of an attempt that was ended by force."""
    timed_out = death.end is End.TIMED_OUT
    lifecycle.fail(
        *death.held.key,
        code=errors.JOB_TIMEOUT.name if timed_out else errors.HANDLER_ERROR.name,
        message="timeout" if timed_out else death.detail,
        details={"killed": True},
        # One that disturbs all others would only do it again.
        retry=timed_out,
        retry_in_sec=RetryPolicy().wait_sec(1),
        outcome=Outcome.TIMED_OUT if timed_out else Outcome.FAILED,
    )


_agent: Agent | None = None


def start(pool: PoolName, *, queues: list[str]) -> None:
    """Make this worker's agent and pool, before Celery's pool forks: children must know the node's id."""
    global _agent  # noqa: PLW0603 - one agent a process
    node, config = uuid.uuid4(), load()
    made: Pool = IOPool(node, config.io_concurrency) if pool == "io" else ProcessPool(node, config.worker_concurrency)
    _agent = Agent(node, made, queues=queues)


def current() -> Agent | None:
    """This worker's agent; None in processes that run no jobs."""
    return _agent
