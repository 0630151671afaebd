"""Threads and messages: made, changed, answered, stopped. An answer is a message whose text a job writes."""

from __future__ import annotations

import hashlib
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from access import audit
from access.principals import Principal
from chat import prompting, queries
from chat.models import Message, Role, State, Thread
from chat.requests import NewThread, Settings, ThreadChange
from jobs import bodies, lifecycle, submission
from jobs.requests import parse_new_job
from rauskuclaw import errors
from rauskuclaw.errors import Problem

TITLE_CHARS = 80


def create(new: NewThread, *, principal: Principal) -> Thread:
    """An empty thread. Raises FORBIDDEN for a queue that the caller may not use."""
    principal.require_queue(new.queue)
    return Thread.objects.create(
        title=new.title,
        queue=new.queue,
        settings=new.settings.model_dump(mode="json", exclude_unset=True),
        created_by=principal.actor,
    )


def change(thread_id: str, body: object, *, principal: Principal) -> Thread:
    """Rename, archive, show another branch, answer otherwise; settings that are not sent stay.

    Raises NOT_FOUND, VALIDATION_ERROR.
    """
    wanted = bodies.parse(ThreadChange, body)
    if not wanted.model_fields_set:
        raise Problem(
            errors.VALIDATION_ERROR, f"Nothing to change: send one of {', '.join(ThreadChange.model_fields)}."
        )
    with transaction.atomic():
        thread = queries.visible_thread(thread_id, principal=principal, lock=True)
        sent = wanted.model_fields_set
        if "title" in sent:
            thread.title = wanted.title
        if "archived" in sent:
            thread.archived_at = (thread.archived_at or timezone.now()) if wanted.archived else None
        if "head_id" in sent:
            thread.head = _leaf_of(thread, wanted.head_id)
        if "settings" in sent:
            settings = bodies.parse(Settings, thread.settings | wanted.settings, "settings")
            thread.settings = settings.model_dump(mode="json", exclude_unset=True)
        thread.save()
    return thread


def _leaf_of(thread: Thread, message_id: UUID | None) -> Message | None:
    """The newest end of the branch that the message is on: its first and newest replies, down to one without."""
    if message_id is None:
        return None
    messages = list(Message.objects.filter(thread=thread))
    newest = {message.parent_id: message for message in messages}
    found = next((message for message in messages if message.pk == message_id), None)
    if found is None:
        raise bodies.refused([("head_id", "head_id is no message of this thread")])
    while found.pk in newest:
        found = newest[found.pk]
    return found


def delete(thread_id: str, *, principal: Principal) -> Thread:
    """The thread with all its messages; an answer that is being written is stopped. Raises NOT_FOUND."""
    thread = queries.visible_thread(thread_id, principal=principal)
    for message in Message.objects.filter(thread=thread, state=State.PENDING):
        _stop(message, principal)
    with transaction.atomic():
        Thread.objects.filter(pk=thread.pk).delete()
        audit.record(
            actor=principal.actor, action="thread.deleted", object_type="thread", object_id=str(thread.pk),
            details={"title": thread.title},
        )  # fmt: skip
    return thread


def post(
    thread_id: str, text: str, *, principal: Principal, parent_id: UUID | None = None, request_key: str | None = None
) -> tuple[Message, Message]:
    """Say something, and have it answered: the message and its answer, whose job runs next.

    parent_id: what it replies to; None: the end of the branch that is shown. request_key: the same key gives the same
    messages again. Raises NOT_FOUND, IDEMPOTENCY_CONFLICT for a key that said something else, CONFLICT while the
    message before it is being written, and what making a job raises.
    """
    digest = hashlib.sha256(request_key.encode()).hexdigest() if request_key else None
    with transaction.atomic():
        thread = queries.visible_thread(thread_id, principal=principal, lock=True)
        if digest and (known := Message.objects.filter(thread=thread, request_digest=digest).first()):
            if known.text != text:
                raise Problem(errors.IDEMPOTENCY_CONFLICT, "This Idempotency-Key was used to say something else.")
            return known, known.replies.earliest("created_at", "id")
        parent = _existing(thread, parent_id) if parent_id is not None else thread.head
        return _say(thread, parent, text, principal=principal, digest=digest)


