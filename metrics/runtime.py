"""What goes on now: who works on what, how busy queues are, and what handlers and providers are set to."""

from __future__ import annotations

import uuid
from collections import defaultdict
from datetime import datetime
from typing import Any

from django.db.models.functions import Now

from access import runtime_tools
from access.principals import Principal
from jobs import nodes, queues
from jobs.models import Job, Node, Status
from metrics import counting
from providers.overview import providers as provider_settings
from rauskuclaw.api.fields import iso_ms

RATE_WINDOW_SEC = 60
"""What rates are taken over: so far back, counting is exact."""
SHOWN_JOBS = 1000
"""Of one worker."""


def workers(principal: Principal) -> list[dict[str, Any]]:
    """The live workers by name, and the jobs that each runs, longest first. With an allowlist: those that serve one of
    its queues, and of their jobs those on its queues."""
    alive = [
        node
        for node in nodes.alive(Node.objects.filter(kind=Node.Kind.WORKER))
        if principal.queue_allowlist is None or set(node.queues) & set(principal.queue_allowlist)
    ]
    running = Job.objects.filter(status=Status.RUNNING, node__in=[node.pk for node in alive]).annotate(now=Now())
    held: dict[uuid.UUID | None, list[dict[str, Any]]] = defaultdict(list)
    busy: dict[uuid.UUID | None, int] = defaultdict(int)
    for job in running.order_by("started_at", "id").defer("input", "result", "error"):
        busy[job.node] += 1
        if principal.allows_queue(job.queue) and len(held[job.node]) < SHOWN_JOBS:
            held[job.node].append(_running_json(job, job.now))
    return [
        {
            "id": str(node.id),
            "name": node.name,
            "host": node.host.partition("/")[0],
            "pid": node.pid,
            "pool": node.pool,
            "queues": node.queues,
            "slots": node.concurrency,
            "busy": busy[node.id],
            "version": node.version,
            "started_at": iso_ms(node.started_at),
            "seen_at": iso_ms(node.seen_at),
            "jobs": held[node.id],
        }
        for node in sorted(alive, key=lambda node: (node.name, node.pool, node.started_at))
    ]


def _running_json(job: Job, now: datetime) -> dict[str, Any]:
    started_at = job.started_at or now
    return {
        "id": str(job.id),
        "type": job.type,
        "queue": job.queue,
        "attempt": job.attempts,
        "started_at": iso_ms(started_at),
        "running_sec": round(max(0.0, (now - started_at).total_seconds()), 1),
        "timeout_sec": job.timeout_sec,
        "progress": job.progress,
    }


def busy_queues(principal: Principal) -> list[dict[str, Any]]:
    """The queues of `GET /v1/queues`, and how many jobs were made and ended on each in the last minute."""
    happened = counting.sums_by_queue(RATE_WINDOW_SEC, principal.queue_allowlist, always=True)
    return [
        queue.as_json()
        | {
            "made_per_min": happened.get(("job.made", queue.name), 0) * 60 // RATE_WINDOW_SEC,
            "ended_per_min": happened.get(("job.ended", queue.name), 0) * 60 // RATE_WINDOW_SEC,
        }
        for queue in queues.overviews(principal)
    ]


def handlers(principal: Principal) -> dict[str, dict[str, Any]]:
    """What the built-in handlers that reach out are set to; how, only for admins."""
    config = runtime_tools.now_effective()
    brave_key = config.web_search_brave_api_key
    settings: dict[str, dict[str, Any]] = {
        "deploy": {
            "enabled": bool(config.deploy_target_allowlist),
            "allowed_targets": list(config.deploy_target_allowlist),
        },
        "tool_exec": {
            "enabled": config.tool_exec_enabled,
            "allowlist_count": len(config.tool_exec_allowlist),
            "allowlist": list(config.tool_exec_allowlist),
            "timeout_ms": config.tool_exec_timeout_ms,
        },
        "data_fetch": {
            "enabled": config.data_fetch_enabled,
            "allowlist_count": len(config.data_fetch_allowlist),
            "allowlist": list(config.data_fetch_allowlist),
            "timeout_ms": config.data_fetch_timeout_ms,
            "max_bytes": config.data_fetch_max_bytes,
        },
        "web_search": {
            "enabled": config.web_search_enabled,
            "provider": config.web_search_provider,
            "brave_api_key_configured": brave_key is not None and bool(brave_key.get_secret_value()),
            "timeout_ms": config.web_search_timeout_ms,
            "max_results": config.web_search_max_results,
            "base_url": config.web_search_base_url,
        },
    }
    return settings if principal.can_write else _only(settings, "enabled", "provider")


def providers(principal: Principal) -> dict[str, dict[str, Any]]:
    """What the language model providers are set to; how, only for admins."""
    settings = provider_settings()
    return settings if principal.can_write else _only(settings, "enabled")


def _only(settings: dict[str, dict[str, Any]], *names: str) -> dict[str, dict[str, Any]]:
    return {part: {name: value for name, value in of.items() if name in names} for part, of in settings.items()}
