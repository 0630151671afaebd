"""Checks of the running stack, as its rows in Postgres show it: workers, queues, beat, keys, callbacks, job types."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone

from access import sealing, secrets
from access.models import ApiKey
from jobs.handlers import registry
from jobs.models import BEAT_NODE, CallbackDelivery, Job, JobType, Node, Status
from jobs.nodes import is_alive
from jobs.retention import partitions
from jobs.retention.models import RetentionRun
from metrics.alerts.rules import rules
from metrics.models import Alert
from rauskuclaw import __version__
from rauskuclaw.api.fields import iso_ms
from rauskuclaw.config import load
from rauskuclaw.operations.findings import Findings, fail, ok, warn
from rauskuclaw.operations.status import LATE_SEC, Queue, queues
from rauskuclaw.operations.text import count, span
from schedules.queries import overview

SLOW_SEC = 60.0
"""A due job that has waited so long beside a live worker is worth a word."""
LOG_DAYS_AHEAD = 3
RETENTION_SILENT = timedelta(minutes=10)
"""It runs each minute."""


def beat() -> Findings:
    """Beat and the system worker: without them nothing is retried, repaired or called back."""
    row = Node.objects.filter(pk=BEAT_NODE).first()
    now = timezone.now()
    if row is not None and is_alive(row, now):
        yield ok("beat", f"Rang {span((now - row.seen_at).total_seconds())} ago")
        return
    seen = "never rang" if row is None else f"has been silent for {span((now - row.seen_at).total_seconds())}"
    yield fail(
        "beat",
        f"Beat {seen}: no retry, repair, refill or callback happens",
        "Start beat and a worker of the queue `system` (docs/operations.md); `make up` runs both.",
    )


def workers() -> Findings:
    """Live job workers, all of one version."""
    now = timezone.now()
    alive = [node for node in Node.objects.filter(kind=Node.Kind.WORKER) if is_alive(node, now)]
    if not alive:
        yield fail("workers", "No job worker is alive: jobs wait", "Start one: `make up`, or docs/operations.md.")
        return
    slots = sum(node.concurrency for node in alive)
    yield ok("workers", f"{count(len(alive), 'worker')} with {count(slots, 'slot')}")
    if others := sorted({node.version for node in alive} - {__version__}):
        yield warn(
            "workers.version",
            f"Workers of version {', '.join(others)} run beside {__version__}",
            "Restart the older ones: their running jobs end first.",
        )


def consumers() -> Findings:
    """Each queue with work has a live worker, and the work moves."""
    found = queues(list(Node.objects.all()))
    lonely = [queue for queue in found if queue.queued and not queue.workers]
    for queue in lonely:
        worker, setting = _WORKERS[queue.pool]
        yield fail(
            _name(queue),
            f"{count(queue.queued, 'job')} on the queue {queue.queue}, which no live {worker} consumes",
            f"Start one ({worker}) whose WORKER_QUEUE_ALLOWLIST holds {queue.queue}, or cancel the jobs.",
        )
    for queue in found:
        if queue.workers and (waited := _longest_wait(queue, timezone.now())) > SLOW_SEC:
            worker, setting = _WORKERS[queue.pool]
            yield warn(
                _name(queue),
                f"A due job has waited {span(waited)}; {count(queue.queued, 'job')} queued, {queue.running} running",
                f"Start more of them ({worker}), or raise {setting}. If nothing runs, restart the worker.",
            )
    if found and not lonely:
        yield ok("queues", f"{count(len(found), 'queue')}, each with a live worker")


_WORKERS = {"process": ("worker", "WORKER_CONCURRENCY"), "io": ("I/O worker", "IO_CONCURRENCY")}
"""Of each pool: what consumes its queues, and the setting that says how many jobs at once."""


def _name(queue: Queue) -> str:
    return f"queue.{queue.queue}" if queue.pool == "process" else f"queue.{queue.queue}.{queue.pool}"


def _longest_wait(queue: Queue, now: datetime) -> float:
    due = Job.objects.filter(
        queue=queue.queue, pool=queue.pool, status=Status.QUEUED, waiting_on=0, available_at__lte=now
    )
    oldest = due.order_by("available_at").values_list("available_at", flat=True).first()
    return 0.0 if oldest is None else (now - oldest).total_seconds()


def leases() -> Findings:
    """Running jobs whose worker fell silent and that nobody took back."""
    grace = timedelta(seconds=2 * load().lease_sec)
    stuck = Job.objects.filter(status=Status.RUNNING, lease_expires_at__lt=timezone.now() - grace).count()
    if stuck:
        yield fail(
            "leases",
            f"{count(stuck, 'running job')} with a lease long expired: the reconciler does not run",
            "Start beat and the system worker; they take the jobs back within seconds.",
        )


def stored_keys() -> Findings:
    """There is a key, and the door is not simply open."""
    is_live = Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=timezone.now()))
    live = ApiKey.objects.filter(is_live).count()
    config = load()
    if not live and not config.key_entries:
        if config.auth_disabled and not ApiKey.objects.exists():
            yield warn("keys", "Authentication is off: everybody who reaches the port is admin", _MAKE_A_KEY)
        else:
            yield fail("keys", "No API key is valid: nobody can use the API", _MAKE_A_KEY)
    elif live:
        yield ok("keys", f"{count(live, 'live key')} in the database")


_MAKE_A_KEY = "`manage.py apikey create NAME --role admin`, or set API_KEY."


def sealed_secrets() -> Findings:
    """Each stored secret opens, under the current master key."""
    found, known = secrets.by_key(), sealing.known_keys()
    if lost := sum(number for key, number in found.items() if key not in known):
        yield fail(
            "secrets.stored",
            f"{count(lost, 'stored secret')} sealed under a master key that is not here: whatever needs them fails",
            "Put that key into SECRETS_OLD_KEYS and run `manage.py secrets rotate`; or set the secrets anew.",
        )
    elif stale := sum(found.values()) - found.get(sealing.key_name(sealing.current_key()), 0):
        yield warn(
            "secrets.stored", f"{count(stale, 'stored secret')} under an old master key", "`manage.py secrets rotate`."
        )
    elif found:
        yield ok(
            "secrets.stored", f"{count(sum(found.values()), 'stored secret')}, sealed under the current master key"
        )


def dead_callbacks() -> Findings:
    """Callbacks that were given up."""
    dead = CallbackDelivery.objects.filter(state=CallbackDelivery.State.DEAD)
    if number := dead.count():
        newest = dead.order_by("-id").first()
        last = f"; the newest: {newest.last_error}" if newest else ""
        yield warn(
            "callbacks.dead",
            f"{count(number, 'callback')} given up{last}",
            "Mend the receiver, then redeliver them in the admin or with POST /v1/callbacks/{id}/redeliver.",
        )


def alerts() -> Findings:
    """Alerts that are not resolved, and whether those who are to hear of them can."""
    writing = [rule.code for rule in rules() if rule.enabled and rule.emails]
    if writing and not load().smtp_host:
        yield warn(
            "alerts.mail",
            f"{', '.join(writing)} would write to people, and there is no mail server",
            "Set SMTP_HOST, or take the addresses out of the rules.",
        )
    for alert in Alert.objects.filter(resolved_at=None).order_by("id")[:20]:
        yield warn(
            f"alert.{alert.code}",
            f"{alert.message} (since {iso_ms(alert.fired_at)})",
            "See docs/observability.md; POST /v1/alerts/{id}/acknowledge says that somebody has seen it.",
        )


def job_types() -> Findings:
    """Each enabled job type has an installed handler."""
    try:
        installed = registry.installed()
    except ValueError as error:
        yield fail("handlers", str(error), "Uninstall one of the two packages, then restart workers and web server.")
        return
    enabled = list(JobType.objects.filter(enabled=True))
    missing = [job_type for job_type in enabled if job_type.handler not in installed]
    for job_type in missing:
        yield fail(
            f"job_type.{job_type.name}",
            f"Enabled, and its handler {job_type.handler} is not installed: its jobs fail",
            f"Install the package that brings it, or `manage.py jobtypes disable {job_type.name}`.",
        )
    if not missing:
        yield ok("job_types", f"{count(len(enabled), 'enabled type')}, each with its handler")


def schedules() -> Findings:
    """Due schedules are taken, and make their jobs."""
    found = overview()
    if not found.enabled:
        return
    if not load().scheduler_enabled:
        yield warn(
            "schedules",
            f"{count(found.enabled, 'schedule')} enabled, and SCHEDULER_ENABLED=0: none makes a job",
            "Unset SCHEDULER_ENABLED, and restart beat and the system worker.",
        )
    elif found.lag_sec > LATE_SEC:
        yield fail(
            "schedules",
            f"A schedule has been due for {span(found.lag_sec)}: ticks do not run, or not fast enough",
            "Start beat and a worker of the queue `system`; if both run, see the worker's log.",
        )
    else:
        yield ok("schedules", f"{count(found.enabled, 'schedule')} enabled, none late")
    if found.faulty:
        yield warn(
            "schedules.faults",
            f"{count(found.faulty, 'schedule')} cannot make a job",
            "`manage.py schedules list` shows them, `schedules show` says why.",
        )


def retention() -> Findings:
    """What is old goes, and the log has its next partitions."""
    now = timezone.now()
    ahead = [it for it in partitions.partitions() if it.lower is not None and it.lower > now]
    if len(ahead) < LOG_DAYS_AHEAD:
        yield warn(
            "retention.log",
            f"The log has partitions for {count(len(ahead), 'day')} to come: lines without one go row by row later",
            "Start beat and a worker of the queue `system`, which make them; no job is harmed.",
        )
    if not load().retention_enabled:
        return
    last = RetentionRun.objects.first()
    if last is None or now - last.seen_at > RETENTION_SILENT:
        seen = "has never run" if last is None else f"has not run for {span((now - last.seen_at).total_seconds())}"
        yield warn(
            "retention",
            f"Retention {seen}: what is old stays",
            "Start beat and a worker of the queue `system`; if both run, see the worker's log.",
        )
        return
    behind = ", and has more to do" if last.more else ""
    yield ok("retention", f"Ran {span((now - last.seen_at).total_seconds())} ago{behind}")
