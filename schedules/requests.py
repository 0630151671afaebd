"""What a request says of a schedule: its fields, their bounds, their defaults (contract 9, and our policies)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, field_validator, model_validator

from jobs import bodies, flow
from jobs.bodies import MAX_LIMIT, Moment, Whole, faulty
from jobs.callbacks import callback_url_problem
from jobs.requests import tags_of
from rauskuclaw import errors
from rauskuclaw.errors import Problem
from rauskuclaw.patterns import JOB_TYPE, QUEUE
from schedules import cron
from schedules.cadence import zone
from schedules.models import (
    MAX_CATCH_UP,
    MAX_FAILURES,
    MAX_INTERVAL_SEC,
    MAX_JITTER_SEC,
    MIN_INTERVAL_SEC,
    Missed,
    Overlap,
)

MAX_START_SEC = 86_400
FLOW_FIELDS = ("concurrency_key", "expires_in_sec", "unique")
CADENCES = ("interval_sec", "cron")


def _truthy(value: object) -> object:
    """JavaScript's truthiness, which the contract goes by; null is told apart by whoever asks."""
    return value if value is None else value not in (0, "")


Truthy = Annotated[bool, BeforeValidator(_truthy)]


class Policy(BaseModel):
    """When a schedule runs and when not. What is not said of a new one is as in the contract."""

    model_config = ConfigDict(strict=True, extra="forbid")

    time_zone: Annotated[str, StringConstraints(max_length=64)] | None = None
    ends_at: Moment | None = None
    jitter_sec: Annotated[Whole, Field(ge=0, le=MAX_JITTER_SEC)] = 0
    missed: Annotated[Missed, Field(strict=False)] = Missed.RUN_ONCE
    catch_up_max: Annotated[Whole, Field(ge=1, le=MAX_CATCH_UP)] = 10
    overlap: Annotated[Overlap, Field(strict=False)] = Overlap.ALLOW
    pause_after_failures: Annotated[Whole, Field(ge=1, le=MAX_FAILURES)] | None = None
    max_runs: Annotated[Whole, Field(ge=1, le=MAX_LIMIT)] | None = None

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, value: str | None) -> str | None:
        zone(value or "")
        return value

    def columns(self) -> dict[str, Any]:
        """What was given, as columns of Schedule."""
        given = self.model_dump(exclude_unset=True)
        return given | ({"time_zone": given["time_zone"] or ""} if "time_zone" in given else {})


class ScheduleChange(BaseModel):
    """What of a schedule can be changed. Unknown fields are ignored; an explicit null where none can be is refused."""

    model_config = ConfigDict(strict=True, extra="ignore")

    name: Annotated[str, StringConstraints(max_length=120)] | None = None
    enabled: Truthy = True
    type: str = ""
    queue: str = "default"
    input: Any = None
    interval_sec: Annotated[Whole, Field(ge=MIN_INTERVAL_SEC, le=MAX_INTERVAL_SEC)] = MIN_INTERVAL_SEC
    cron: str = ""
    start_in_sec: Annotated[Whole, Field(ge=0, le=MAX_START_SEC)] = 0
    starts_at: Moment | None = None
    priority: Annotated[Whole, Field(ge=0, le=10)] = 5
    timeout_sec: Annotated[Whole, Field(ge=1, le=3600)] = 1
    max_attempts: Annotated[Whole, Field(ge=1, le=10)] = 1
    tags: list[Any] = []
    callback_url: str | None = None
    policy: Policy = Policy()
    run_now: Truthy = False

    @field_validator("type")
    @classmethod
    def _type(cls, value: str) -> str:
        if not JOB_TYPE.fullmatch(value.strip()):
            raise ValueError("must be the name of a job type: 3 to 80 of a-z 0-9 . _ -")
        return value.strip()

    @field_validator("queue")
    @classmethod
    def _queue(cls, value: str) -> str:
        if not QUEUE.fullmatch(value.strip()):
            raise ValueError("must be 1 to 80 of a-z 0-9 . _ : -")
        return value.strip()

    @field_validator("cron")
    @classmethod
    def _cron(cls, value: str) -> str:
        cron.parse(value)
        return value.strip()

    @field_validator("callback_url")
    @classmethod
    def _callback(cls, value: str | None) -> str | None:
        if value and (problem := callback_url_problem(value)):
            raise ValueError(problem)
        return value or None

    @model_validator(mode="after")
    def _one_start(self) -> ScheduleChange:
        if {"start_in_sec", "starts_at"} <= self.model_fields_set:
            raise ValueError("send start_in_sec or starts_at, not both")
        return self

    def columns(self) -> dict[str, Any]:
        """What was given, as columns of Schedule; not what moves its next run."""
        given = self.model_dump(exclude_unset=True, exclude={"start_in_sec", "starts_at", "run_now", "policy"})
        if "tags" in given:
            given["tags"] = list(tags_of(given["tags"]))
        if cadence := {name: given[name] for name in CADENCES if name in given}:
            given |= dict.fromkeys(CADENCES) | cadence
        return given | (self.policy.columns() if "policy" in self.model_fields_set else {})


