"""Working memory: what a session is about now (contract 2.9). Replaced whole; it expires."""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from django.db.models.functions import Now
from django.utils import timezone
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from jobs import bodies
from jobs.bodies import Whole, faulty
from jobs.storable import dumps
from memory import sql
from memory.models import Session
from rauskuclaw import errors
from rauskuclaw.api.fields import iso_ms
from rauskuclaw.errors import Problem
from rauskuclaw.patterns import SESSION_ID

SCOPE = "agent.working_memory"
"""The memory scope that working memory was kept in by the first server; a reset of it resets sessions."""
ENTRIES = 7
"""What the first server kept a session in, and so what deleting one is said to delete."""
DEFAULT_TTL_SEC, MIN_TTL_SEC, MAX_TTL_SEC = 86_400, 60, 604_800
MAX_ID_CHARS = 160
MAX_ITEMS = 500
SHOWN_STEPS, SHOWN_QUESTIONS = 5, 3
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def _now(value: object) -> object:
    return _iso_now() if value in (None, "") else value


def _id(value: object) -> object:
    return str(uuid.uuid4()) if value in (None, "") else value


def _iso_now() -> str:
    return iso_ms(timezone.now())


TaskStatus = Literal["pending", "in_progress", "completed", "blocked"]
Severity = Literal["low", "medium", "high"]
Text = Annotated[str, StringConstraints(max_length=20_000)]
At = Annotated[str, BeforeValidator(_now), Field(default_factory=_iso_now, max_length=40)]


class Task(BaseModel):
    """Something the session does."""

    model_config = ConfigDict(extra="ignore")

    id: Annotated[str, BeforeValidator(_id), Field(default_factory=lambda: str(uuid.uuid4()), max_length=200)]
    description: Text = ""
    status: TaskStatus = "pending"
    created_at: At
    updated_at: At


class Blocker(BaseModel):
    """What keeps the session from going on."""

    model_config = ConfigDict(extra="ignore")

    description: Text = ""
    severity: Severity = "medium"
    created_at: At


class State(BaseModel):
    """All that a session keeps. What is not sent is empty."""

    model_config = ConfigDict(extra="ignore")

    current_goal: Text | None = None
    active_tasks: Annotated[list[Task], Field(max_length=MAX_ITEMS)] = []
    completed_steps: Annotated[list[Text], Field(max_length=MAX_ITEMS)] = []
    blockers: Annotated[list[Blocker], Field(max_length=MAX_ITEMS)] = []
    open_questions: Annotated[list[Text], Field(max_length=MAX_ITEMS)] = []
    context_summary: Text | None = None


class SaveRequest(BaseModel):
    """The body of POST /v1/working-memory."""

    model_config = ConfigDict(extra="ignore")

    session_id: str | None = None
    state: State = State()
    ttl_sec: Annotated[Whole, Field(strict=True, ge=MIN_TTL_SEC, le=MAX_TTL_SEC)] = DEFAULT_TTL_SEC


def parse_save(body: object) -> SaveRequest:
    """A state that is no object is an empty one, and null is as good as nothing. Raises VALIDATION_ERROR."""
    if isinstance(body, Mapping):
        body = {name: value for name, value in body.items() if value is not None}
        if not isinstance(body.get("state", {}), Mapping):
            del body["state"]
        elif "state" in body:
            body["state"] = {name: value for name, value in body["state"].items() if value is not None}
    wanted = bodies.parse(SaveRequest, body)
    if wanted.session_id is not None:
        check_id(wanted.session_id)
    return wanted


def check_id(session_id: str) -> str:
    """Raises VALIDATION_ERROR for what is no session id."""
    if len(session_id) > MAX_ID_CHARS or not SESSION_ID.fullmatch(session_id):
        raise faulty("session_id", f"must be session. and a-z 0-9 . _ -, {MAX_ID_CHARS} characters at most")
    return session_id


def new_id() -> str:
    """`session.<ms base36>.<8 hex>`."""
    number, digits = time.time_ns() // 1_000_000, ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return f"session.{digits}.{secrets.token_hex(4)}"


def save(wanted: SaveRequest, *, by: str) -> Session:
    """Replace what the session held, all of it."""
    session_id = wanted.session_id or new_id()
    (row,) = sql.rows(
        "save_session",
        {"id": session_id, "state": dumps(wanted.state.model_dump()), "ttl_sec": wanted.ttl_sec, "written_by": by},
    )
    return Session.objects.get(pk=row["id"])


def sessions(limit: int) -> list[Session]:
    """The newest sessions that have not expired. Served by session_newest."""
    return list(Session.objects.filter(expires_at__gt=Now()).order_by("-updated_at", "-id")[:limit])


def session(session_id: str) -> Session:
    """Raises NOT_FOUND, also when it has expired."""
    found = Session.objects.filter(pk=session_id, expires_at__gt=Now()).first()
    if found is None:
        raise Problem(errors.NOT_FOUND, "No such session: check the id; it may have expired.")
    return found


def clear(session_id: str) -> int:
    """Forget a session. How many entries that were, as the first server counted them; 0 if it is unknown."""
    return ENTRIES if Session.objects.filter(pk=session_id).delete()[0] else 0


def state_json(session: Session) -> dict[str, Any]:
    """The contract's state object."""
    return {"session_id": session.pk, **session.state, "updated_at": iso_ms(session.updated_at)}


def as_text(session: Session) -> str:
    """Goal, tasks, the last steps, blockers, some questions and the summary, each on lines of its own."""
    state = State.model_validate(session.state)
    lines = [f"Working memory of {session.pk}:"]
    if state.current_goal:
        lines.append(f"Goal: {state.current_goal}")
    lines += _section("Tasks", [f"[{task.status}] {task.description}" for task in state.active_tasks])
    lines += _section("Last steps", state.completed_steps[-SHOWN_STEPS:])
    lines += _section("Blockers", [f"[{blocker.severity}] {blocker.description}" for blocker in state.blockers])
    lines += _section("Open questions", state.open_questions[:SHOWN_QUESTIONS])
    if state.context_summary:
        lines.append(f"Summary: {state.context_summary}")
    return "\n".join(lines)


def _section(title: str, items: list[str]) -> list[str]:
    return [f"{title}:", *(f"- {item}" for item in items)] if items else []
