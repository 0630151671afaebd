"""The parts of an attempt that are the same in every pool: the claim, its handler and input, and how it ends."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connection
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
    return next(iter(claim_all([wanted])), None)


def claim_all(wanted: Sequence[Claimable]) -> list[Claim]:
    """`claim` those of one message; the ones to be had, in order."""
    claimed = with_patience(lambda: lifecycle.claim_all(wanted), CLAIM_PATIENCE_SEC)
    return _with_all_children(claimed or [], wanted[0].worker)


def _with_all_children(claims: Sequence[Claim], worker: str) -> list[Claim]:
    return [whole for claim in claims if (whole := _with_children(claim, worker)) is not None]


def _with_children(claimed: Claim, worker: str) -> Claim | None:
    if not claimed.phase:
        return claimed
    try:
        return with_patience(lambda: groups.with_children(claimed), CLAIM_PATIENCE_SEC)
    except AttemptFailed as error:
        settle([Done(claimed, failed(claimed, error))], worker)
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


def make_room(claims: Iterable[Claim]) -> None:
    """These attempts have ended: where one took up a limit, let the jobs in that waited for it."""
    for claim in {(claim.queue, claim.pool): claim for claim in claims if claim.takes_limit}.values():
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


@dataclass(frozen=True)
class Done:
    """An attempt that has run, and what Postgres is to be told of its end, with its last log lines."""

    claim: Claim
    ending: Ending
    lines: Sequence[dict[str, Any]] = ()
    ran_ms: int | None = None

    @property
    def goes_alone(self) -> bool:
        """Whether its end is a transaction of its own: it makes jobs, or carries much."""
        return self.ending.spawn is not None or self.finish.is_large

    @cached_property
    def finish(self) -> Finish:
        """Its end as lifecycle takes it; not for one that makes jobs."""
        return _end_of(self)


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


def settle(done: Sequence[Done], worker: str) -> None:
    """Tell Postgres how these attempts ended; wait for Postgres while it is away.

    What it refuses to write of one takes no other with it; that one is lost when its lease ends.
    """
    together = [it for it in done if not it.goes_alone]
    left = [it for it in done if it.goes_alone]
    if len(together) > 1:
        together = _left(together, lambda: lifecycle.end_together([it.finish for it in together]))
    for it in [*together, *left]:
        _settle_alone(it, worker)


def _left(done: Sequence[Done], tell: Callable[[], list[Finish]]) -> list[Done]:
    """Those whose end is still to be told: stale ones, those with dependants, or all, if one of them is refused."""
    try:
        # Given up: Postgres was away for so long that their leases have decided.
        left = with_patience(tell, FINISH_PATIENCE_SEC) or []
    except DatabaseError:
        logger.exception("%d attempts could not be ended together", len(done))
        return list(done)
    return [it for it in done if it.finish in left]


def _settle_alone(done: Done, worker: str) -> None:
    try:
        accepted = with_patience(lambda: _tell(done), FINISH_PATIENCE_SEC)
        if accepted is False:
            with_patience(lambda: _note_stale(done, worker), CLAIM_PATIENCE_SEC)
    except DatabaseError:
        logger.exception("how job %s ended cannot be written", done.claim.id)


def _tell(done: Done) -> bool:
    return lifecycle.end(done.finish) if done.ending.spawn is None else _spawn(done, done.ending.spawn)


def _spawn(done: Done, wanted: Spawn) -> bool:
    try:
        return groups.spawn(done.claim, wanted, done.lines)
    except AttemptFailed as refused:
        return lifecycle.end(replace(done, ending=failed(done.claim, refused)).finish)


def turn_over(done: Sequence[Done], wanted: Sequence[Claimable]) -> list[Claim] | None:
    """`settle` attempts and `claim` the next ones, in one transaction. None: neither was done.

    That is so when Postgres is away or refuses an end, and for ends that are transactions of their own.
    """
    if any(it.goes_alone for it in done):
        return None
    try:
        left, claims = lifecycle.turn_over([it.finish for it in done], wanted)
    except DATABASE_AWAY as error:
        logger.warning("the database is away: %s", error)
        connection.close()
        return None
    except DatabaseError as error:
        logger.warning("not ended and claimed together: %s", error)
        return None
    for it in done:
        if it.finish in left:
            _settle_alone(it, wanted[0].worker)
    return _with_all_children(claims, wanted[0].worker)


def _end_of(done: Done) -> Finish:
    claim, ending = done.claim, done.ending
    if ending.outcome == Outcome.SUCCEEDED:
        try:
            return Finish.success(claim.id, claim.fence, result=ending.result, lines=done.lines, ran_ms=done.ran_ms)
        except NotStorable as error:
            message = f"the result cannot be stored: {error}"
            ending = Ending(Outcome.FAILED, code=errors.RESULT_INVALID.name, message=message)
    wait = claim.retry.wait_sec(claim.attempts) if ending.retry_after_sec is None else ending.retry_after_sec
    return Finish.failure(
        claim.id, claim.fence, code=ending.code, message=ending.message, details=ending.details, retry=ending.retry,
        retry_in_sec=wait, handler=claim.handler or "", outcome=ending.outcome, lines=done.lines, ran_ms=done.ran_ms,
    )  # fmt: skip


def _note_stale(done: Done, worker: str) -> None:
    meta = {"attempt": done.claim.fence, "worker": worker, "outcome": done.ending.outcome}
    lifecycle.append_logs(done.claim.id, [("warn", "Stale attempt ignored", meta)])


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
