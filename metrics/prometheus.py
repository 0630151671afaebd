"""The page that Prometheus scrapes. All of it comes from Postgres and Redis, so any web process gives the same answer.

Labels are bounded: types are those of the job types, queues the MAX_QUEUES busiest; all others add up in OTHER.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.db.models import Count, Q
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from jobs import nodes
from jobs.live import audience
from jobs.models import CallbackDelivery, Job, JobType, Node, Status
from memory import queries as memories
from metrics import counting
from metrics.alerts.rules import DEFINITIONS
from metrics.models import Alert
from metrics.sql import rows
from providers import usage as models
from rauskuclaw import __version__
from schedules import queries as schedules

CACHE_SEC = 2.0
"""So long an answer of this process is given again: any number of scrapers cost what one does."""
MAX_QUEUES = 100
OTHER = "_other"

_COUNTERS = {
    # name here: (family, help, labels)
    "job.made": ("jobs_made", "Jobs made, by whomever.", ("type",)),
    "job.ended": ("jobs_ended", "Jobs that ended, by status.", ("type", "status")),
    "attempt.ended": ("attempts_ended", "Attempts that ended, by outcome.", ("type", "outcome")),
    "schedule.dispatched_jobs": ("schedule_jobs", "Jobs that schedules made.", ()),
    "schedule.tick_failed": ("schedule_ticks_failed", "Ticks that failed.", ()),
    "job.retried": ("jobs_retried", "Failed attempts that left their job queued for another.", ("type",)),
    "job.idempotency_hit": ("idempotency_hits", "Posts answered with a job that existed.", ("type",)),
    "lease.expired": ("leases_expired", "Leases that ran out.", ()),
    "job.republished": ("jobs_republished", "Messages that Redis had lost.", ()),
    "approval.decided": (
        "approvals",
        "Approvals of jobs: requested, approved, denied, expired, withdrawn.",
        ("decision",),
    ),
    "retention.removed": ("retention_removed", "Rows, or partitions of the log, that were deleted for age.", ("kind",)),
}
_CALLBACKS = {
    "callback.delivered": "delivered", "callback.failed": "failed", "callback.blocked_allowlist": "blocked",
    "callback.skipped_disabled": "skipped", "callback.skipped_signing_secret_missing": "skipped",
}  # fmt: skip
_HISTOGRAMS = {
    "job.wait": ("job_wait_seconds", "From due to begun, each attempt."),
    "job.run": ("job_run_seconds", "From begun to ended, each attempt."),
    "job.total": ("job_total_seconds", "From made to succeeded or failed for good, each job."),
}

Values = Mapping[Any, float]
"""By the values of the labels, in their order."""

_cached: dict[str, tuple[float, bytes]] = {}
_lock = threading.Lock()


def page(accept: str) -> tuple[bytes, str]:
    """The page and its content type, in the format that the Accept header prefers; at most CACHE_SEC old."""
    _, content_type = choose_encoder(accept)
    with _lock:
        until, content = _cached.get(content_type, (0.0, b""))
        if time.monotonic() >= until:
            content = render(accept)
            _cached[content_type] = (time.monotonic() + CACHE_SEC, content)
    return content, content_type


def render(accept: str) -> bytes:
    """The page as it is now."""
    encoder, _ = choose_encoder(accept)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Everything())
    content: bytes = encoder(registry)
    return content


class _Everything(Collector):
    """Every series, read anew."""

    def collect(self) -> Iterable[Metric]:
        yield _gauge("info", "1, with the version.", ("version",), {(__version__,): 1})
        yield from _queues()
        yield from _workers()
        yield from _totals()
        yield from _outbox()
        yield _gauge(
            "schedule_lag_seconds", "How long the longest due schedule has been.", (), {(): schedules.lag_sec()}
        )
        yield _gauge(
            "memories_without_vector", "Memories that wait for their embedding (pending), or met an error (failed).",
            ("state",), {(state,): number for state, number in memories.not_ready().items()},
        )  # fmt: skip
        yield from _models()
        yield from _database()
        yield _gauge("alerts", "Alerts that are not resolved.", ("code",), _open_alerts())
        if (subscribers := audience.total()) is not None:
            yield _gauge("stream_subscribers", "Live streams that are open.", (), {(): subscribers})

    def describe(self) -> Iterable[Metric]:
        """Nothing: there is one collector, whose names cannot meet others'."""
        return ()


