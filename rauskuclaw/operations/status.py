"""`manage.py status`: what runs here, who works, what waits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from django.db import DatabaseError, InterfaceError
from django.db.models import Count, Min, Q
from django.db.models.functions import Now
from django.utils import timezone

from jobs.models import CallbackDelivery, Job, Node, Status
from jobs.nodes import is_alive
from rauskuclaw import __version__, errors
from rauskuclaw.api.fields import iso_ms
from rauskuclaw.config import load
from rauskuclaw.errors import Problem
from rauskuclaw.health import Check, check_all
from rauskuclaw.operations.command import Answer
from rauskuclaw.operations.text import Cell, Paint, pairs, span, table
from rauskuclaw.stack.state import read_state
from schedules.queries import overview

SERVERS = ("database", "redis")
LATE_SEC = 10.0
"""A schedule that has been due for so long is told in red: ticks come each second."""


@dataclass(frozen=True)
class Queue:
    """A queue and pool that have open jobs or a worker. oldest_sec: age of the oldest queued job, None without one."""

    queue: str
    pool: str
    """Each pool has workers of its own."""
    queued: int
    published: int
    """Of the queued ones, those handed to the workers and not yet taken."""
    delayed: int
    """Of the queued ones, those that wait for a dependency or for a retry's due time."""
    running: int
    oldest_sec: float | None
    workers: int
    """Live workers of the pool that consume it."""


@dataclass(frozen=True)
class Callbacks:
    """The outbox."""

    pending: int
    dead: int


def status() -> tuple[dict[str, Any], list[Node]]:
    """Everything as JSON, and the nodes. While Postgres is away the parts that need it are null."""
    parts = check_all()
    facts: dict[str, Any] = {
        "version": __version__,
        "stack": stack(load().var_dir),
        "parts": parts,
        "nodes": None,
        "queues": None,
        "callbacks": None,
        "schedules": None,
    }
    nodes: list[Node] = []
    if parts["database"]["ok"] and parts["migrations"]["ok"]:
        nodes = list(Node.objects.all())
        now = timezone.now()
        facts |= {
            "nodes": [node_json(node, now) for node in nodes],
            "queues": [asdict(queue) for queue in queues(nodes)],
            "callbacks": asdict(callbacks()),
            "schedules": asdict(overview()),
        }
    return facts, nodes


def stack(var_dir: Path) -> dict[str, Any] | None:
    """What the supervisor of `make up` says in `stack.json`; None where there is no such stack.

    `running` is False for what a killed supervisor left behind.
    """
    found = read_state(var_dir / "stack.json")
    if not found:
        return None
    pid = found.get("pid")
    shown = {name: found.get(name) for name in ("pid", "url", "state", "started_at")}
    services = [{name: it.get(name) for name in ("name", "state", "pid", "restarts")} for it in found["services"]]
    return {**shown, "running": isinstance(pid, int) and psutil.pid_exists(pid), "services": services}


def node_json(node: Node, now: datetime) -> dict[str, Any]:
    """A node, for programs."""
    return {
        "name": node.name,
        "kind": node.kind,
        "alive": is_alive(node, now),
        "seen_sec_ago": round(max(0.0, (now - node.seen_at).total_seconds()), 1),
        "pool": node.pool if node.kind == Node.Kind.WORKER else None,
        "queues": node.queues,
        "concurrency": node.concurrency,
        "version": node.version,
        "host": node.host.partition("/")[0],
        "pid": node.pid,
        "started_at": iso_ms(node.started_at),
    }


def queues(nodes: list[Node]) -> list[Queue]:
    """The queues by name and pool. One statement, over the open jobs only (served by job_by_status)."""
    now = timezone.now()
    workers = [node for node in nodes if node.kind == Node.Kind.WORKER and is_alive(node, now)]
    served = [(queue, node.pool) for node in workers for queue in node.queues]
    is_queued = Q(status=Status.QUEUED)
    found = (
        Job.objects.filter(status__in=[Status.QUEUED, Status.RUNNING])
        .order_by()
        .values("queue", "pool")
        .annotate(
            queued=Count("pk", filter=is_queued),
            published=Count("pk", filter=Q(published_at__isnull=False)),
            delayed=Count("pk", filter=is_queued & (Q(waiting_on__gt=0) | Q(available_at__gt=Now()))),
            running=Count("pk", filter=Q(status=Status.RUNNING)),
            oldest=Min("created_at", filter=is_queued),
        )
    )
    counted: dict[tuple[str, str], Queue] = {}
    for row in found:
        key, oldest = (row["queue"], row["pool"]), row["oldest"]
        numbers = {column: row[column] for column in ("queued", "published", "delayed", "running")}
        age = None if oldest is None else round(max(0.0, (now - oldest).total_seconds()), 1)
        counted[key] = Queue(*key, **numbers, oldest_sec=age, workers=served.count(key))
    idle = {key: Queue(*key, 0, 0, 0, 0, None, served.count(key)) for key in served}
    return [queue for _, queue in sorted({**idle, **counted}.items())]


