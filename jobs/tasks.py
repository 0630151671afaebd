"""Celery's doors: thin entry points and the worker's signals. The work is done elsewhere."""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Iterator
from typing import Any, cast

from billiard.exceptions import TimeLimitExceeded
from celery import signals
from celery.worker.request import Request
from django.contrib.sessions.backends.db import SessionStore
from django.db import InterfaceError, OperationalError, connection

from jobs import agent, callbacks, dispatch, execution, processes, reconciler
from rauskuclaw.celery import app
from rauskuclaw.config import load
from rauskuclaw.wire import job_queue

logger = logging.getLogger("jobs.tasks")

CALLBACK_BATCH = 50


class AttemptRequest(Request):
    """Tells the agent what the pool does with an attempt. Runs in the worker's parent process."""

    @property
    def _attempt(self) -> tuple[uuid.UUID, int]:
        """The job, and the fencing number that the claim gives it: one more than the message's."""
        return uuid.UUID(self.kwargs["job_id"]), self.kwargs["fence"] + 1

    def on_accepted(self, pid: Any, time_accepted: float) -> None:
        """A pool process has the message."""
        if (current := agent.current()) is not None:
            current.accepted(*self._attempt, pid)
        super().on_accepted(pid, time_accepted)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """The hard limit: Celery kills the pool process next; what it spawned dies first, while it is its child."""
        if not soft and (current := agent.current()) is not None:
            processes.kill_descendants(cast(int, self.worker_pid))
            current.ended(*self._attempt, reason="hard timeout")
        super().on_timeout(soft, timeout)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        """The task raised, or its process died."""
        if (current := agent.current()) is not None:
            error = getattr(exc_info.exception, "exc", exc_info.exception)
            # The hard limit comes here too, and first.
            reason = "hard timeout" if isinstance(error, TimeLimitExceeded) else "lost"
            current.ended(*self._attempt, reason=reason, detail=str(error))
        super().on_failure(exc_info, send_failed_event, return_ok)

    def __init_subclass__(cls) -> None:
        """Celery derives a class for each task that writes `on_success` anew and calls no super: so wrap that one."""
        super().__init_subclass__()
        derived = cls.on_success

        def on_success(self: AttemptRequest, failed__retval__runtime: Any, **kwargs: Any) -> None:
            if (current := agent.current()) is not None and not failed__retval__runtime[0]:
                current.ended(*self._attempt)
            derived(self, failed__retval__runtime, **kwargs)

        setattr(cls, "on_success", on_success)  # noqa: B010 - to a type checker, methods are not assignable


@app.task(name=dispatch.TASK_RUN_ATTEMPT, Request=AttemptRequest, ignore_result=True)
def run_attempt(*, job_id: str, fence: int) -> None:
    """Run one attempt of a job. Delivered twice it is harmless: the claim names the fence."""
    # Here and not in worker_process_init: billiard sets its own signal handlers after that.
    execution.install_signal_handlers()
    execution.run_attempt(uuid.UUID(job_id), fence, worker=load().worker_id, node=agent.node_id())


@contextlib.contextmanager
def _database_may_be_away() -> Iterator[None]:
    """The heartbeat's answer to a database that is away: leave it to the next tick, with a new connection."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        logger.warning("the database is away, the next tick tries again: %s", error)
        connection.close()


@app.task(name="jobs.reconcile", ignore_result=True)
def reconcile() -> None:
    """Beat's heartbeat, each second. Any number may run at once."""
    with _database_may_be_away():
        reconciler.note_beat()
        reconciler.reconcile()


@app.task(name=dispatch.TASK_DELIVER_CALLBACKS, ignore_result=True)
def deliver_callbacks() -> None:
    """Deliver the callbacks that are due. Two runs share the work: each row is claimed by one."""
    with _database_may_be_away():
        while callbacks.deliver_due(limit=CALLBACK_BATCH):
            pass


@app.task(name="jobs.prune", ignore_result=True)
def prune() -> None:
    """Delete what has expired."""
    with _database_may_be_away():
        reconciler.prune()
        SessionStore.clear_expired()


@signals.worker_init.connect
def _make_agent(sender: Any, **_kwargs: Any) -> None:
    consumed = sender.app.amqp.queues.consume_from
    queues = [queue for queue in load().worker_queue_allowlist if job_queue(queue) in consumed]
    if queues:
        agent.start(queues=queues, concurrency=load().worker_concurrency)
        processes.become_subreaper()


@signals.worker_ready.connect
def _start_agent(**_kwargs: Any) -> None:
    if (current := agent.current()) is not None:
        current.start()


@signals.worker_shutdown.connect
def _stop_agent(**_kwargs: Any) -> None:
    if (current := agent.current()) is not None and current.is_alive():
        current.stop()


@signals.worker_process_init.connect
def _prepare_pool_process(**_kwargs: Any) -> None:
    processes.die_with_parent()
    processes.become_subreaper()
