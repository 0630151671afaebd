"""Threads, messages and suggestions as the API shows them: the one place that knows the shapes and key orders."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from chat.models import Message, Role, Suggestion, Thread
from chat.requests import Settings
from chat.suggesting import without_suggestions
from jobs.approvals.models import Approval
from jobs.approvals.representation import approval_json
from rauskuclaw.api.fields import iso_ms, iso_ms_or_none

Json = Any
"""Whatever JSON can hold, as Python objects."""
_TITLES = {Role.USER: "You", Role.ASSISTANT: "Assistant", Role.RESULTS: "Results"}


def thread_json(thread: Thread) -> dict[str, Json]:
    """A thread; `settings` with its defaults."""
    return {
        "id": str(thread.id),
        "title": thread.title,
        "queue": thread.queue,
        "archived": thread.archived_at is not None,
        "head_id": thread.head_id and str(thread.head_id),
        "settings": Settings.model_validate(thread.settings).model_dump(mode="json"),
        "created_by": thread.created_by,
        "created_at": iso_ms(thread.created_at),
        "updated_at": iso_ms(thread.updated_at),
    }


def message_json(
    message: Message, siblings: Sequence[UUID] = (), approvals: Sequence[Approval] = ()
) -> dict[str, Json]:
    """A message. `text` is as it was written, `shown_text` without the jobs it suggests. siblings: the branches that
    begin where it does, itself among them. approvals: what a person must decide before it can be written on."""
    return {
        "id": str(message.id),
        "thread_id": str(message.thread_id),
        "parent_id": message.parent_id and str(message.parent_id),
        "role": message.role,
        "state": message.state,
        "text": message.text,
        "shown_text": without_suggestions(message.text) if message.role == Role.ASSISTANT else message.text,
        "error": message.error,
        "facts": message.facts,
        "job_id": message.job_id and str(message.job_id),
        "created_by": message.created_by,
        "created_at": iso_ms(message.created_at),
        "ended_at": iso_ms_or_none(message.ended_at),
        "branch_ids": [str(id_) for id_ in siblings] or [str(message.id)],
        "suggestions": [suggestion_json(it) for it in message.suggestions.all()],
        "approvals": [approval_json(it) for it in approvals],
    }


def messages_json(
    shown: Sequence[Message],
    all_of_them: Sequence[Message],
    approvals: Mapping[UUID | None, Sequence[Approval]] | None = None,
) -> list[dict[str, Json]]:
    """Messages, each with the branches beside it. approvals: by the job that waits for them."""
    beside: Mapping[UUID | None, list[UUID]] = defaultdict(list)
    for message in all_of_them:
        beside[message.parent_id].append(message.pk)
    awaited = approvals or {}
    return [message_json(message, beside[message.parent_id], awaited.get(message.job_id, ())) for message in shown]


def suggestion_json(suggestion: Suggestion) -> dict[str, Json]:
    """A job that an answer asked for, and what has become of it."""
    return {
        "id": str(suggestion.id),
        "position": suggestion.position,
        **suggestion.fields,
        "state": suggestion.state,
        "needs_approval": bool(suggestion.reasons),
        "reasons": suggestion.reasons,
        "problem": suggestion.problem,
        "job_id": suggestion.job_id and str(suggestion.job_id),
        "job_status": suggestion.job_status or None,
        "decided_by": suggestion.decided_by or None,
        "decided_at": iso_ms_or_none(suggestion.decided_at),
    }


def as_markdown(thread: Thread, branch: Sequence[Message]) -> str:
    """The branch for people."""
    parts = [f"# {thread.title or thread.id}"]
    for message in branch:
        parts.append(f"## {_TITLES[Role(message.role)]}, {iso_ms(message.created_at)}")
        parts.append(message.text or f"_{message.state}_")
        for it in message.suggestions.all():
            given = json.dumps(it.fields["input"], ensure_ascii=False)
            parts.append(f"- `{it.fields['type']}`: {it.job_status or it.state}\n  `{given}`")
    return "\n\n".join(parts) + "\n"
