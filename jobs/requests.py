"""What a request says of a job: its fields, their bounds, and what every input is checked for (contract 2.3)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs import bodies, flow
from jobs.callbacks import callback_url_problem
from jobs.flow import NO_FLOW, Flow
from jobs.handlers import inputs, registry
from jobs.handlers.inputs import InvalidInput
from rauskuclaw import errors
from rauskuclaw.errors import Problem
from rauskuclaw.patterns import QUEUE

MAX_TAGS = 20
MAX_DEPENDENCIES = 50
MAX_DEPENDENCY_CHARS = 120


@dataclass(frozen=True)
class NewJob:
    """A job as asked for. None: the job type's default."""

    type: str
    queue: str = "default"
    input: Any = None
    priority: int | None = None
    timeout_sec: int | None = None
    max_attempts: int | None = None
    callback_url: str | None = None
    tags: tuple[str, ...] = ()
    flow: Flow = NO_FLOW


def parse_new_job(body: object) -> NewJob:
    """The request body's fields (contract 2.3); unknown ones are ignored. Raises VALIDATION_ERROR for all faults."""
    if not isinstance(body, Mapping):
        raise bodies.invalid("", "the body must be a JSON object")
    faults: list[tuple[str, str]] = []
    type_ = body.get("type")
    if not isinstance(type_, str) or not type_.strip():
        faults.append(("type", "type is required: the name of a job type"))
    queue = body.get("queue")
    if queue is None or (isinstance(queue, str) and not queue.strip()):
        queue = "default"
    elif not isinstance(queue, str) or not QUEUE.fullmatch(queue.strip()):
        faults.append(("queue", "queue must be 1 to 80 characters of a-z 0-9 . _ : -"))
    callback_url = str(body["callback_url"]) if body.get("callback_url") else None
    if callback_url is not None and (problem := callback_url_problem(callback_url)):
        faults.append(("callback_url", problem))
    new = {
        "priority": _integer(body, "priority", 0, 10, faults),
        "timeout_sec": _integer(body, "timeout_sec", 1, 3600, faults),
        "max_attempts": _integer(body, "max_attempts", 1, 10, faults),
    }
    turn = flow.parse(body, faults)
    if faults:
        raise bodies.refused(faults)
    return NewJob(
        type=str(type_).strip(),
        queue=str(queue).strip(),
        input=body.get("input"),
        callback_url=callback_url,
        tags=tags_of(body.get("tags")),
        flow=turn,
        **new,
    )


def _integer(body: Mapping[str, Any], name: str, low: int, high: int, faults: list[tuple[str, str]]) -> int | None:
    value = bodies.whole(body.get(name))
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and low <= value <= high):
        return value
    faults.append((name, f"{name} must be a whole number from {low} to {high}"))
    return None


def tags_of(value: Any) -> tuple[str, ...]:
    """The first MAX_TAGS of a list, each a text; none of anything else (contract 2.3)."""
    tags = value[:MAX_TAGS] if isinstance(value, list) else []
    return tuple(tag if isinstance(tag, str) else json.dumps(tag, ensure_ascii=False) for tag in tags)


def check_input(value: Any, handler_id: str) -> None:
    """The checks of an input at creation (contract 2.3): those of every job, then the handler's. Raises Problem."""
    if isinstance(value, Mapping):
        _check_common(value)
    handler = registry.get(handler_id)
    if handler is None or not handler.checks_input_at_creation:
        return
    try:
        inputs.parse(handler, value)
    except InvalidInput as error:
        raise Problem(errors.VALIDATION_ERROR, str(error), {"errors": error.faults}) from None


def _check_common(value: Mapping[str, Any]) -> None:
    depends_on = value.get("depends_on")
    if "depends_on" in value and not (
        isinstance(depends_on, list)
        and len(depends_on) <= MAX_DEPENDENCIES
        and all(isinstance(item, str) and item.strip() and len(item) <= MAX_DEPENDENCY_CHARS for item in depends_on)
    ):
        raise bodies.invalid(
            "input.depends_on",
            f"input.depends_on must be an array of at most {MAX_DEPENDENCIES} job ids,"
            f" each 1 to {MAX_DEPENDENCY_CHARS} characters",
        )
    if "memory" in value and value["memory"] is not False and not isinstance(value["memory"], Mapping):
        raise bodies.invalid("input.memory", "input.memory must be false or an object")
    if "memory_write" in value:
        _check_memory_write(value["memory_write"])


def _check_memory_write(value: Any) -> None:
    if not isinstance(value, Mapping):
        raise bodies.invalid("input.memory_write", "input.memory_write must be an object")
    scope, key, ttl = value.get("scope"), value.get("key"), value.get("ttl_sec")
    if not isinstance(scope, str) or not scope.strip():
        raise bodies.invalid("input.memory_write.scope", "input.memory_write.scope must be a non-empty string")
    if key is not None and not isinstance(key, str):
        raise bodies.invalid("input.memory_write.key", "input.memory_write.key must be a string")
    if ttl is not None and (isinstance(ttl, bool) or not isinstance(ttl, int) or ttl < 0):
        raise bodies.invalid(
            "input.memory_write.ttl_sec", "input.memory_write.ttl_sec must be a whole number from 0, or null"
        )
