"""The rules there are: what each means, its defaults, and what operators have made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from metrics.models import AlertRule
from rauskuclaw.config import Config, load


@dataclass(frozen=True)
class Definition:
    """A kind of alert. window_sec: None for what holds at a moment and looks back on nothing."""

    meaning: str
    unit: str
    """Of the threshold and of what is measured."""
    threshold: Callable[[Config], float]
    window_sec: Callable[[Config], int] | None = None


def _always(value: int) -> Callable[[Config], int]:
    return lambda _: value


DEFINITIONS: dict[str, Definition] = {
    "QUEUE_STALLED": Definition(
        "The oldest queued job has been due for so long.", "seconds", lambda config: config.alert_queue_stalled_sec
    ),
    "HIGH_FAILURE_RATE": Definition(
        "Of the jobs that ended in the window, so large a share has failed.", "percent",
        lambda config: config.alert_failure_rate_pct, lambda config: config.alert_window_sec,
    ),
    "NO_WORKER": Definition(
        "Jobs have been due for so long on a queue that is not paused and that no live worker consumes.", "seconds",
        _always(60),
    ),
    "WORKERS_LOST": Definition(
        "So many attempts lost their worker in the window: it died, or its lease ran out.", "attempts",
        _always(5), _always(600),
    ),
    "SCHEDULE_LAG": Definition("A schedule that is switched on has been due for so long.", "seconds", _always(60)),
    "CALLBACK_BACKLOG": Definition("So many callbacks wait to be delivered.", "callbacks", _always(100)),
    "DISK_LOW": Definition(
        "The disk that holds VAR_DIR, as the system worker sees it, is so full.", "percent", _always(90)
    ),
    "DATABASE_GROWTH": Definition(
        "The database has grown by so much in the window.", "MiB", _always(10_240), _always(86_400)
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """A rule as it holds now."""

    code: str
    enabled: bool
    threshold: float
    window_sec: int | None
    min_count: int | None
    """HIGH_FAILURE_RATE's alone."""
    cooldown_sec: int
    webhooks: tuple[str, ...]
    emails: tuple[str, ...]


def rule(code: str) -> Rule:
    """One rule. Raises KeyError."""
    return _effective(code, AlertRule.objects.filter(pk=code).first())


def rules() -> list[Rule]:
    """All of them, in the order of DEFINITIONS."""
    rows = AlertRule.objects.in_bulk(list(DEFINITIONS))
    return [_effective(code, rows.get(code)) for code in DEFINITIONS]


def _effective(code: str, row: AlertRule | None) -> Rule:
    definition, row, config = DEFINITIONS[code], row or AlertRule(code=code), load()
    window_sec = definition.window_sec(config) if definition.window_sec else None
    default_min = config.alert_failure_rate_min_completed if code == "HIGH_FAILURE_RATE" else None
    return Rule(
        code=code,
        enabled=row.enabled,
        threshold=definition.threshold(config) if row.threshold is None else row.threshold,
        window_sec=window_sec if row.window_sec is None or window_sec is None else row.window_sec,
        min_count=default_min if row.min_count is None else row.min_count,
        cooldown_sec=row.cooldown_sec,
        webhooks=tuple(row.webhooks),
        emails=tuple(row.emails),
    )
