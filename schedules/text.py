"""Schedules, runs and due times as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from jobs.text import SHORT_ID_CHARS, moment, plain, pretty
from rauskuclaw.config import load
from rauskuclaw.operations.text import Cell, Paint, pairs, span, table
from schedules.models import Missed, Overlap, Result, Schedule, Stopped
from schedules.queries import RunOfJob

_RESULT_COLOURS = {
    Result.MADE: "green", Result.WAITING: "yellow", Result.FAILED: "red",
    Result.OVERLAPPED: "dim", Result.MISSED: "dim",
}  # fmt: skip


def cadence_text(schedule: Schedule) -> str:
    """`every 5 min`, or `30 3 * * 1-5 Europe/Helsinki`."""
    if schedule.interval_sec is not None:
        return f"every {span(schedule.interval_sec)}"
    return f"{schedule.cron} {schedule.time_zone or load().scheduler_cron_tz}"


def state_text(schedule: Schedule) -> tuple[str, str]:
    """A word, and its colour."""
    if schedule.enabled:
        return ("at fault", "red") if schedule.last_error else ("on", "green")
    return (schedule.stopped.replace("_", " "), "yellow") if schedule.stopped else ("off", "dim")


def schedule_table(schedules: Sequence[Schedule], paint: Paint, now: datetime) -> str:
    """A line for each schedule."""
    rows = [
        (
            str(it.id)[:SHORT_ID_CHARS],
            plain(it.name or ""),
            Cell(*state_text(it)),
            cadence_text(it),
            it.type,
            it.queue,
            Cell(_until(it, now), right=True),
            Cell("" if it.last_run_at is None else span((now - it.last_run_at).total_seconds()), right=True),
            Cell(str(it.runs_made), right=True),
        )
        for it in schedules
    ]
    return table(("id", "name", "", "when", "type", "queue", "next in", "ran ago", "runs"), rows, paint)


def _until(schedule: Schedule, now: datetime) -> str:
    return span((schedule.next_run_at - now).total_seconds()) if schedule.enabled else ""


def schedule_page(schedule: Schedule, runs: Sequence[RunOfJob], paint: Paint) -> str:
    """Everything about one schedule."""
    word, colour = state_text(schedule)
    catch_up = f", {schedule.catch_up_max} at most" if schedule.missed == Missed.CATCH_UP else ""
    stopped = f": {Stopped(schedule.stopped).label}" if schedule.stopped else ""
    error = schedule.last_error or {}
    facts = [
        ("id", str(schedule.id)),
        ("name", plain(schedule.name or "")),
        ("state", paint(word, colour) + stopped),
        ("when", cadence_text(schedule)),
        ("next run", moment(schedule.next_run_at) if schedule.enabled else ""),
        ("ends", moment(schedule.ends_at)),
        ("jitter", span(schedule.jitter_sec) if schedule.jitter_sec else ""),
        ("missed", f"{Missed(schedule.missed).label.lower()}{catch_up}"),
        ("overlap", Overlap(schedule.overlap).label.lower()),
        ("stops after", f"{schedule.pause_after_failures} failures in a row" if schedule.pause_after_failures else ""),
        ("runs", f"{schedule.runs_made}" + (f" of {schedule.max_runs}" if schedule.max_runs else "")),
        ("job", f"{schedule.type} on {schedule.queue}, priority {schedule.priority}"),
        ("last run", moment(schedule.last_run_at)),
        ("last job", str(schedule.last_job_id or "")),
        ("fault", paint(plain(f"{error.get('code')}: {error.get('message')}"), "red") if error else ""),
        ("created", moment(schedule.created_at) + (f" by {schedule.created_by}" if schedule.created_by else "")),
    ]
    parts = [pairs(facts, paint)]
    if schedule.input is not None:
        parts.append(f"{paint('INPUT', 'bold')}\n{pretty(schedule.input)}")
    if runs:
        parts.append(f"{paint('RUNS', 'bold')}\n{run_table(runs, paint)}")
    return "\n\n".join(parts)


def run_table(runs: Sequence[RunOfJob], paint: Paint) -> str:
    """A line for each run, the newest first."""
    rows = [
        (
            moment(it.run.due_at),
            it.run.trigger,
            Cell(it.run.result, _RESULT_COLOURS[Result(it.run.result)]),
            str(it.run.job_id or ""),
            it.job.status if it.job else "",
            plain((it.run.error or {}).get("message", "")),
        )
        for it in runs
    ]
    return table(("due", "by", "result", "job", "status", "error"), rows, paint)


def due_table(due: Sequence[dict[str, Any]], paint: Paint) -> str:
    """A line for each due time of a preview."""
    rows = [
        (it["due_at"], it["local"], Cell(_change(it["zone_change_sec"]), "yellow"))
        for it in due
    ]  # fmt: skip
    return table(("due", "local", ""), rows, paint)


def _change(seconds: int | None) -> str:
    if seconds is None:
        return ""
    return f"clocks put {'forward' if seconds > 0 else 'back'} by {span(abs(seconds))}"
