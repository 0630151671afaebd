"""The parts of an attempt that are the same in every pool: the claim, its handler and input, and how it ends."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db import InterfaceError, OperationalError, connection
from pydantic import BaseModel

from jobs import dispatch, groups, lifecycle
from jobs.handlers import inputs, registry
from jobs.handlers.base import AttemptFailed, Level, Retry, Spawn, TimeLimit
from jobs.handlers.inputs import InvalidInput
from jobs.log_buffer import LogBuffer
from jobs.models import Job, Outcome
from jobs.storable import NotStorable
from jobs.transitions import Claim, Claimable, Finish
from rauskuclaw import errors, tracing

logger = logging.getLogger("jobs.attempts")

DATABASE_AWAY = (OperationalError, InterfaceError)
CLAIM_PATIENCE_SEC = 30.0
"""How long a claim waits for Postgres. After that the message is dropped and the reconciler publishes it again."""
FINISH_PATIENCE_SEC = 600.0
"""How long a finished attempt waits for Postgres to take its result. After that its lease decides."""

T = TypeVar("T")


def claim(wanted: Claimable) -> Claim | None:
    """Claim an attempt, waiting for Postgres while it is away. None: it is not to be had (any more).

    One that goes on after its children comes with what they came to; where that is too much, it fails here.
    """
    claimed = with_patience(lambda: lifecycle.claim(wanted), CLAIM_PATIENCE_SEC)
    return None if claimed is None else _with_children(claimed, wanted.worker)


def _with_children(claimed: Claim, worker: str) -> Claim | None:
    if not claimed.phase:
        return claimed
    try:
        return with_patience(lambda: groups.with_children(claimed), CLAIM_PATIENCE_SEC)
    except AttemptFailed as error:
        settle(claimed, failed(claimed, error), [], worker)
        return None


def traced(claim: Claim, worker: str, since_ns: int) -> AbstractContextManager[Any]:
    """The spans of an attempt, in the trace of whoever made the job: its claim, since `since_ns`, and what runs now."""
    facts = {"job_id": str(claim.id), "queue": claim.queue, "attempt": claim.fence, "worker": worker}
    tracing.past_span("claim", parent=claim.trace, since_ns=since_ns, **facts)
    return tracing.span(f"run {claim.type}", parent=claim.trace, kind="consumer", **facts)


def refill(claim: Claim, *, slots: int) -> None:
    """Fill the window that this claim found half empty. slots: how many attempts the claiming worker runs at once."""
    if claim.has_backlog and claim.left_in_window <= max(2, slots):
        _fill(claim)


def make_room(claim: Claim) -> None:
    """The attempt has ended: if it took up a limit, let the job in that waited for it."""
    if claim.takes_limit:
        _fill(claim)


def _fill(claim: Claim) -> None:
    with_patience(lambda: dispatch.fill(claim.queue, claim.pool, wait=False), CLAIM_PATIENCE_SEC)


@dataclass(frozen=True)
class Ending:
    """How an attempt ended, before Postgres is told. code None with outcomes SUCCEEDED and SUSPENDED."""

    outcome: Outcome
    result: Any = None
    code: str | None = None
    message: str = ""
    details: Any = None
    retry: bool = False
    retry_after_sec: float | None = None
    spawn: Spawn | None = None
    """With SUSPENDED: what the job makes and waits for."""


def misrouted(claim: Claim, handler: registry.AnyHandler) -> Ending:
    """The handler is not for the pool that the job came to, as when its package was upgraded meanwhile: try again."""
    Job.objects.filter(pk=claim.id).update(pool=registry.pool_of(handler.id))
    message = f"the handler {handler.id} has moved to the {handler.pool} pool, and the job goes after it"
    return Ending(Outcome.FAILED, code=errors.HANDLER_ERROR.name, message=message, retry=True, retry_after_sec=0)


def succeeded(output: Any) -> Ending:
    """The handler returned."""
    result = output.model_dump(mode="json") if isinstance(output, BaseModel) else output
    return Ending(Outcome.SUCCEEDED, result=result)


def failed(claim: Claim, error: BaseException) -> Ending:
    """The handler raised, or called `ctx.spawn`: whatever it was, it ends this attempt and not the worker."""
    if isinstance(error, Spawn):
        return Ending(Outcome.SUSPENDED, spawn=error)
    if isinstance(error, TimeLimit):
        limit = {"timeout_sec": claim.timeout_sec}
        return Ending(Outcome.TIMED_OUT, code=errors.JOB_TIMEOUT.name, message="timeout", details=limit, retry=True)
    if isinstance(error, AttemptFailed):
        after = error.after_sec if isinstance(error, Retry) else None
        return Ending(
            Outcome.FAILED, code=error.code.name, message=error.message, details=error.details,
            retry=error.retryable, retry_after_sec=after,
        )  # fmt: skip
    logger.error("job %s (%s): handler %s raised", claim.id, claim.type, claim.handler, exc_info=error)
    code = errno.errorcode.get(error.errno or 0) if isinstance(error, OSError) else None
    message = str(error) or type(error).__name__
    details = {"exception": type(error).__name__}
    return Ending(Outcome.FAILED, code=code or errors.HANDLER_ERROR.name, message=message, details=details, retry=True)


def handler_of(claim: Claim) -> registry.AnyHandler:
    """The handler that the job's type names now. Raises AttemptFailed."""
    if claim.handler is None:
        raise AttemptFailed(errors.JOB_TYPE_UNKNOWN, f"Unknown job type {claim.type!r}: create it or mend the job")
    if not claim.enabled:
        raise AttemptFailed(
            errors.JOB_TYPE_DISABLED, f"job type {claim.type!r} is disabled; enable it in the job types"
        )
    handler = registry.get(claim.handler)
    if handler is None:
        raise AttemptFailed(
            errors.HANDLER_UNKNOWN, f"Unknown handler {claim.handler!r}: no installed package brings it"
        )
    return handler


