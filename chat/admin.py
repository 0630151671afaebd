"""Chats, to look at: they are written over the API."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from unfold.admin import TabularInline

from chat.models import Message, Thread
from jobs.admin.common import ReadOnlyAdmin

SHOWN_CHARS = 400


class MessageInline(TabularInline):  # type: ignore[misc]  # Unfold ships no types
    """What was said, oldest first, of every branch."""

    model = Message
    fk_name = "thread"
    fields = ("created_at", "role", "state", "beginning", "job_id", "created_by")
    readonly_fields = ("beginning",)
    can_delete = False
    max_num = extra = 0

    @admin.display(description="Text")
    def beginning(self, message: Message) -> str:
        """As far as a table has room for it."""
        text = message.text
        return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"


@admin.register(Thread)
class ThreadAdmin(ReadOnlyAdmin):
    """Threads, the last used first."""

    list_display = ("title", "queue", "count", "created_by", "created_at", "updated_at", "archived_at")
    list_filter = (("archived_at", admin.EmptyFieldListFilter),)
    search_fields = ("title", "messages__text")
    fields = ("title", "queue", "settings", "created_by", "created_at", "updated_at", "archived_at")
    inlines = (MessageInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Thread]:
        """With how many messages each has."""
        found: QuerySet[Thread] = super().get_queryset(request).annotate(count=Count("messages", distinct=True))
        return found

    @admin.display(description="Messages")
    def count(self, thread: Thread) -> int:
        """Of all branches."""
        return int(thread.count)  # type: ignore[attr-defined]
