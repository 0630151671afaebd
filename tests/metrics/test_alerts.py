"""Alerts: each rule fires and is resolved by real rows, once, and what people change acts at once."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from access.models import AuditEntry
from jobs import lifecycle
from jobs.models import CallbackDelivery, Queue
from jobs.retention import run as retention
from metrics import counting
from metrics.alerts import changes, evaluate
from metrics.alerts.checks import CHECKS
from metrics.alerts.rules import DEFINITIONS
from metrics.models import Alert, Level
from rauskuclaw.config import Config
from schedules import dispatch
from tests.apiclient import KEYS
from tests.metrics.alerting import open_alerts, set_rule, shift, stalled
from tests.metrics.test_runtime import make_node
from tests.schedules.conftest import let_pass

pytestmark = pytest.mark.django_db

Make = Callable[..., Any]
Configure = Callable[..., Config]


# Each rule


def test_every_rule_has_a_check() -> None:
    assert list(CHECKS) == list(DEFINITIONS)


def test_nothing_is_wrong_with_an_empty_system() -> None:
    assert open_alerts() == []


def test_a_stalled_queue(make_job: Make) -> None:
    make_node()
    job = make_job()
    shift(job, 890)
    assert open_alerts() == []

    shift(job, 20)
    assert open_alerts() == [("QUEUE_STALLED", "")]

    lifecycle.cancel(job.id, by="test")
    assert open_alerts() == []


def test_a_high_failure_rate(claimed: Make, configure: Configure) -> None:
    configure(ALERT_FAILURE_RATE_MIN_COMPLETED=2)
    for _ in range(2):
        claim = claimed()
        lifecycle.fail(claim.id, claim.fence, code=None, message="no", retry=False)
    assert open_alerts() == [("HIGH_FAILURE_RATE", "")]

    for _ in range(3):
        claim = claimed()
        lifecycle.succeed(claim.id, claim.fence, result={})
    assert open_alerts() == []


def test_a_queue_without_a_worker(make_job: Make) -> None:
    make_node(queues=["default"])
    for queue in ("default", "gpu", "paused", "young"):
        shift(make_job(queue=queue), 0 if queue == "young" else 61)
    Queue.objects.create(name="paused", paused=True)

    assert open_alerts() == [("NO_WORKER", "gpu")]
    assert Alert.objects.get().details["queue"] == "gpu"

    node = make_node(id=uuid.uuid4(), queues=["gpu"])
    assert open_alerts() == []

    node.delete()
    assert open_alerts() == [("NO_WORKER", "gpu")]
    assert Alert.objects.count() == 2


def test_workers_that_are_lost(claimed: Make) -> None:
    set_rule("WORKERS_LOST", threshold=2, window_sec=60)
    for number in range(2):
        claim = claimed()
        lifecycle.lose(claim.id, claim.fence, reason="test")
        assert len(open_alerts()) == number

    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE jobs_attempt SET started_at = started_at - interval '2 min', ended_at = ended_at - interval '2 min'"
        )
    assert open_alerts() == []


def test_a_schedule_that_is_late(make_schedule: Make, configure: Configure) -> None:
    schedule = make_schedule()
    let_pass(50, schedule)
    assert open_alerts() == []

    let_pass(11 + 60, schedule)
    assert open_alerts() == [("SCHEDULE_LAG", "")]

    dispatch.tick()
    assert open_alerts() == []

    let_pass(200, schedule)
    configure(SCHEDULER_ENABLED=0, API_KEYS_JSON=KEYS)
    assert open_alerts() == []


def test_a_backlog_of_callbacks(claimed: Make) -> None:
    set_rule("CALLBACK_BACKLOG", threshold=2)
    for number in range(2):
        claim = claimed(callback_url="https://example.org/")
        lifecycle.succeed(claim.id, claim.fence, result={})
        assert len(open_alerts()) == number

    CallbackDelivery.objects.update(state="dead")
    assert open_alerts() == []


def test_a_full_disk() -> None:
    set_rule("DISK_LOW", threshold=0.001)
    assert open_alerts() == [("DISK_LOW", "")]

    set_rule("DISK_LOW", threshold=100.1)
    assert open_alerts() == []


def test_a_database_that_grows(make_job: Make, ago: Callable[[float], None]) -> None:
    set_rule("DATABASE_GROWTH", threshold=100, window_sec=600)
    counting.sums(60)
    ago(200)
    assert counting.count_up()
    measured = Level.objects.get(name=counting.DATABASE_MIB)
    assert measured.value > 0
    assert open_alerts() == []

    earlier = timezone.now() - timedelta(seconds=500)
    then = Level.objects.create(name=counting.DATABASE_MIB, minute=earlier, value=measured.value - 100)
    assert open_alerts() == [("DATABASE_GROWTH", "")]

    Level.objects.filter(pk=then.pk).update(minute=timezone.now() - timedelta(seconds=700))
    assert open_alerts() == []


# States


def test_an_alert_that_goes_on_stays_one_and_follows_what_is_measured(make_job: Make) -> None:
    job = stalled(make_job)
    open_alerts()
    before = Alert.objects.get()

    shift(job, 500)
    open_alerts()

    after = Alert.objects.get()
    assert (after.pk, after.fired_at) == (before.pk, before.fired_at)
    assert after.value >= before.value + 500
    assert after.seen_at > before.seen_at


def test_a_rule_that_is_switched_off_resolves_its_alert(make_job: Make) -> None:
    stalled(make_job)
    assert open_alerts()

    set_rule("QUEUE_STALLED", enabled=False)

    assert open_alerts() == []


def test_an_acknowledged_alert_stays_so_until_it_is_resolved(make_job: Make) -> None:
    job = stalled(make_job)
    open_alerts()
    alert = changes.acknowledge(Alert.objects.get().pk, by="key:ci")
    open_alerts()
    alert.refresh_from_db()
    assert (alert.state, alert.acknowledged_by) == ("acknowledged", "key:ci")

    lifecycle.cancel(job.id, by="test")
    open_alerts()

    alert.refresh_from_db()
    assert (alert.state, alert.acknowledged_by) == ("resolved", "key:ci")
    assert alert.acknowledged_at is not None


def test_switched_off_nothing_is_evaluated(make_job: Make, configure: Configure) -> None:
    stalled(make_job)
    configure(METRICS_ENABLED=0)

    assert not evaluate.evaluate()
    assert not Alert.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_beats_that_evaluate_at_once_fire_once(make_job: Make) -> None:
    set_rule("QUEUE_STALLED", emails=["ops@example.org"])
    stalled(make_job)
    start = threading.Barrier(4)

    def run() -> None:
        start.wait()
        for _ in range(3):
            evaluate.evaluate()
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Alert.objects.count() == 1
    assert CallbackDelivery.objects.count() == 1


def test_what_is_long_over_is_deleted(make_job: Make) -> None:
    job = stalled(make_job)
    open_alerts()
    lifecycle.cancel(job.id, by="test")
    open_alerts()
    Alert.objects.update(resolved_at=timezone.now() - timedelta(days=91))

    retention.run()

    assert not Alert.objects.exists()


# The verbs


def test_a_changed_threshold_acts_at_the_next_evaluation_and_is_recorded(make_job: Make) -> None:
    make_node()
    shift(make_job(), 100)
    assert open_alerts() == []

    changes.update("QUEUE_STALLED", changes.parse_change({"threshold": 60}), by="key:ci")
    changes.update("QUEUE_STALLED", changes.parse_change({"threshold": 60}), by="key:ci")

    assert open_alerts() == [("QUEUE_STALLED", "")]
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.object_id, entry.details) == (
        "alert_rule.updated", "QUEUE_STALLED", {"threshold": [None, 60]},
    )  # fmt: skip
