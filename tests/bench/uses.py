"""What is done to the tables all day: each use by its name, ready to be timed and to have its plans looked at."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models.functions import Now

from access.principals import Principal
from jobs import dispatch, explain, lifecycle, queries, reconciler
from jobs.models import Job, JobType, Status
from jobs.requests import NewJob
from jobs.submission import submit, submit_batch
from jobs.transitions import Claim, Claimable
from metrics import counting, prometheus, runtime
from metrics.alerts import evaluate
from metrics.models import Progress
from schedules import dispatch as dispatch_schedules
from schedules.models import Overlap, Schedule
from schedules.queries import ScheduleFilter, runs_of, schedule_page

ADMIN = Principal("bench", "admin")
TWO_QUEUES = Principal("bench", "read", queue_allowlist=("mail", "models"))
TYPE = "bench.mark"
QUEUE = "growth"
"""A queue that no worker consumes: the jobs are ours to claim."""
LEASE_SEC = 3600.0
PAGE = 50
Use = Callable[[], object]


class Uses:
    """All uses. Makes its own living jobs; needs finished ones to be there (tests/bench/history.py)."""

    def __init__(self, *, repeats: int) -> None:
        JobType.objects.get_or_create(name=TYPE, defaults={"handler": "test:stubborn"})
        self._published = iter(self._make(repeats + 20))
        self._running = iter([self._claimed(job_id) for job_id in self._make(2 * repeats + 20)])
        self._logged = self._claimed(self._make(1)[0])
        self._backlog()
        now = datetime.now(UTC)
        self._schedule = Schedule.objects.create(
            type=TYPE, queue=QUEUE, timeout_sec=60, max_attempts=1, interval_sec=3600, next_run_at=now, due_at=now,
            overlap=Overlap.CANCEL_RUNNING, pause_after_failures=3,
        )  # fmt: skip
        self._middle = self._position(0.5)
        self._last = self._position(0.999)

    def all(self) -> dict[str, Use]:
        """Every use by its name; each call does it once."""

        def page(who: Principal = ADMIN, after: queries.Position | None = None, **wanted: Any) -> Use:
            return lambda: queries.job_page(queries.JobFilter(**wanted), principal=who, limit=PAGE, after=after)

        now = datetime.now(UTC)
        queued = Job.objects.filter(queue=QUEUE, status=Status.QUEUED, published_at=None).first()
        assert queued is not None
        ended = Job.objects.filter(status=Status.SUCCEEDED).order_by("created_at").first()
        assert ended is not None
        return {
            "create": lambda: submit(NewJob(type=TYPE, queue=QUEUE), created_by="bench"),
            "claim": self._claim,
            "append a log line": lambda: lifecycle.append_logs(self._logged.id, [("info", "a line", None)]),
            "succeed": self._succeed,
            "refill a window": lambda: dispatch.fill(QUEUE, "process"),
            "reconcile": reconciler.reconcile,
            "get a job": lambda: queries.visible_job(str(ended.id), principal=ADMIN),
            "log": lambda: queries.log_tail(ended, tail=200),
            "attempts": lambda: queries.attempts_of(ended),
            "explain": lambda: explain.explain(queued),
            "tree": lambda: queries.tree_of(ended, principal=ADMIN, most=1000),
            "children that are open": lambda: queries.open_children(queued),
            "list": page(),
            "list, from the middle": page(after=self._middle),
            "list, the last page": page(after=self._last),
            "list by status": page(status="failed"),
            "list by a status that few have": page(status="running"),
            "list by queue": page(queue="mail"),
            "list by type": page(type="data.fetch"),
            "list by queue and status": page(queue="mail", status="cancelled"),
            "list by type and status": page(type="data.fetch", status="cancelled"),
            "list by a common tag": page(tag="nightly"),
            "list by a rare tag": page(tag="customer-7"),
            "list by a tag that is not there": page(tag="nowhere"),
            "list one day": page(since=now - timedelta(days=2), until=now - timedelta(days=1)),
            "list for a key of two queues": page(who=TWO_QUEUES),
            "search": page(text="report 7"),
            "count the minutes that are over": self._count,
            "counters of the last hour": lambda: counting.sums(3600),
            "counters for a key of two queues": lambda: counting.sums_by_queue(3600, TWO_QUEUES.queue_allowlist),
            "check all alerts": evaluate.evaluate,
            "page for Prometheus": lambda: prometheus.render(""),
            "live workers": lambda: runtime.workers(ADMIN),
            "tick of the schedules": self._tick,
            "schedules": lambda: schedule_page(ScheduleFilter(), principal=ADMIN, limit=PAGE),
            "schedules by type": lambda: schedule_page(ScheduleFilter(type=TYPE), principal=TWO_QUEUES, limit=PAGE),
            "runs of a schedule": lambda: runs_of(self._schedule, limit=PAGE),
        }

    def _count(self) -> None:
        """As each ten seconds: a minute or so."""
        since = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=3)
        Progress.objects.update_or_create(id=1, defaults={"counted_to": since})
        assert counting.count_up() in {1, 2}

    def _tick(self) -> None:
        """With what looks back: overlap, and failures in a row."""
        Schedule.objects.filter(pk=self._schedule.pk).update(next_run_at=Now(), due_at=Now(), last_due_at=None)
        assert dispatch_schedules.tick().schedules >= 1

    def _claim(self) -> None:
        wanted = Claimable(next(self._published), 0, worker="bench", node=None, lease_sec=LEASE_SEC)
        assert lifecycle.claim(wanted) is not None

    def _succeed(self) -> None:
        claim = next(self._running)
        assert lifecycle.succeed(claim.id, claim.fence, result={})

    def _make(self, count: int) -> list[uuid.UUID]:
        """Queued jobs that say they are published."""
        found = []
        for start in range(0, count, 500):
            made = submit_batch([NewJob(type=TYPE, queue=QUEUE)] * min(500, count - start), created_by="bench")
            found += [one.job.id for one in made if not isinstance(one, Exception)]
        Job.objects.filter(pk__in=found).update(published_at=datetime.now(UTC))
        return found

    @staticmethod
    def _claimed(job_id: uuid.UUID) -> Claim:
        claim = lifecycle.claim(Claimable(job_id, 0, worker="bench", node=None, lease_sec=LEASE_SEC))
        assert claim is not None
        return claim

    @staticmethod
    def _backlog() -> None:
        submit_batch([NewJob(type=TYPE, queue=QUEUE)] * 500, created_by="bench")

    @staticmethod
    def _position(share: float) -> queries.Position:
        """About so far down the list, by time."""
        first, last = (
            Job.objects.order_by(order, order.replace("created_at", "id")).values_list("created_at", flat=True)[0]
            for order in ("created_at", "-created_at")
        )
        return queries.Position(last - (last - first) * share, uuid.UUID(int=0))
