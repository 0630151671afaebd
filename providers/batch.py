"""Making the calls of tools that a client asks for, and perhaps waiting for them (contract 12.2)."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from django.db import InterfaceError, OperationalError, connection
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from access.principals import Principal
from jobs import results, submission
from jobs.bodies import Whole
from jobs.models import TERMINAL, Job, Status
from jobs.requests import parse_new_job
from providers import tools
from providers.mcp import tools as mcp
from rauskuclaw import errors
from rauskuclaw.errors import Problem
from rauskuclaw.patterns import QUEUE

DEFAULT_WAIT_MS, MOST_WAIT_MS = 15_000, 60_000
QUICK_SEC, QUICK_POLL_SEC, POLL_SEC = 1.0, 0.2, 0.5


class Call(BaseModel):
    """One call."""

    model_config = ConfigDict(strict=True, extra="ignore")

    call_id: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]
    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]
    arguments: dict[str, Any] | None = None


class Batch(BaseModel):
    """What is to be called, and whether to wait."""

    model_config = ConfigDict(strict=True, extra="ignore")

    calls: Annotated[list[Call], Field(min_length=1, max_length=20)]
    mode: Literal["sync", "async"] = "sync"
    wait_ms: Whole = DEFAULT_WAIT_MS
    queue: str = "default"

    @field_validator("wait_ms")
    @classmethod
    def _wait(cls, value: int) -> int:
        if value and not 100 <= value <= MOST_WAIT_MS:
            raise ValueError(f"wait_ms must be 100 to {MOST_WAIT_MS}")
        return value or DEFAULT_WAIT_MS

    @field_validator("queue")
    @classmethod
    def _queue(cls, value: str) -> str:
        if not QUEUE.fullmatch(value):
            raise ValueError("queue must be 1 to 80 of a-z 0-9 . _ : -")
        return value


@dataclass
class Made:
    """What became of one call. job_id None: nothing was made, and `error` says why."""

    call: Call
    job_id: uuid.UUID | None = None
    job_type: str = ""
    error: dict[str, Any] | None = None
    output: Any = None
    is_done: bool = field(default=False)

    def as_result(self, *, waited: bool) -> dict[str, Any]:
        """Its entry of `results`."""
        named = {"call_id": self.call.call_id, "name": self.call.name}
        if self.job_id is None:
            return {"ok": False, **named, "error": self.error}
        if not waited:
            return {"ok": True, **named, "job_id": str(self.job_id), "job_type": self.job_type}
        if not self.is_done:
            error = {"code": errors.TIMEOUT.name, "message": "the job has not ended yet; read it later"}
            return {**named, "ok": False, "pending": True, "job_id": str(self.job_id), "error": error}
        told = {**named, "job_id": str(self.job_id), "job_type": self.job_type}
        return {**told, "ok": False, "error": self.error} if self.error else {**told, "ok": True, "output": self.output}

    def as_message(self) -> dict[str, Any]:
        """As a message for the model that asked."""
        result = self.as_result(waited=True)
        content: dict[str, Any] = {
            name: value for name, value in result.items() if name in {"ok", "error", "pending", "job_id"}
        }
        if result["ok"]:
            content["result"] = result["output"]
        text = json.dumps(content, ensure_ascii=False)
        return {"role": "tool", "tool_call_id": self.call.call_id, "name": self.call.name, "content": text}


def make(batch: Batch, principal: Principal) -> list[Made]:
    """A job for each call; what cannot be made says why in its place."""
    return [_make_one(call, batch.queue, principal) for call in batch.calls]


class Waiting:
    """Waiting for what was made, for `wait_ms` at most; `render` makes the body of what became of it."""

    def __init__(self, made: Sequence[Made], wait_ms: int, render: Callable[[], bytes]) -> None:
        self._made = made
        self._wait_sec = wait_ms / 1000
        self._render = render
        self._began = time.monotonic()

    def look(self, *, hurry: bool = False) -> bytes | None:
        """The body as soon as all have ended or the time is over; hurry: now. A Postgres that is away is waited for."""
        try:
            is_over = _all_ended(self._made)
        except (OperationalError, InterfaceError):
            connection.close()
            is_over = False
        return self._render() if is_over or hurry or self._passed_sec >= self._wait_sec else None

    def pause_sec(self) -> float:
        """Short at first, and never beyond the end."""
        pause_sec = QUICK_POLL_SEC if self._passed_sec < QUICK_SEC else POLL_SEC
        return max(0.0, min(pause_sec, self._wait_sec - self._passed_sec))

    @property
    def _passed_sec(self) -> float:
        return time.monotonic() - self._began


def _all_ended(made: Sequence[Made]) -> bool:
    """Note what has ended, and say whether all has."""
    open_ones = {it.job_id: it for it in made if it.job_id is not None and not it.is_done}
    for job in Job.objects.filter(pk__in=list(open_ones), status__in=TERMINAL):
        _note(open_ones[job.pk], job)
    return all(it.is_done for it in open_ones.values())


def _make_one(call: Call, queue: str, principal: Principal) -> Made:
    tool = tools.find(call.name)
    if tool is None:
        return _refused(call, errors.UNKNOWN_TOOL, f"there is no tool {call.name!r}; GET /v1/agent-tools lists them")
    given = call.arguments or {}
    if tool.mcp is not None and (fault := mcp.refusal_of(tool.mcp) or mcp.argument_fault(tool.mcp, given)):
        return _refused(call, errors.JOB_CREATE_FAILED, fault)
    body = {"type": tool.job_type, "queue": queue, "input": tool.input_of(given), "tags": ["agent-tool"]}
    try:
        new = parse_new_job(body)
        job = submission.submit(new, created_by=principal.actor, principal=principal).job
    except Problem as problem:
        if problem.code is errors.FORBIDDEN:
            return _refused(call, errors.FORBIDDEN, problem.message, problem.details)
        # The type is ours to name, so what is wrong with it is that it is not there or switched off.
        is_off = any(fault["path"] == "type" for fault in (problem.details or {}).get("errors", ()))
        return _refused(call, errors.JOB_TYPE_DISABLED if is_off else errors.JOB_CREATE_FAILED, problem.message)
    return Made(call, job.pk, tool.job_type)


def _refused(call: Call, code: errors.Code, message: str, details: Any = None) -> Made:
    return Made(call, error=tools.error_payload(code.name, message, details)["error"])


def _note(made: Made, job: Job) -> None:
    made.is_done = True
    if job.status == Status.SUCCEEDED:
        made.output = tools.result_payload(results.of(job))["result"]
        return
    error: dict[str, Any] = job.error or {}
    code = errors.JOB_CANCELLED.name if job.status == Status.CANCELLED else error.get("code") or errors.JOB_FAILED.name
    made.error = {"code": code, "message": error.get("message") or f"the job was {job.status}"}
