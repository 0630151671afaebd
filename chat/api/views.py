"""Chats over HTTP: each method parses, calls one verb and answers."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers as fields
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.principals import Principal, principal_of
from chat import queries, settling, suggestions, threads
from chat.api import serializers as shapes
from chat.models import Message
from chat.representation import as_markdown, message_json, messages_json, thread_json
from chat.requests import Decision, Edit, NewMessage, NewThread
from jobs import bodies
from jobs.api import params
from jobs.api import serializers as job_shapes
from jobs.api.params import IDEMPOTENCY_KEY, idempotency_key, parameter
from jobs.api.views import ERRORS
from rauskuclaw.api.pagination import SWITCHES, int_param, text_param

NEW_THREAD = {"title": "Release notes", "settings": {"system": "Answer briefly.", "memory": {"scope": "agent.chat"}}}
CHANGE = {"title": "Release notes 2.0", "settings": {"suggestions": {"mode": "always"}}}
NEW_MESSAGE = {"content": "What changed since 1.9?"}
DECISION = {"approve": "all"}
THREAD_ANSWER = job_shapes.answer("ThreadAnswer", thread=shapes.Thread())
MESSAGE_ANSWER = job_shapes.answer("MessageAnswer", message=shapes.Message())
SAID = job_shapes.answer("SaidAnswer", message=shapes.Message(), answer=shapes.Message())


LIST = [
    parameter("q", 'Words that the title or a message has; "quoted" for a phrase, - for without.'),
    parameter("archived", "1 or 0; without it both."),
    parameter("limit", "1 to 200, default 50.", OpenApiTypes.INT),
    parameter("cursor", "`next_cursor` of the page before."),
]
ALL = parameter("all", "1: every branch, oldest first.")
FORMAT = parameter("format", "`json` (every branch) or `markdown` (the one that is shown). Default: json.")


class ThreadsView(APIView):
    """The threads that this key may see, the last used first; and beginning one."""

    examples: ClassVar[dict[str, Any]] = {"POST": NEW_THREAD}

    @extend_schema(
        operation_id="chat_threads",
        tags=["chat"],
        parameters=LIST,
        responses={200: job_shapes.page("ThreadList", "Threads", threads=shapes.Thread(many=True)), **ERRORS},
    )
    def get(self, request: Request) -> Response:
        """List threads, the last used first, a page at a time; or search them."""
        page = queries.thread_page(
            principal=principal_of(request),
            limit=int_param(request, "limit", 50, 200),
            q=text_param(request, "q"),
            archived=SWITCHES.get(text_param(request, "archived") or ""),
            after=params.position(request),
        )
        shown = [thread_json(thread) for thread in page.threads]
        return Response({"ok": True, "threads": shown, "count": len(shown), "next_cursor": params.cursor(page.next)})

    @extend_schema(
        operation_id="chat_thread_create",
        tags=["chat"],
        request=shapes.NewThread,
        responses={201: THREAD_ANSWER, **ERRORS},
        examples=[OpenApiExample("A thread with memory", NEW_THREAD, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        """Begin a thread."""
        thread = threads.create(bodies.parse(NewThread, request.data), principal=principal_of(request))
        thread.refresh_from_db()
        return Response({"ok": True, "thread": thread_json(thread)}, status=201)


class ThreadView(APIView):
    """One thread."""

    examples: ClassVar[dict[str, Any]] = {"PATCH": CHANGE}

    @extend_schema(operation_id="chat_thread", tags=["chat"], responses={200: THREAD_ANSWER, **ERRORS})
    def get(self, request: Request, thread_id: str) -> Response:
        """Get a thread."""
        thread = queries.visible_thread(thread_id, principal=principal_of(request))
        return Response({"ok": True, "thread": thread_json(thread)})

    @extend_schema(
        operation_id="chat_thread_change",
        tags=["chat"],
        request=shapes.ThreadChange,
        responses={200: THREAD_ANSWER, **ERRORS},
        examples=[OpenApiExample("Another title, and no job without approval", CHANGE, request_only=True)],
    )
    def patch(self, request: Request, thread_id: str) -> Response:
        """Rename it, archive it, show another branch, or change how it is answered."""
        thread = threads.change(thread_id, request.data, principal=principal_of(request))
        return Response({"ok": True, "thread": thread_json(thread)})

    @extend_schema(
        operation_id="chat_thread_delete",
        tags=["chat"],
        responses={
            200: job_shapes.answer("ThreadDeleted", id=fields.UUIDField(), deleted=fields.BooleanField()),
            **ERRORS,
        },
    )
    def delete(self, request: Request, thread_id: str) -> Response:
        """Delete it with all its messages; the jobs that wrote them stay."""
        thread = threads.delete(thread_id, principal=principal_of(request))
        return Response({"ok": True, "id": str(thread.pk), "deleted": True})


class MessagesView(APIView):
    """What was said in a thread; and saying something."""

    examples: ClassVar[dict[str, Any]] = {"POST": NEW_MESSAGE}

    @extend_schema(
        operation_id="chat_messages",
        tags=["chat"],
        parameters=[ALL],
        responses={
            200: job_shapes.answer(
                "MessageList", thread=shapes.Thread(), messages=shapes.Message(many=True), count=fields.IntegerField()
            ),
            **ERRORS,
        },
    )
    def get(self, request: Request, thread_id: str) -> Response:
        """The branch that is shown, from its first message on; or every branch."""
        thread = queries.visible_thread(thread_id, principal=principal_of(request))
        settling.settle_answers(Message.objects.filter(thread=thread))
        known = queries.all_messages(thread)
        wanted = known if text_param(request, "all") == "1" else queries.branch_of(known, thread.head_id)
        shown = messages_json(wanted, known, queries.approvals_for(wanted))
        return Response({"ok": True, "thread": thread_json(thread), "messages": shown, "count": len(shown)})

    @extend_schema(
        operation_id="chat_message_create",
        tags=["chat"],
        parameters=[IDEMPOTENCY_KEY],
        request=shapes.NewMessage,
        responses={201: SAID, **ERRORS},
        examples=[OpenApiExample("A question", NEW_MESSAGE, request_only=True)],
    )
    def post(self, request: Request, thread_id: str) -> Response:
        """Say something: a job writes the answer, and its stream has the text as it comes."""
        wanted = bodies.parse(NewMessage, request.data)
        said = threads.post(
            thread_id, wanted.content, parent_id=wanted.parent_id, principal=principal_of(request),
            request_key=idempotency_key(request),
        )  # fmt: skip
        return _said(said)


def _said(said: tuple[Message, Message]) -> Response:
    message, answer = said
    return Response({"ok": True, "message": message_json(message), "answer": message_json(answer)}, status=201)


class MessageView(APIView):
    """One message."""

    @extend_schema(operation_id="chat_message", tags=["chat"], responses={200: MESSAGE_ANSWER, **ERRORS})
    def get(self, request: Request, message_id: str) -> Response:
        """Get a message, as far as it is written."""
        return _shown(message_id, principal_of(request))


def _shown(message_id: str, principal: Principal, status: int = 200) -> Response:
    message = queries.visible_message(message_id, principal=principal)
    if settling.settle_answers(Message.objects.filter(pk=message.pk)):
        message = queries.visible_message(message_id, principal=principal)
    beside = Message.objects.filter(thread=message.thread_id, parent=message.parent_id).values_list("pk", flat=True)
    approvals = queries.approvals_for([message]).get(message.job_id, ())
    return Response({"ok": True, "message": message_json(message, list(beside), approvals)}, status=status)


class MessageEditView(APIView):
    """Saying it otherwise."""

    examples: ClassVar[dict[str, Any]] = {"POST": NEW_MESSAGE}

    @extend_schema(
        operation_id="chat_message_edit", tags=["chat"], request=shapes.Edit, responses={201: SAID, **ERRORS}
    )
    def post(self, request: Request, message_id: str) -> Response:
        """Begin a branch beside the message with another text, and have that answered. The message itself stays."""
        wanted = bodies.parse(Edit, request.data)
        return _said(threads.edit(message_id, wanted.content, principal=principal_of(request)))


class MessageRegenerateView(APIView):
    """Another answer."""

    @extend_schema(
        operation_id="chat_message_regenerate", tags=["chat"], request=None, responses={201: MESSAGE_ANSWER, **ERRORS}
    )
    def post(self, request: Request, message_id: str) -> Response:
        """Have the question answered once more, beside this answer."""
        principal = principal_of(request)
        answer = threads.regenerate(message_id, principal=principal)
        return _shown(str(answer.pk), principal, status=201)


class MessageStopView(APIView):
    """Stopping an answer."""

    @extend_schema(
        operation_id="chat_message_stop", tags=["chat"], request=None, responses={200: MESSAGE_ANSWER, **ERRORS}
    )
    def post(self, request: Request, message_id: str) -> Response:
        """Stop an answer that is being written: its job is cancelled."""
        principal = principal_of(request)
        threads.stop(message_id, principal=principal)
        return _shown(message_id, principal)


class SuggestionsView(APIView):
    """The jobs that an answer suggests."""

    examples: ClassVar[dict[str, Any]] = {"POST": DECISION}

    @extend_schema(
        operation_id="chat_suggestions_decide",
        tags=["chat"],
        request=shapes.Decision,
        responses={200: MESSAGE_ANSWER, **ERRORS},
        examples=[OpenApiExample("Do all of them", DECISION, request_only=True)],
    )
    def post(self, request: Request, message_id: str) -> Response:
        """Approve and dismiss suggestions. What is approved becomes jobs; what they come to is told in the thread."""
        principal = principal_of(request)
        suggestions.decide(message_id, bodies.parse(Decision, request.data), principal=principal)
        return _shown(message_id, principal)


class ThreadExportView(APIView):
    """A thread to keep elsewhere."""

    @extend_schema(
        operation_id="chat_thread_export",
        tags=["chat"],
        parameters=[FORMAT],
        responses={200: OpenApiTypes.STR, **ERRORS},
    )
    def get(self, request: Request, thread_id: str) -> HttpResponse | Response:
        """Download a thread: every branch as JSON, or the branch that is shown as Markdown."""
        thread = queries.visible_thread(thread_id, principal=principal_of(request))
        settling.settle_answers(Message.objects.filter(thread=thread))
        known = queries.all_messages(thread)
        if text_param(request, "format") == "markdown":
            text = as_markdown(thread, queries.branch_of(known, thread.head_id))
            return HttpResponse(
                text, content_type="text/markdown; charset=utf-8",
                headers={"Content-Disposition": f'attachment; filename="thread-{thread.pk}.md"'},
            )  # fmt: skip
        body = {"ok": True, "thread": thread_json(thread), "messages": messages_json(known, known)}
        return Response(body, headers={"Content-Disposition": f'attachment; filename="thread-{thread.pk}.json"'})