def _gauge(name: str, help_text: str, labels: tuple[str, ...], values: Values) -> Metric:
    family = GaugeMetricFamily(f"rauskuclaw_{name}", help_text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _models() -> Iterator[Metric]:
    found = models.today()
    calls = {(name, "failed"): it["failed"] for name, it in found.items()}
    calls |= {(name, "answered"): it["calls"] - it["failed"] for name, it in found.items()}
    yield _gauge("model_calls_open", "Calls of models under way.", (), {(): models.under_way()})
    yield _gauge("model_calls_today", "Calls of models since midnight UTC.", ("provider", "outcome"), calls)
    cost = {(name,): float(it["cost_usd"]) for name, it in found.items()}
    yield _gauge("model_cost_today_usd", "What models cost since midnight UTC, in dollars.", ("provider",), cost)


def _queues() -> Iterator[Metric]:
    found = rows("open_jobs", {})
    jobs, oldest = Counter[tuple[str, ...]](), dict[tuple[str, ...], float]()
    for number, row in enumerate(found):
        name = row["queue"] if number < MAX_QUEUES else OTHER
        for state in ("waiting", "published", "delayed", "running"):
            jobs[name, state] += row[state]
        oldest[name,] = max(oldest.get((name,), 0.0), row["oldest_sec"])
    yield _gauge("queue_jobs", "Open jobs: waiting (due), published, delayed or running.", ("queue", "state"), jobs)
    yield _gauge("queue_oldest_seconds", "How long the oldest due job has waited.", ("queue",), oldest)


def _workers() -> Iterator[Metric]:
    alive = nodes.alive(Node.objects.filter(kind=Node.Kind.WORKER))
    pools = dict.fromkeys([("process",), ("io",)], 0)
    workers, slots, busy = Counter(pools), Counter(pools), Counter(pools)
    for node in alive:
        workers[node.pool,] += 1
        slots[node.pool,] += node.concurrency
    running = Job.objects.filter(status=Status.RUNNING).order_by().values_list("pool").annotate(count=Count("id"))
    for pool, count in running:
        busy[pool,] += count
    yield _gauge("workers", "Live workers.", ("pool",), workers)
    yield _gauge("worker_slots", "Jobs that they can run at once.", ("pool",), slots)
    yield _gauge("worker_slots_busy", "Jobs that run.", ("pool",), busy)


def _totals() -> Iterator[Metric]:
    types = set(JobType.objects.values_list("name", flat=True))
    counts: dict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    buckets: dict[str, dict[str, list[int]]] = defaultdict(
        lambda: defaultdict(lambda: [0] * (len(counting.BOUNDS_SEC) + 1))
    )
    sums_ms: dict[str, Counter[str]] = defaultdict(Counter)
    callbacks = Counter({(result,): 0 for result in _CALLBACKS.values()})
    for name, labels, value in counting.totals():
        type_ = labels.get("type", "")
        labels["type"] = type_ if type_ in types else OTHER
        if name in _COUNTERS:
            counts[name][tuple(str(labels[label]) for label in _COUNTERS[name][2])] += value
        elif name in _CALLBACKS:
            callbacks[_CALLBACKS[name],] += value
        elif name in _HISTOGRAMS:
            buckets[name][labels["type"]][labels["bucket"]] += value
        elif name.removesuffix("_ms") in _HISTOGRAMS:
            sums_ms[name.removesuffix("_ms")][labels["type"]] += value
    for name, (family_name, help_text, label_names) in _COUNTERS.items():
        if not label_names:
            counts[name][()] += 0
        yield _counter(family_name, help_text, label_names, counts[name])
    yield _counter("callbacks", "Tries of callbacks, and those not sent, by what came of them.", ("result",), callbacks)
    for name, (family_name, help_text) in _HISTOGRAMS.items():
        family = HistogramMetricFamily(f"rauskuclaw_{family_name}", help_text, labels=["type"])
        for type_, found in buckets[name].items():
            family.add_metric([type_], _cumulative(found), sum_value=sums_ms[name][type_] / 1000)
        yield family


def _counter(name: str, help_text: str, labels: tuple[str, ...], values: Values) -> Metric:
    family = CounterMetricFamily(f"rauskuclaw_{name}", help_text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _cumulative(counts: list[int]) -> list[tuple[str, float]]:
    """A histogram's buckets as Prometheus has them: how many were at most so long."""
    bounds = [str(bound) for bound in counting.BOUNDS_SEC] + ["+Inf"]
    return [(bound, float(sum(counts[: place + 1]))) for place, bound in enumerate(bounds)]


def _outbox() -> Iterator[Metric]:
    states = CallbackDelivery.State
    pending, dead = (CallbackDelivery.objects.filter(Q(state=state)).count() for state in (states.PENDING, states.DEAD))
    yield _gauge(
        "callback_deliveries", "Callbacks that wait to be delivered (pending), and those given up (dead).", ("state",),
        {("pending",): pending, ("dead",): dead},
    )  # fmt: skip


def _database() -> Iterator[Metric]:
    (found,) = rows("database", {})
    connections = {(state,): found[state] for state in ("active", "idle", "in_transaction")}
    yield _gauge("database_size_bytes", "Size of the database.", (), {(): found["size_bytes"]})
    yield _gauge("database_connections", "Connections to the database, by what they do.", ("state",), connections)
    yield _gauge("database_connections_max", "Connections that Postgres allows.", (), {(): found["max_connections"]})


def _open_alerts() -> dict[tuple[str, ...], float]:
    found = dict(Alert.objects.filter(resolved_at=None).order_by().values_list("code").annotate(Count("id")))
    return {(code,): found.get(code, 0) for code in DEFINITIONS}
