"""Jobs, log lines and job types as text for a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from django.utils import timezone

from jobs import results
from jobs.explain import Reason
from jobs.models import Attempt, CallbackDelivery, Job, JobLog, JobType, Status
from jobs.queues import QueueOverview
from jobs.representation import type_json
from rauskuclaw.operations.text import Cell, Paint, pairs, span, table

SHORT_ID_CHARS = 8
"""Of an id in a table: enough for `jobs show`, which takes any unique beginning."""
STATUS_COLOURS = {
    Status.QUEUED: "yellow",
    Status.RUNNING: "blue",
    Status.SUCCEEDED: "green",
    Status.FAILED: "red",
    Status.CANCELLED: "dim",
}
_LEVEL_COLOURS = {"debug": "dim", "warn": "yellow", "error": "red"}
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
_DIRECTION = {
    code: f"\\u{code:04x}" for code in (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
_HIDDEN = _CONTROL | _DIRECTION
"""Log lines and errors hold what commands and servers wrote: shown raw, they could steer the terminal. Inputs may be
what a model wrote: marks of the direction of writing could make one look like another to who approves it."""


def plain(text: str) -> str:
    """`text` with its control characters, and marks of the direction of writing, made visible."""
    return text.translate(_HIDDEN)


def pretty(value: Any) -> str:
    """Indented JSON; empty for null."""
    return "" if value is None else plain(json.dumps(value, indent=2, ensure_ascii=False))


def took_sec(job: Job, now: datetime) -> float | None:
    """How long the last attempt ran, or has run by now. None for a job that never ran, or waits to run again."""
    if job.started_at is None or job.status == Status.QUEUED:
        return None
    return ((job.finished_at or now) - job.started_at).total_seconds()


def job_table(jobs: Sequence[Job], paint: Paint) -> str:
    """A line for each job."""
    now = timezone.now()
    rows = [
        (
            str(job.id)[:SHORT_ID_CHARS],
            Cell(job.status, STATUS_COLOURS[Status(job.status)]),
            job.type,
            job.queue,
            Cell(str(job.priority), right=True),
            Cell(f"{job.attempts}/{job.max_attempts}", right=True),
            Cell(span((now - job.created_at).total_seconds()), right=True),
            Cell("" if (took := took_sec(job, now)) is None else span(took), right=True),
            plain(", ".join(job.tags)),
        )
        for job in jobs
    ]
    return table(("id", "status", "type", "queue", "prio", "tries", "age", "took", "tags"), rows, paint)


def job_page(
    job: Job,
    reasons: Iterable[Reason],
    attempts: Sequence[Attempt],
    callbacks: Sequence[CallbackDelivery],
    paint: Paint,
) -> str:
    """Everything about one job."""
    took = took_sec(job, timezone.now())
    facts = [
        ("id", str(job.id)),
        ("type", job.type),
        ("status", paint(job.status, STATUS_COLOURS[Status(job.status)])),
        ("queue", f"{job.queue}, priority {job.priority}"),
        ("attempts", f"{job.attempts} of {job.max_attempts}" + (f", series {job.series}" if job.series > 1 else "")),
        ("time limit", span(job.timeout_sec)),
        ("created", moment(job.created_at) + (f" by {job.created_by}" if job.created_by else "")),
        ("started", moment(job.started_at)),
        ("finished", moment(job.finished_at) + (f" after {span(took)}" if job.finished_at and took else "")),
        ("worker", job.locked_by),
        ("tags", plain(", ".join(job.tags))),
        ("callback", plain(job.callback_url or "")),
    ]
    why = "\n".join(f"{plain(reason.message)}\n{paint('→ ' + plain(reason.remedy), 'dim')}" for reason in reasons)
    parts = [
        pairs(facts, paint),
        _part("why", why, paint),
        *(
            _part(name, pretty(value), paint)
            for name, value in (("input", job.input), ("result", results.shown(job)), ("error", job.error))
        ),
        _part("attempts", _attempt_table(attempts, paint) if attempts else "", paint),
        _part("callbacks", _callback_table(callbacks, paint) if callbacks else "", paint),
    ]
    return "\n\n".join(part for part in parts if part)


def _part(title: str, body: str, paint: Paint) -> str:
    return f"{paint(title.upper(), 'bold')}\n{body}" if body else ""


def _attempt_table(attempts: Iterable[Attempt], paint: Paint) -> str:
    rows = [
        (
            Cell(str(it.number), right=True),
            f"{it.ordinal} in series {it.series}",
            it.outcome,
            it.worker,
            moment(it.started_at),
            Cell("" if it.ran_ms is None else span(it.ran_ms / 1000), right=True),
            Cell(span(it.waited_ms / 1000), right=True),
            plain(str((it.error or {}).get("code") or (it.error or {}).get("message") or "")),
        )
        for it in attempts
    ]
    return table(("no", "attempt", "outcome", "worker", "started", "ran", "waited", "error"), rows, paint)


def _callback_table(callbacks: Iterable[CallbackDelivery], paint: Paint) -> str:
    rows = [
        (
            str(it.pk),
            it.state,
            Cell(str(it.tries), right=True),
            "" if it.last_status is None else str(it.last_status),
            plain(it.url),
            plain(it.last_error),
        )
        for it in callbacks
    ]
    return table(("id", "state", "tries", "http", "url", "last error"), rows, paint)


def log_text(line: JobLog, paint: Paint) -> str:
    """`11-20 23:56:49.857  warn  message  {"meta": 1}`."""
    meta = "" if line.meta is None else f"  {paint(plain(json.dumps(line.meta, ensure_ascii=False)), 'dim')}"
    level = paint(f"{line.level:5}", _LEVEL_COLOURS.get(line.level, ""))
    return f"{paint(moment(line.ts)[5:], 'dim')}  {level}  {plain(line.message)}{meta}"


def state_text(job: Job, paint: Paint) -> str:
    """One line on where the job stands: `succeeded  attempt 1 of 1, 0.35 s`."""
    took = took_sec(job, timezone.now())
    facts = [f"attempt {job.attempts} of {job.max_attempts}" if job.attempts else "not attempted"]
    facts += [span(took)] if took is not None else []
    error = job.error if job.status != Status.SUCCEEDED and isinstance(job.error, dict) else {}
    if error:
        head = f"{error['code']}: " if error.get("code") else ""
        facts.append(plain(f"{head}{error.get('message')}"))
    return f"{paint(job.status, STATUS_COLOURS[Status(job.status)])}  {', '.join(facts)}"


def type_table(types: Sequence[JobType], paint: Paint) -> str:
    """A line for each job type."""
    shown = [type_json(job_type) for job_type in types]
    rows = [
        (
            it["name"],
            _switch_cell(it),
            Cell(span(it["default_timeout_sec"]), right=True),
            Cell(str(it["default_max_attempts"]), right=True),
            needs_text(it["needs"]),
            it["handler"],
            "" if it["handler_installed"] else Cell("not installed", "red" if it["enabled"] else "yellow"),
        )
        for it in shown
    ]
    return table(("name", "", "limit", "tries", "needs", "handler", ""), rows, paint)


def _switch_cell(it: dict[str, Any]) -> Cell:
    if not it["enabled"]:
        return Cell("off", "dim")
    return Cell("paused", "yellow") if it["paused"] else Cell("on", "green")


def limits_text(job_type: JobType) -> str:
    """`at most 4 at once, 10 in 1 min a key`; a dash for none."""
    of_key = f"{job_type.max_running_per_key} of one key at once" if job_type.max_running_per_key else ""
    rate = f"{job_type.rate_limit} in {span(job_type.rate_period_sec)}" if job_type.rate_limit else ""
    parts = (
        f"{job_type.max_running} at once" if job_type.max_running else "",
        of_key,
        f"{rate} for each key" if rate and job_type.rate_per_key else rate,
    )
    return ", ".join(part for part in parts if part) or "–"


def queue_table(queues: Sequence[QueueOverview], paint: Paint) -> str:
    """A line for each queue."""
    rows = [
        (
            it.name,
            Cell("paused", "yellow") if it.paused else Cell("open", "green"),
            Cell("" if it.max_running is None else str(it.max_running), right=True),
            Cell(f"{it.waiting}{'+' if it.more_waiting else ''}", right=True),
            Cell("" if it.oldest_waiting_sec is None else span(it.oldest_waiting_sec), right=True),
            Cell(str(it.due_later), right=True),
            Cell(str(it.in_window), right=True),
            Cell(str(it.running), right=True),
            Cell(str(it.workers), "" if it.workers else "red", right=True),
            Cell(str(it.slots), right=True),
        )
        for it in queues
    ]
    head = ("name", "", "limit", "waiting", "oldest", "later", "window", "running", "workers", "slots")
    return table(head, rows, paint)


def type_page(job_type: JobType, paint: Paint) -> str:
    """Everything about one job type."""
    it = type_json(job_type)
    retry = it["retry"]
    waits = (
        f"{retry['base_sec']:g} s, then × {retry['factor']:g} up to {span(retry['max_sec'])},"
        f" {retry['jitter']:.0%} of it random"
    )
    facts = [
        ("name", it["name"]),
        ("enabled", paint("yes", "green") if it["enabled"] else paint("no", "dim")),
        ("paused", paint("yes", "yellow") if it["paused"] else ""),
        ("limits", limits_text(job_type)),
        ("handler", it["handler"] + ("" if it["handler_installed"] else paint("  not installed", "red"))),
        ("needs", needs_text(it["needs"])),
        ("time limit", span(it["default_timeout_sec"])),
        ("attempts", str(it["default_max_attempts"])),
        ("retry after", waits),
    ]
    schema = _part("input", pretty(it["input_schema"]), paint)
    return "\n\n".join(part for part in (pairs(facts, paint), schema) if part)


def needs_text(needs: dict[str, bool] | None) -> str:
    """`network, files`; a dash for none."""
    return ", ".join(name for name, needed in (needs or {}).items() if needed) or "–"


def moment(at: datetime | None) -> str:
    """`2026-11-20 23:56:49.857`, UTC; empty for none."""
    return "" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
