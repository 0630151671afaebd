"""Named reads: who may see which thread, its branches, pages of threads, what they say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.contrib.postgres.search import SearchQuery, SearchVector
from django.db.models import Exists, OuterRef, Q, QuerySet

from access.principals import Principal
from chat.models import SEARCHED, Message, State, Thread
from jobs.approvals.models import Approval
from jobs.approvals.queries import awaited_by
from jobs.queries import Position, parse_id
from rauskuclaw import errors
from rauskuclaw.errors import Problem

MAX_BRANCH = 10_000


def visible_threads(principal: Principal) -> QuerySet[Thread]:
    """The threads on the queues that `principal` may see."""
    if principal.queue_allowlist is None:
        return Thread.objects.all()
    return Thread.objects.filter(queue__in=principal.queue_allowlist)


def visible_thread(thread_id: str, *, principal: Principal, lock: bool = False) -> Thread:
    """The thread, by the id of a URL; lock: its row. Raises NOT_FOUND also where it is on a queue not to be seen."""
    found = parse_id(thread_id)
    threads = visible_threads(principal)
    threads = threads.select_for_update(no_key=True) if lock else threads
    thread = None if found is None else threads.filter(pk=found).first()
    if thread is None:
        raise Problem(errors.NOT_FOUND, "No such thread: check the id, and that the key may see the thread's queue.")
    return thread


def visible_message(message_id: str, *, principal: Principal) -> Message:
    """The message with its thread, by the id of a URL. Raises NOT_FOUND."""
    found = parse_id(message_id)
    message = (
        Message.objects.select_related("thread")
        .filter(pk=found, thread__in=visible_threads(principal).values("pk"))
        .first()
        if found
        else None
    )
    if message is None:
        raise Problem(errors.NOT_FOUND, "No such message: check the id, and that the key may see its thread.")
    return message


def all_messages(thread: Thread) -> list[Message]:
    """Every branch, oldest first, with their suggestions. Two statements."""
    return list(Message.objects.filter(thread=thread).prefetch_related("suggestions")[:MAX_BRANCH])


def branch_of(messages: Sequence[Message], leaf_id: UUID | None) -> list[Message]:
    """From the first message to the leaf."""
    by_id = {message.pk: message for message in messages}
    branch: list[Message] = []
    while leaf_id is not None and leaf_id in by_id:
        branch.append(by_id[leaf_id])
        leaf_id = by_id[leaf_id].parent_id
    return branch[::-1]


def branch_to(message: Message) -> list[Message]:
    """From the first message of its thread to it. One statement."""
    return branch_of(list(Message.objects.filter(thread=message.thread_id)), message.pk)


def approvals_for(messages: Sequence[Message]) -> dict[UUID | None, list[Approval]]:
    """What a person must decide before answers can be written on, by the answer's job. One statement where an answer
    is being written, none else."""
    writing = [it.job_id for it in messages if it.state == State.PENDING and it.job_id is not None]
    found: dict[UUID | None, list[Approval]] = defaultdict(list)
    for approval in awaited_by(writing):
        if approval.job.group is not None:
            found[approval.job.group.parent_id].append(approval)
    return found


@dataclass(frozen=True)
class ThreadPage:
    """Threads, the last used first, and where the next page begins; None after the last one."""

    threads: Sequence[Thread]
    next: Position | None


def thread_page(
    *, principal: Principal, limit: int, q: str | None, archived: bool | None, after: Position | None = None
) -> ThreadPage:
    """One page. q: words that the title or a message has (as in a web search). One statement."""
    found = visible_threads(principal)
    if archived is not None:
        found = found.filter(archived_at__isnull=not archived)
    if q is not None:
        words = SearchQuery(q, config="simple", search_type="websearch")
        said = Message.objects.annotate(words=SearchVector(SEARCHED, config="simple")).filter(
            thread=OuterRef("pk"), words=words
        )
        found = found.annotate(title_words=SearchVector("title", config="simple")).filter(
            Q(title_words=words) | Exists(said)
        )
    if after is not None:
        found = found.filter(Q(updated_at__lt=after.created_at) | Q(updated_at=after.created_at, pk__lt=after.id))
    threads = list(found.order_by("-updated_at", "-pk")[: limit + 1])
    last = threads[limit - 1] if len(threads) > limit else None
    return ThreadPage(threads[:limit], Position(last.updated_at, last.pk) if last else None)
