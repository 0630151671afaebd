"""Nodes: which workers live."""

from __future__ import annotations

from django.contrib import admin
from django.utils import timezone
from django.utils.safestring import SafeString

from jobs.admin.common import ReadOnlyAdmin, badge
from jobs.models import Node
from jobs.nodes import is_alive
from rauskuclaw.operations.text import span


@admin.register(Node)
class NodeAdmin(ReadOnlyAdmin):
    """A row is there while the process lives, and for a day after it died without saying so."""

    list_display = [
        "name",
        "kind",
        "pool",
        "life",
        "shown_queues",
        "concurrency",
        "version",
        "shown_host",
        "pid",
        "started_at",
    ]
    # There is no more to a node than its row.
    list_display_links = None
    list_filter_submit = False

    @admin.display(description="last sign of life")
    def life(self, node: Node) -> SafeString:
        """A coloured label."""
        now = timezone.now()
        silent = span((now - node.seen_at).total_seconds())
        return badge("success" if is_alive(node, now) else "danger", f"{silent} ago")

    @admin.display(description="queues")
    def shown_queues(self, node: Node) -> str:
        """In a line."""
        return ", ".join(node.queues) or "–"

    @admin.display(description="host")
    def shown_host(self, node: Node) -> str:
        """Its name, without the boot and namespace that identify it."""
        return node.host.partition("/")[0] or "–"