def parsed_input(claim: Claim, handler: registry.AnyHandler, buffer: LogBuffer) -> BaseModel:
    """The job's input as the handler's model. Raises AttemptFailed."""
    try:
        return inputs.parse(handler, claim.input)
    except InvalidInput as error:

        def log(message: str, level: Level = "info", **meta: Any) -> None:
            buffer.add(message, level, meta)

        raise handler.on_invalid_input(log, str(error)) from None


def settle(claim: Claim, ending: Ending, lines: list[dict[str, Any]], worker: str) -> None:
    """Tell Postgres how the attempt ended, with its last log lines; wait for Postgres while it is away."""
    with_patience(lambda: _settle(claim, ending, lines, worker), FINISH_PATIENCE_SEC)


def _settle(claim: Claim, ending: Ending, lines: list[dict[str, Any]], worker: str) -> None:
    if ending.spawn is None:
        accepted = lifecycle.end(_end_of(claim, ending, lines))
    else:
        try:
            accepted = groups.spawn(claim, ending.spawn, lines)
        except AttemptFailed as refused:
            accepted = lifecycle.end(_end_of(claim, failed(claim, refused), lines))
    if not accepted:
        _note_stale(claim, ending, worker)


def turn_over(
    claim: Claim, ending: Ending, lines: list[dict[str, Any]], wanted: Claimable
) -> tuple[bool, Claim | None]:
    """`settle` one attempt and `claim` the next, in one transaction. False: Postgres is away, and neither was done.

    False too for an attempt that ends by making jobs, which is a transaction of its own.
    """
    if ending.spawn is not None:
        return False, None
    try:
        accepted, claimed = lifecycle.turn_over(_end_of(claim, ending, lines), wanted)
    except DATABASE_AWAY as error:
        logger.warning("the database is away: %s", error)
        connection.close()
        return False, None
    if not accepted:
        with_patience(lambda: _note_stale(claim, ending, wanted.worker), CLAIM_PATIENCE_SEC)
    return True, None if claimed is None else _with_children(claimed, wanted.worker)


def _end_of(claim: Claim, ending: Ending, lines: list[dict[str, Any]]) -> Finish:
    if ending.outcome == Outcome.SUCCEEDED:
        try:
            return Finish.success(claim.id, claim.fence, result=ending.result, lines=lines)
        except NotStorable as error:
            message = f"the result cannot be stored: {error}"
            ending = Ending(Outcome.FAILED, code=errors.RESULT_INVALID.name, message=message)
    wait = claim.retry.wait_sec(claim.attempts) if ending.retry_after_sec is None else ending.retry_after_sec
    return Finish.failure(
        claim.id, claim.fence, code=ending.code, message=ending.message, details=ending.details, retry=ending.retry,
        retry_in_sec=wait, handler=claim.handler or "", outcome=ending.outcome, lines=lines,
    )  # fmt: skip


def _note_stale(claim: Claim, ending: Ending, worker: str) -> None:
    meta = {"attempt": claim.fence, "worker": worker, "outcome": ending.outcome}
    lifecycle.append_logs(claim.id, [("warn", "Stale attempt ignored", meta)])


def with_patience(step: Callable[[], T], patience_sec: float) -> T | None:
    """Do a step that needs Postgres; while it is away, wait and try again. None when the patience ran out."""
    give_up_at = time.monotonic() + patience_sec
    wait = 0.1
    while True:
        try:
            return step()
        except DATABASE_AWAY as error:
            connection.close()
            if time.monotonic() + wait > give_up_at:
                logger.error("gave up after %.0f s without the database: %s", patience_sec, error)
                return None
            logger.warning("the database is away, trying again in %.1f s: %s", wait, error)
            time.sleep(wait)
            wait = min(2.0, wait * 2)
