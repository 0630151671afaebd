"""Bringing back what jobs came to: the text of an answer, the jobs it suggests, and what these came to.

Rung by beat each second, and by whoever reads a thread. Any number may run at once: each row is taken by one, and what
a crash leaves undone the next ring does.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from access.credentials import principal_for_reference
from chat import prompting, queries, suggestions, threads
from chat.models import Message, Role, State, Suggestion, SuggestionState, Thread
from chat.requests import Settings
from jobs import results
from jobs.models import Job, Status
from rauskuclaw.errors import Problem

AT_ONCE = 500
RESULT_CHARS = 4_000
MAX_ROUNDS = 3
"""Answers to results without a person's word between them."""
OPEN = (Status.QUEUED, Status.RUNNING)
_FACTS = (
    "provider", "model", "finish_reason", "usage", "tool_execution", "memory_context", "memory_write",
    "untrusted_sources",
)  # fmt: skip


def settle() -> int:
    """Everything that is due. Returns how many rows were."""
    return settle_answers(Message.objects.all()) + _settle_suggestions() + _report_results()


def settle_answers(messages: QuerySet[Message]) -> int:
    """Finish those whose job has ended. Two statements where none is pending, or none has ended."""
    pending = dict(messages.filter(state=State.PENDING).values_list("pk", "job_id")[:AT_ONCE])
    ended = _ended(pending.values())
    return sum(_settle_answer(pk) for pk, job_id in pending.items() if job_id in ended)


def _ended(job_ids: Collection[UUID | None]) -> dict[UUID | None, str]:
    """Those that run no more, with their status; `deleted` for those that are gone. One statement at most."""
    known = {job_id for job_id in job_ids if job_id is not None}
    statuses = dict(Job.objects.filter(pk__in=known).values_list("pk", "status")) if known else {}
    return {job_id: status for job_id in known if (status := statuses.get(job_id, "deleted")) not in OPEN}


def _settle_answer(message_id: UUID) -> bool:
    with transaction.atomic():
        message = (
            Message.objects.select_for_update(skip_locked=True, of=("self",))
            .select_related("thread", "parent")
            .filter(pk=message_id, state=State.PENDING)
            .first()
        )
        if message is None:
            return False
        _take_over(message, Job.objects.filter(pk=message.job_id).first() if message.job_id else None)
        if message.state == State.DONE:
            _note_suggestions(message)
        message.save()
        Thread.objects.filter(pk=message.thread_id).update(updated_at=Now())
    return True


def _take_over(message: Message, job: Job | None) -> None:
    message.ended_at = job.finished_at if job is not None else timezone.now()
    if job is None:
        message.state, message.error = State.FAILED, {"code": "NOT_FOUND", "message": "the answer's job was deleted"}
        return
    found = results.of(job) if job.status == Status.SUCCEEDED else None
    said = found if isinstance(found, dict) else {}
    failed = job.error or {}
    message.facts = {**message.facts, **{name: said[name] for name in _FACTS if said.get(name) is not None}}
    match job.status:
        case Status.SUCCEEDED:
            message.state, message.text = State.DONE, str(said.get("output_text") or "")
        case Status.CANCELLED:
            message.state = State.CANCELLED
        case _:
            message.state, message.error = State.FAILED, failed
            message.text = str((failed.get("details") or {}).get("partial_text") or "")


def _note_suggestions(message: Message) -> None:
    branch = queries.branch_to(message)
    asked = next((it.text for it in reversed(branch) if it.role == Role.USER), "")
    noted = suggestions.note(message, asked=asked, has_untrusted=prompting.has_untrusted([*branch, message]))
    if any(not it.reasons for it in noted):
        principal = principal_for_reference(message.reference)
        if principal is not None and principal.can_write:
            suggestions.approve_automatic(message, principal=principal)


def _settle_suggestions() -> int:
    running = dict(Suggestion.objects.filter(state=SuggestionState.RUNNING).values_list("pk", "job_id")[:AT_ONCE])
    ended = _ended(running.values())
    for pk, job_id in running.items():
        if job_id in ended:
            Suggestion.objects.filter(pk=pk, state=SuggestionState.RUNNING).update(
                state=SuggestionState.DONE, job_status=ended[job_id]
            )
    return len(ended)


def _report_results() -> int:
    """Say in the thread what jobs came to, once all that were approved of an answer have ended."""
    waiting = Suggestion.objects.filter(
        message=OuterRef("pk"), state__in=(SuggestionState.RUNNING, SuggestionState.APPROVED)
    )
    unsaid = Suggestion.objects.filter(message=OuterRef("pk"), state=SuggestionState.DONE, results__isnull=True)
    due = Message.objects.filter(Exists(unsaid), ~Exists(waiting)).values_list("pk", "thread_id")[:AT_ONCE]
    return sum(_report(message_id, thread_id) for message_id, thread_id in due)


def _report(message_id: UUID, thread_id: UUID) -> bool:
    with transaction.atomic():
        thread = Thread.objects.select_for_update(no_key=True, skip_locked=True).filter(pk=thread_id).first()
        if thread is None or (thread.head is not None and thread.head.state == State.PENDING):
            return False  # Somebody else does it, or an answer is being written: the next ring.
        done = list(
            Suggestion.objects.select_for_update()
            .filter(message=message_id, state=SuggestionState.DONE, results__isnull=True)
            .order_by("position")
        )
        if not done:
            return False
        message = Message.objects.get(pk=message_id)
        said = Message.objects.create(
            thread=thread, parent=thread.head, role=Role.RESULTS, text=_as_text(done), created_by=message.created_by,
            reference=message.reference, created_at=timezone.now(), ended_at=timezone.now(),
            facts={"of": str(message_id)},
        )  # fmt: skip
        Suggestion.objects.filter(pk__in=[it.pk for it in done]).update(results=said)
        threads.show(thread, said)
        _answer_results(thread, said)
    return True


def _answer_results(thread: Thread, said: Message) -> None:
    """Have the model go on, where the thread wants that; not without end."""
    principal = principal_for_reference(said.reference)
    if not Settings.model_validate(thread.settings).answer_results or principal is None:
        return
    branch = queries.branch_to(said)
    since_asked = branch[max((n for n, it in enumerate(branch) if it.role == Role.USER), default=0) :]
    if sum(it.role == Role.RESULTS for it in since_asked) > MAX_ROUNDS:
        return
    try:
        with transaction.atomic():
            threads.answer(thread, said, principal=principal)
    except Problem as problem:
        said.error = {"code": problem.code.name, "message": str(problem)}
        said.save(update_fields=["error"])


def _as_text(done: Sequence[Suggestion]) -> str:
    jobs = Job.objects.in_bulk([it.job_id for it in done if it.job_id is not None])
    return "\n\n".join(_told(it, jobs.get(it.job_id) if it.job_id else None) for it in done)


def _told(suggestion: Suggestion, job: Job | None) -> str:
    head = f"{suggestion.position + 1}. {suggestion.fields['type']} (job {suggestion.job_id}): {suggestion.job_status}"
    if job is None:
        return head
    if job.status == Status.SUCCEEDED:
        return f"{head}\n{_cut(results.of(job))}"
    error = job.error or {}
    return f"{head}\n{error.get('code') or 'no code'}: {error.get('message') or ''}"


def _cut(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= RESULT_CHARS else f"{text[:RESULT_CHARS]}… ({len(text)} characters in all)"