def edit(message_id: str, text: str, *, principal: Principal) -> tuple[Message, Message]:
    """Say it otherwise: a branch beside the message, answered anew. Raises NOT_FOUND, CONFLICT."""
    message = queries.visible_message(message_id, principal=principal)
    if message.role != Role.USER:
        raise Problem(errors.CONFLICT, "Only what a person said can be edited; answers can be regenerated.")
    with transaction.atomic():
        thread = queries.visible_thread(str(message.thread_id), principal=principal, lock=True)
        return _say(thread, message.parent, text, principal=principal)


def regenerate(message_id: str, *, principal: Principal) -> Message:
    """Another answer beside this one. Raises NOT_FOUND, CONFLICT."""
    message = queries.visible_message(message_id, principal=principal)
    if message.role != Role.ASSISTANT or message.parent is None:
        raise Problem(errors.CONFLICT, "Only answers can be regenerated; what a person said can be edited.")
    with transaction.atomic():
        thread = queries.visible_thread(str(message.thread_id), principal=principal, lock=True)
        return answer(thread, message.parent, principal=principal)


def stop(message_id: str, *, principal: Principal) -> Message:
    """Stop an answer that is being written. Raises NOT_FOUND, CONFLICT for one that is not."""
    message = queries.visible_message(message_id, principal=principal)
    if message.state != State.PENDING:
        raise Problem(errors.CONFLICT, f"The message is {message.state}; only an answer being written can be stopped.")
    _stop(message, principal)
    return message


def _stop(message: Message, principal: Principal) -> None:
    try:
        if message.job_id is not None:
            lifecycle.cancel(message.job_id, by=principal.actor)
    except Problem as problem:
        # It has ended, or is gone, in this moment: either is told by whoever settles the message.
        if problem.code not in (errors.CONFLICT, errors.NOT_FOUND):
            raise


def _existing(thread: Thread, message_id: UUID) -> Message:
    message = Message.objects.filter(thread=thread, pk=message_id).first()
    if message is None:
        raise bodies.refused([("parent_id", "parent_id is no message of this thread")])
    return message


def _say(
    thread: Thread, parent: Message | None, text: str, *, principal: Principal, digest: str | None = None
) -> tuple[Message, Message]:
    if parent is not None and parent.state == State.PENDING:
        raise Problem(errors.CONFLICT, "The answer before it is still being written: wait for it, or stop it.")
    said = Message.objects.create(
        thread=thread, parent=parent, role=Role.USER, text=text, created_by=principal.actor,
        reference=principal.reference, request_digest=digest, created_at=timezone.now(),
    )  # fmt: skip
    if not thread.title:
        thread.title = _title(text)
    return said, answer(thread, said, principal=principal)


def _title(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= TITLE_CHARS else line[: TITLE_CHARS - 1].rstrip() + "…"


def answer(thread: Thread, parent: Message, *, principal: Principal) -> Message:
    """An answer to `parent`, with its job, and the branch that it ends is shown: all in the caller's transaction, which
    has locked the thread. Raises what making a job raises."""
    fields, left_out = prompting.answer_job(thread, queries.branch_to(parent))
    job = submission.submit(parse_new_job(fields), created_by=principal.actor, principal=principal).job
    written = Message.objects.create(
        thread=thread, parent=parent, role=Role.ASSISTANT, state=State.PENDING, job_id=job.pk,
        facts={"left_out": left_out} if left_out else {}, created_by=principal.actor, reference=principal.reference,
        created_at=timezone.now(),
    )  # fmt: skip
    show(thread, written)
    return written


def show(thread: Thread, message: Message) -> None:
    """The branch that `message` ends is shown from now on; it came in this moment."""
    thread.head, thread.updated_at = message, Now()
    thread.save(update_fields=["head", "title", "updated_at"])