class NewSchedule(ScheduleChange):
    """A schedule to create."""

    type: str


def parse_new(body: object) -> tuple[NewSchedule, dict[str, Any]]:
    """The body of POST /v1/schedules, and its jobs' flow. null means the default. Raises VALIDATION_ERROR."""
    if isinstance(body, Mapping):
        _one_cadence(body, needed=True)
        body = {name: value for name, value in body.items() if value is not None or name in CADENCES}
        if not isinstance(body.get("tags", []), list):
            body = {**body, "tags": []}
        if isinstance(body.get("queue"), str) and not body["queue"].strip():
            body = {**body, "queue": "default"}
    return bodies.parse(NewSchedule, body), _flow(body)


def parse_change(body: object) -> tuple[ScheduleChange, dict[str, Any]]:
    """The body of PATCH /v1/schedules/{id}, and what it says of its jobs' flow. Raises VALIDATION_ERROR, also when it
    holds nothing to change."""
    if isinstance(body, Mapping):
        _one_cadence(body, needed=False)
    change, given = bodies.parse(ScheduleChange, body), _flow(body)
    if not given and not change.model_fields_set:
        known = ", ".join([*ScheduleChange.model_fields, *FLOW_FIELDS])
        raise Problem(errors.VALIDATION_ERROR, f"Nothing to change: send at least one of {known}.")
    return change, given


def parse_preview(body: object) -> ScheduleChange:
    """The body of POST /v1/schedules/preview: what makes a schedule due, no more. Raises VALIDATION_ERROR."""
    if isinstance(body, Mapping):
        _one_cadence(body, needed=True)
        wanted = {*CADENCES, "start_in_sec", "starts_at", "policy"}
        given = {name: value for name, value in body.items() if name in wanted}
        body = {name: value for name, value in given.items() if value is not None or name in CADENCES}
    return bodies.parse(ScheduleChange, body)


def _one_cadence(body: Mapping[str, Any], *, needed: bool) -> None:
    present = [name for name in CADENCES if name in body]
    if len(present) == 1 or not (present or needed):
        return
    message = (
        "send either interval_sec (5 to 86400) or cron, not both"
        if present
        else "send interval_sec (5 to 86400) or cron, e.g. 30 3 * * 1-5"
    )
    raise faulty("interval_sec", message)


def _flow(body: object) -> dict[str, Any]:
    """Those of FLOW_FIELDS that were given, checked as for POST /v1/jobs."""
    if not isinstance(body, Mapping):
        return {}
    faults: list[flow.Fault] = []
    flow.parse(body, faults)
    if faults:
        raise bodies.refused(faults)
    return {name: body[name] for name in FLOW_FIELDS if name in body}
