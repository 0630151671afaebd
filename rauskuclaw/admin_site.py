"""The frame of the admin: its menu, by what the user may see. `settings.UNFOLD` refers to it."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse

_GROUPS = (
    # title, ((title, icon, "app.model"), …)
    (
        "Work",
        (
            ("Jobs", "work", "jobs.job"),
            ("Chats", "forum", "chat.thread"),
            ("Approvals", "how_to_reg", "jobs.approval"),
            ("Schedules", "event_repeat", "schedules.schedule"),
            ("Queues", "low_priority", "jobs.queue"),
            ("Job types", "category", "jobs.jobtype"),
            ("Retention", "auto_delete", "jobs.retentionpolicy"),
            ("Projects", "folder", "workspaces.projectmeta"),
            ("Callbacks", "outbound", "jobs.callbackdelivery"),
            ("Workers", "memory", "jobs.node"),
        ),
    ),
    (
        "Memory",
        (
            ("Memories", "neurology", "memory.memory"),
            ("Working memory", "psychology", "memory.session"),
            ("Embedding models", "model_training", "memory.space"),
        ),
    ),
    ("Watch", (("Alerts", "notifications", "metrics.alert"), ("Alert rules", "rule", "metrics.alertrule"))),
    (
        "Models",
        (
            ("Calls", "forum", "providers.modelcall"),
            ("Budgets", "savings", "providers.budget"),
            ("Prices", "sell", "providers.price"),
            ("MCP servers", "hub", "providers.mcpserver"),
            ("MCP tools", "build", "providers.mcptool"),
        ),
    ),
    (
        "Access",
        (
            ("API keys", "key", "access.apikey"),
            ("Secrets", "lock", "access.secret"),
            ("Client preferences", "tune", "access.uiprefs"),
            ("Audit log", "policy", "access.auditentry"),
            ("Users", "person", "auth.user"),
            ("Groups", "group", "auth.group"),
        ),
    ),
    (
        "Heartbeat",
        (
            ("Periodic tasks", "favorite", "django_celery_beat.periodictask"),
            ("Intervals", "timer", "django_celery_beat.intervalschedule"),
            ("Crontabs", "calendar_clock", "django_celery_beat.crontabschedule"),
        ),
    ),
)
_ELSEWHERE = (
    ("Home", "home", "home"),
    ("API docs", "menu_book", "docs"),
    ("Browse the API", "api", "jobs"),
    ("Workspace", "folder_open", "workspace-files"),
)


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The sidebar: what the user may view, and the pages outside of the admin."""
    groups: list[dict[str, Any]] = []
    for title, entries in _GROUPS:
        items = [_item(name, icon, _list_of(model)) for name, icon, model in entries if _may_view(request, model)]
        if items:
            groups.append({"title": title, "separator": bool(groups), "items": items})
    outside = [{**_item(name, icon, reverse(page)), "active": False} for name, icon, page in _ELSEWHERE]
    return [*groups, {"title": "Elsewhere", "separator": True, "items": outside}]


def icon(_request: HttpRequest) -> str:
    """The address of the project's icon."""
    return static("rauskuclaw/icon.svg")


def _item(title: str, icon: str, link: str) -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": link}


def _list_of(model: str) -> str:
    return reverse("admin:{}_{}_changelist".format(*model.split(".")))


def _may_view(request: HttpRequest, model: str) -> bool:
    app, _, name = model.rpartition(".")
    return request.user.has_perm(f"{app}.view_{name}") or request.user.has_perm(f"{app}.change_{name}")