def callbacks() -> Callbacks:
    """How many are to be delivered, and how many were given up."""
    state = CallbackDelivery.State
    counts = dict(
        CallbackDelivery.objects.filter(state__in=[state.PENDING, state.DEAD])
        .order_by()
        .values_list("state")
        .annotate(Count("pk"))
    )
    return Callbacks(counts.get(state.PENDING, 0), counts.get(state.DEAD, 0))


def answer(paint: Paint) -> Answer:
    """The status, and DATABASE_UNAVAILABLE or NOT_READY when a server does not answer."""
    try:
        facts, nodes = status()
    except (DatabaseError, InterfaceError):  # it went away meanwhile
        facts, nodes = status()
    parts: dict[str, Check] = facts["parts"]
    bad = [name for name in SERVERS if not parts[name]["ok"]]
    problem = None
    if bad:
        code = errors.DATABASE_UNAVAILABLE if "database" in bad else errors.NOT_READY
        problem = Problem(code, "; ".join(f"{name} {parts[name]['detail']}" for name in bad))
    return Answer(_text(facts, nodes, paint), facts, problem)


def _text(facts: dict[str, Any], nodes: list[Node], paint: Paint) -> str:
    sections = [f"{paint('RauskuClaw', 'bold')} {facts['version']}", _parts(facts["parts"], paint)]
    if facts["stack"]:
        sections.append(_stack_text(facts["stack"], paint))
    if nodes:
        sections.append(_node_table(nodes, paint))
    if facts["queues"]:
        sections.append(_queue_table(facts["queues"], paint))
    if facts["callbacks"]:
        pending, dead = facts["callbacks"]["pending"], facts["callbacks"]["dead"]
        told = f"{pending:,} pending, " + paint(f"{dead:,} dead", "red" if dead else "")
        sections.append(pairs([("callbacks", told), ("schedules", _schedules_text(facts["schedules"], paint))], paint))
    return "\n\n".join(sections)


def _schedules_text(found: dict[str, Any], paint: Paint) -> str:
    """Empty where there are none."""
    if not found["enabled"] + found["disabled"]:
        return ""
    late = found["lag_sec"] > LATE_SEC
    return ", ".join(
        [
            f"{found['enabled']:,} enabled",
            f"{found['disabled']:,} off",
            *([paint(f"{found['faulty']:,} at fault", "red")] if found["faulty"] else []),
            *([paint(f"due for {span(found['lag_sec'])}", "red")] if late else []),
        ]
    )


def _parts(parts: dict[str, Check], paint: Paint) -> str:
    width = max(map(len, parts))
    marks = {True: paint("✓", "green"), False: paint("✗", "red")}
    return "\n".join(
        f"{marks[part['ok']]} {name.ljust(width)}  {paint(part['detail'], 'dim')}" for name, part in parts.items()
    )


def _stack_text(stack: dict[str, Any], paint: Paint) -> str:
    if not stack["running"]:
        return paint(f"make up: pid {stack['pid']} is gone; the next `make up` cleans up after it", "yellow")
    restarts = {it["name"]: it["restarts"] for it in stack["services"]}
    names = [f"{name} ({n} restarts)" if n else name for name, n in restarts.items()]
    head = f"make up: {stack['state']} at {stack['url']}, pid {stack['pid']}, since {stack['started_at']}"
    return f"{head}\n{paint('  ' + ', '.join(names), 'dim')}"


def _node_table(nodes: list[Node], paint: Paint) -> str:
    now = timezone.now()
    rows = [
        (
            Cell("alive", "green") if is_alive(node, now) else Cell("silent", "red"),
            node.name,
            "I/O worker" if node.pool == "io" else node.kind,
            ", ".join(node.queues),
            Cell(str(node.concurrency or ""), right=True),
            node.version,
            Cell(span((now - node.seen_at).total_seconds()), right=True),
        )
        for node in nodes
    ]
    return table(("", "node", "kind", "queues", "slots", "version", "seen ago"), rows, paint)


def _queue_table(found: list[dict[str, Any]], paint: Paint) -> str:
    rows = []
    for it in found:
        lonely = it["queued"] and not it["workers"]
        numbers = [Cell(f"{it[name]:,}", right=True) for name in ("queued", "published", "delayed", "running")]
        oldest = Cell("" if it["oldest_sec"] is None else span(it["oldest_sec"]), right=True)
        rows.append(
            (it["queue"], it["pool"], *numbers, oldest, Cell(str(it["workers"]), "red" if lonely else "", right=True))
        )
    return table(("queue", "pool", "queued", "published", "delayed", "running", "oldest", "workers"), rows, paint)
