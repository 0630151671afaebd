"""Memories, the models that make their vectors, and working memory: to be looked at, forgotten and embedded again."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from access.admin import actor_of
from jobs.admin.common import ReadOnlyAdmin, badge, each, json_block
from memory import store, upkeep, working
from memory.models import Memory, Session, Space
from rauskuclaw.admin_filters import MomentFilter

STATUS_LABELS = {"ready": "success", "pending": "info", "failed": "danger"}
STATE_LABELS = {"active": "success", "building": "info", "retired": "default"}


@admin.register(Memory)
class MemoryAdmin(ReadOnlyAdmin):
    """Whoever may `delete` memories may forget them, whoever may `change` them may have them embedded again."""

    list_display = ["__str__", "shown_status", "tags", "trusted", "written_by", "updated_at", "expires_at"]
    list_filter = [("embedding_status", ChoicesDropdownFilter), "trusted", ("updated_at", MomentFilter)]
    search_fields = ["scope"]
    search_help_text = "A scope, or scope/key"
    ordering = ["-updated_at", "-id"]
    actions = ["forget", "embed_again"]
    fieldsets = [
        (None, {"fields": [("scope", "key"), "tags", ("updated_at", "expires_at")]}),
        ("Says", {"fields": ["shown_value"]}),
        ("Comes from", {"fields": [("written_by", "job_id", "trusted"), "created_at"]}),
        ("Vector", {"fields": [("shown_status", "embedded_at", "embed_after"), "shown_error"]}),
    ]

    class Media:
        css = {"all": ["jobs/admin.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Memory]:
        """Expired ones too: they are there until they are purged."""
        found: QuerySet[Memory] = super().get_queryset(request)
        return found.defer("words", "lexemes")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Memory], search_term: str
    ) -> tuple[QuerySet[Memory], bool]:
        """Exact, by what has an index."""
        scope, _, key = search_term.strip().partition("/")
        exact = {name: text for name, text in (("scope", scope), ("key", key)) if text}
        return queryset.filter(**exact), False

    @admin.display(description="vector")
    def shown_status(self, memory: Memory) -> SafeString:
        """A coloured label."""
        return badge(STATUS_LABELS[memory.embedding_status], memory.get_embedding_status_display())

    @admin.display(description="value")
    def shown_value(self, memory: Memory) -> SafeString:
        """As JSON."""
        return json_block(memory.value)

    @admin.display(description="error")
    def shown_error(self, memory: Memory) -> SafeString:
        """Why it has no vector."""
        return json_block(memory.embedding_error)

    def has_forget_permission(self, request: HttpRequest) -> bool:
        """Who may use the action."""
        return request.user.has_perm("memory.delete_memory")

    def has_embed_permission(self, request: HttpRequest) -> bool:
        """Who may use the action."""
        return request.user.has_perm("memory.change_memory")

    @admin.action(description="Forget the selected memories", permissions=["forget"])
    def forget(self, request: HttpRequest, queryset: QuerySet[Memory]) -> None:
        """Each is in the audit log."""
        by = actor_of(request)
        each(request, queryset, lambda memory: store.delete(str(memory.pk), by=by), "Forgotten", "Not forgotten")

    @admin.action(description="Embed the selected memories again", permissions=["embed"])
    def embed_again(self, request: HttpRequest, queryset: QuerySet[Memory]) -> None:
        """Those that have no vector now."""
        each(request, queryset, lambda memory: upkeep.retry(memory.pk), "Queued", "Not queued")


@admin.register(Space)
class SpaceAdmin(ReadOnlyAdmin):
    """The models, and how many vectors they have made. The configuration chooses one."""

    list_display = ["__str__", "shown_state", "dimension", "vectors", "created_at"]
    fields = [("provider", "model"), ("shown_state", "dimension"), "vectors", "created_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Space]:
        """With their numbers."""
        found: QuerySet[Space] = super().get_queryset(request)
        return found.annotate(vector_count=Count("vectors"))

    @admin.display(description="state")
    def shown_state(self, space: Space) -> SafeString:
        """A coloured label."""
        return badge(STATE_LABELS[space.state], space.get_state_display())

    @admin.display(description="vectors")
    def vectors(self, space: Any) -> str:
        """How many."""
        return f"{space.vector_count:,}"


@admin.register(Session)
class SessionAdmin(ReadOnlyAdmin):
    """Working memory, a session a row."""

    list_display = ["id", "updated_at", "expires_at", "written_by"]
    ordering = ["-updated_at", "-id"]
    fields = ["id", "shown_text", "shown_state", ("updated_at", "expires_at"), "written_by"]

    class Media:
        css = {"all": ["jobs/admin.css"]}

    @admin.display(description="in a prompt")
    def shown_text(self, session: Session) -> str:
        """As a model is shown it."""
        return working.as_text(session)

    @admin.display(description="state")
    def shown_state(self, session: Session) -> SafeString:
        """As JSON."""
        return json_block(session.state)
