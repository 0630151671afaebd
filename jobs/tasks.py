"""Celery's doors: thin entry points and the worker's signals. The work is done elsewhere."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any, cast

from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import signals
from celery.concurrency import get_implementation
from celery.concurrency.thread import TaskPool
from celery.worker.request import Request
from django.db import connection

from jobs import agent, bundle, callbacks, dispatch, execution, processes, reconciler
from jobs.attempts import DATABASE_AWAY
from jobs.pools.io import IOPool
from jobs.pools.process import ProcessPool
from jobs.retention import partitions, run
from jobs.transitions import Claimable
from rauskuclaw import tracing
from rauskuclaw.celery import app
from rauskuclaw.config import load
from rauskuclaw.wire import POOLS, job_queue

logger = logging.getLogger("jobs.tasks")

CALLBACK_BATCH = 50


class AttemptRequest(Request):
    """Tells the agent of processes that die at work. Runs in the worker's parent process."""

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """The hard limit: Celery kills the pool process next; what it spawned dies first, while it is its child."""
        if not soft:
            processes.kill_descendants(cast(int, self.worker_pid))
        super().on_timeout(soft, timeout)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        """The process died, or is at its hard limit (that comes here too, and before `on_timeout`)."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, (TimeLimitExceeded, WorkerLostError)):
            timed_out = isinstance(error, TimeLimitExceeded)
            _process_pool().process_failed(cast(int, self.worker_pid), timed_out=timed_out, detail=str(error))
        super().on_failure(exc_info, send_failed_event, return_ok)


@app.task(name=dispatch.TASK_RUN_ATTEMPT, Request=AttemptRequest, ignore_result=True, bind=True)
def run_attempt(self: Any, /, **kwargs: Any) -> None:
    """Run one attempt of a job, or of several short ones, in the pool of this worker. kwargs: see `dispatch.Message`.
    Delivered twice a message is harmless: the claim names the fence."""
    worker = agent.current()
    if worker is None:
        raise RuntimeError("jobs run in a worker that consumes job queues, and nowhere else")
    message = dispatch.Message.of(kwargs, self.request.timelimit)
    if isinstance(worker.pool, IOPool):
        for job_id, fence in message.attempts:
            worker.pool.run(job_id, fence, worker=load().worker_id)
    else:
        _run_chain(worker, message)


def _run_chain(worker: agent.Agent, first: dispatch.Message) -> None:
    """In a pool process: run these attempts and, while little time has passed, those of the next messages.

    A trip through Celery's parent costs more than a short job does. So the process goes on with what is next in its
    worker's queues, for as long as the message's limits leave room (`dispatch.CHAIN_SEC`): each attempt has its own
    soft limit from the agent, and Celery's hard limit of the first ends the last.
    """
    slots = _process_pool().slots
    # Here and not in worker_process_init: billiard sets its own signal handlers after that.
    execution.install_signal_handlers(slots)
    name = load().worker_id
    messages = (
        [Claimable(job_id, fence, name, worker.node) for job_id, fence in message.attempts]
        for message in _chain(worker.queues, first)
    )
    execution.run_attempts(messages, slots=slots)


def _chain(queues: Sequence[str], first: dispatch.Message) -> Iterator[dispatch.Message]:
    until = time.monotonic() + dispatch.CHAIN_SEC - bundle.PATIENCE_SEC
    message: dispatch.Message | None = first
    while message is not None:
        yield message
        if time.monotonic() >= until:
            return
        message = dispatch.take_next(queues, max_timeout_sec=first.timeout_sec)


def _process_pool() -> ProcessPool:
    current = agent.current()
    if current is None or not isinstance(current.pool, ProcessPool):
        raise RuntimeError("not a worker with a process pool that consumes job queues")
    return current.pool


@contextlib.contextmanager
def database_may_be_away() -> Iterator[None]:
    """The heartbeat's answer to a database that is away: leave it to the next tick, with a new connection."""
    try:
        yield
    except DATABASE_AWAY as error:
        logger.warning("the database is away, the next tick tries again: %s", error)
        connection.close()


@app.task(name="jobs.reconcile", ignore_result=True)
def reconcile() -> None:
    """Beat's heartbeat, each second. Any number may run at once."""
    with database_may_be_away():
        reconciler.note_beat()
        reconciler.reconcile()


@app.task(name=dispatch.TASK_DELIVER_CALLBACKS, ignore_result=True)
def deliver_callbacks() -> None:
    """Deliver the callbacks that are due. Two runs share the work: each row is claimed by one."""
    with database_may_be_away():
        while callbacks.deliver_due(limit=CALLBACK_BATCH):
            pass


@app.task(name="jobs.prune", ignore_result=True)
def prune() -> None:
    """Make the log's next partitions, and delete what is old, for a while. Twice at once is harmless."""
    with database_may_be_away():
        partitions.make_ahead()
        if load().retention_enabled:
            run.run(run_sec=run.RUN_SEC, all_at_once=False)


@signals.worker_init.connect
def _make_agent(sender: Any, **_kwargs: Any) -> None:
    consumed, allowed = sender.app.amqp.queues.consume_from, load().worker_queue_allowlist
    found = {pool: [queue for queue in allowed if job_queue(queue, pool) in consumed] for pool in POOLS}
    if all(found.values()):
        raise SystemExit("A worker is of one pool: start another one for the io: queues.")
    if found["process"]:
        agent.start("process", queues=found["process"])
        processes.become_subreaper()
    elif found["io"]:
        if not issubclass(get_implementation(sender.pool_cls), TaskPool):
            raise SystemExit("A worker of io: queues is started with --pool threads.")
        agent.start("io", queues=found["io"])


@signals.worker_shutting_down.connect
def _end_runs(**_kwargs: Any) -> None:
    run.stop()


@signals.worker_ready.connect
def _start_agent(**_kwargs: Any) -> None:
    if (current := agent.current()) is not None:
        current.start()


@signals.worker_shutdown.connect
def _stop_agent(**_kwargs: Any) -> None:
    if (current := agent.current()) is not None and current.is_alive():
        current.stop()


@signals.worker_process_shutdown.connect
def _end_pool_process(**_kwargs: Any) -> None:
    # Celery's pool processes end without Python's exit handlers.
    tracing.flush()


@signals.worker_process_init.connect
def _prepare_pool_process(**_kwargs: Any) -> None:
    processes.die_with_parent()
    processes.become_subreaper()
    if agent.current() is not None:
        _process_pool().slots.join()
