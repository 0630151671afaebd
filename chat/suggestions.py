"""What becomes of suggested jobs: approved, dismissed, started once what they depend on has a job."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from access import audit
from access.principals import Principal
from chat import queries, suggesting
from chat.models import Message, Suggestion, SuggestionState
from chat.requests import Decision, Settings
from jobs import intents, job_types
from jobs.models import Job, JobType
from rauskuclaw import errors
from rauskuclaw.errors import Problem

UNTRUSTED = "text from outside, which nobody vouches for, is in the conversation"
OPEN = (SuggestionState.SUGGESTED, SuggestionState.APPROVED)


def note(message: Message, *, asked: str, has_untrusted: bool) -> list[Suggestion]:
    """Keep the jobs that a finished answer suggests, each with why it needs approval, if it does.

    has_untrusted: whether text from outside was in the conversation: then all need it, except by policy `never`.
    """
    settings = Settings.model_validate(message.thread.settings)
    enabled = set(JobType.objects.filter(enabled=True).values_list("name", flat=True))
    found = suggesting.find(message.text, enabled=enabled, chat_type=settings.type, asked=asked)
    if found.dropped:
        message.facts = {**message.facts, "suggestions_dropped": found.dropped}
    policy = settings.suggestions.policy()
    untrusted = [UNTRUSTED] if has_untrusted and policy.mode != "never" else []
    names = {it.fields["type"] for it in found.suggestions} if has_untrusted else set()
    chats = job_types.with_input_field("untrusted_text", names)
    for it in found.suggestions:
        if it.fields["type"] in chats:
            # The question to another model was written with that text in view, so it is such text itself.
            it.fields["input"]["untrusted_text"] = True
    return Suggestion.objects.bulk_create(
        Suggestion(
            message=message, position=it.position, fields=it.fields, reasons=policy.reasons(it.fields) + untrusted
        )
        for it in found.suggestions
    )


def decide(message_id: str, decision: Decision, *, principal: Principal) -> Message:
    """Approve and dismiss suggestions of a message, and start what may start.

    Raises NOT_FOUND, and CONFLICT for one that has been decided already.
    """
    decision.require_something()
    message = queries.visible_message(message_id, principal=principal)
    with transaction.atomic():
        known = _locked(message)
        approved = _chosen(known, decision.approve, (SuggestionState.SUGGESTED,))
        dismissed = _chosen(known, decision.dismiss, OPEN, besides={it.pk for it in approved})
        _set(approved, SuggestionState.APPROVED, by=principal.actor)
        _set(dismissed, SuggestionState.DISMISSED, by=principal.actor)
        start(message, known, principal=principal)
        for state, chosen in (("approved", approved), ("dismissed", dismissed)):
            if chosen:
                audit.record(
                    actor=principal.actor, action=f"suggestion.{state}", object_type="message",
                    object_id=str(message.pk), details={"types": [it.fields["type"] for it in chosen]},
                )  # fmt: skip
    return message


def approve_automatic(message: Message, *, principal: Principal) -> None:
    """Start the suggestions that need nobody's approval, with the rights of whoever asked the question."""
    known = _locked(message)
    chosen = [it for it in known if it.state == SuggestionState.SUGGESTED and not it.reasons]
    _set(chosen, SuggestionState.APPROVED, by="policy")
    start(message, known, principal=principal)


def _locked(message: Message) -> list[Suggestion]:
    return list(Suggestion.objects.select_for_update().filter(message=message).order_by("position"))


def _chosen(
    known: Sequence[Suggestion],
    wanted: Sequence[UUID] | str,
    states: Collection[SuggestionState],
    besides: Collection[UUID] = (),
) -> list[Suggestion]:
    """By id; or all that may be, `auto`: those without reasons. Raises NOT_FOUND, CONFLICT."""
    if isinstance(wanted, str):
        fitting = [it for it in known if it.state in states and it.pk not in besides]
        return [it for it in fitting if wanted == "all" or not it.reasons]
    by_id = {it.pk: it for it in known}
    for id_ in wanted:
        if id_ not in by_id:
            raise Problem(errors.NOT_FOUND, f"the message has no suggestion {id_}")
        if by_id[id_].state not in states or id_ in besides:
            raise Problem(
                errors.CONFLICT, f"suggestion {id_} is {by_id[id_].state} already; only open ones are decided"
            )
    return [by_id[id_] for id_ in dict.fromkeys(wanted)]


def _set(chosen: Sequence[Suggestion], state: SuggestionState, *, by: str) -> None:
    for it in chosen:
        it.state, it.problem, it.decided_by = state, None, by
    Suggestion.objects.filter(pk__in=[it.pk for it in chosen]).update(
        state=state, problem=None, decided_by=by, decided_at=Now()
    )


def start(message: Message, known: Sequence[Suggestion], *, principal: Principal) -> None:
    """Make the jobs of what is approved, as far as what each depends on has one. `known`: all of them, locked.

    One that cannot become a job waits for a person again, with the reason; one that depends on what was dismissed is
    dismissed too.
    """
    by_position = {it.position: it for it in known}
    started = Job.objects.in_bulk([it.job_id for it in known if it.job_id is not None])
    jobs = {it.position: started[it.job_id] for it in known if it.job_id in started}
    for it in known:
        if it.state != SuggestionState.APPROVED:
            continue
        needed = intents.positions_needed(it.fields["input"], it.position)
        blocked = [n for n in needed if n not in by_position or by_position[n].state == SuggestionState.DISMISSED]
        if blocked:
            message_ = f"it depends on suggestion {blocked[0] + 1}, which is not to be done"
            _refuse(it, Problem(errors.DEPENDENCY_BLOCKED, message_), SuggestionState.DISMISSED)
        elif all(n in jobs for n in needed):
            _make(it, message, jobs, principal)


def _make(it: Suggestion, message: Message, jobs: dict[int, Job], principal: Principal) -> None:
    asked = message.parent.text if message.parent is not None else ""
    done = intents.submit_items(
        {it.position: it.fields}, made=jobs, user_text=asked, created_by=principal.actor, principal=principal
    )
    if done.skipped:
        _refuse(it, done.skipped[0].problem, SuggestionState.SUGGESTED)
        return
    job = next(made.job for made in done.created if made.tool_type is None)
    jobs[it.position] = job
    it.state, it.job_id = SuggestionState.RUNNING, job.pk
    it.save(update_fields=["state", "job_id"])


def _refuse(it: Suggestion, problem: Problem, state: SuggestionState) -> None:
    it.state, it.problem = state, {"code": problem.code.name, "message": str(problem)}
    it.save(update_fields=["state", "problem"])
