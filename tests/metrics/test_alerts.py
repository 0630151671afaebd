"""Alerts: each rule fires and is resolved by real rows, people are told once, and what they change acts at once."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.utils import timezone

from access.models import AuditEntry
from jobs import callbacks, lifecycle
from jobs.callbacks import deliver_due, verify_signature
from jobs.models import CallbackDelivery, Job, Queue
from metrics import counting
from metrics.alerts import changes, evaluate
from metrics.alerts.checks import CHECKS
from metrics.alerts.rules import DEFINITIONS
from metrics.models import Alert, AlertRule, Level
from rauskuclaw.config import Config
from schedules import dispatch
from tests.apiclient import KEYS
from tests.metrics.mailserver import Mails, mail_server
from tests.metrics.test_runtime import make_node
from tests.net.servers import Exchange, Server, serving
from tests.schedules.conftest import let_pass

pytestmark = pytest.mark.django_db

Make = Callable[..., Any]
Configure = Callable[..., Config]


def open_alerts() -> list[tuple[str, str]]:
    """Code and scope of those that hold after an evaluation."""
    assert evaluate.evaluate()
    return list(Alert.objects.filter(resolved_at=None).order_by("code").values_list("code", "scope"))


def set_rule(code: str, **columns: Any) -> None:
    AlertRule.objects.update_or_create(code=code, defaults=columns)


def shift(job: Job, seconds: float) -> None:
    ago = timedelta(seconds=seconds)
    Job.objects.filter(pk=job.pk).update(created_at=F("created_at") - ago, available_at=F("available_at") - ago)


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


def stalled(make_job: Make) -> Job:
    make_node()
    job: Job = make_job()
    shift(job, 1000)
    return job


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

    open_alerts()

    assert not Alert.objects.exists()


# Telling people


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """`deliver_due` waits for every answer, however busy the machine is."""
    monkeypatch.setattr(callbacks, "LINGER_SEC", 30.0)


@pytest.fixture
def receiver(configure: Configure) -> Iterator[Server]:
    """Takes every webhook; loopback is allowlisted, deliveries are signed."""
    configure(CALLBACK_ALLOWLIST="127.0.0.1", CALLBACK_SIGNING_ENABLED=1, CALLBACK_SIGNING_SECRET="s3cret")
    with serving(lambda exchange: exchange.answer(204)) as server:
        yield server


@pytest.fixture
def mails(settings: Any, configure: Configure) -> Iterator[Mails]:
    """A mail server, and settings that name it."""
    with mail_server() as server:
        configure(SMTP_HOST="127.0.0.1")
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_USE_TLS = "127.0.0.1", server.port, False
        yield server


def bodies(server: Server) -> list[dict[str, Any]]:
    return [json.loads(exchange.body) for exchange in server.seen]


def test_a_webhook_is_told_signed_when_it_fires_and_when_it_is_resolved(make_job: Make, receiver: Server) -> None:
    url = f"http://127.0.0.1:{receiver.port}/hook"
    changes.update("QUEUE_STALLED", changes.parse_change({"webhooks": [url]}), by="key:ci")
    job = stalled(make_job)

    open_alerts()
    open_alerts()
    deliver_due()
    lifecycle.cancel(job.id, by="test")
    open_alerts()
    deliver_due()

    firing, resolved = bodies(receiver)
    assert (firing["event"], firing["alert"]["code"], firing["alert"]["state"]) == (
        "alert.firing", "QUEUE_STALLED", "firing",
    )  # fmt: skip
    assert firing["text"].startswith("Firing: QUEUE_STALLED\nA job on queue default has waited")
    assert firing["alert"]["details"]["job_id"] == str(job.id)
    assert (resolved["event"], resolved["alert"]["id"]) == ("alert.resolved", firing["alert"]["id"])
    for exchange in receiver.seen:
        headers = exchange.headers
        verdict = verify_signature(
            secret="s3cret", timestamp=headers["x-rauskuclaw-timestamp"],
            signature=headers["x-rauskuclaw-signature"], body=exchange.body,
        )  # fmt: skip
        assert verdict == "OK"
    assert set(CallbackDelivery.objects.values_list("state", flat=True)) == {"delivered"}


def test_a_webhook_that_fails_is_tried_again(make_job: Make, configure: Configure) -> None:
    def first_no(exchange: Exchange) -> None:
        exchange.answer(500 if len(server.seen) == 1 else 204)

    configure(CALLBACK_ALLOWLIST="127.0.0.1")
    with serving(first_no) as server:
        set_rule("QUEUE_STALLED", webhooks=[f"http://127.0.0.1:{server.port}/"])
        stalled(make_job)
        open_alerts()
        deliver_due()
        delivery = CallbackDelivery.objects.get()
        assert (delivery.state, delivery.last_status) == ("pending", 500)

        CallbackDelivery.objects.update(next_try_at=timezone.now() - timedelta(seconds=1))
        deliver_due()

    delivery.refresh_from_db()
    assert (delivery.state, delivery.tries) == ("delivered", 2)


def test_a_mail_is_sent_when_it_fires_and_when_it_is_resolved(make_job: Make, mails: Mails) -> None:
    changes.update("QUEUE_STALLED", changes.parse_change({"emails": ["ops@example.org"]}), by="key:ci")
    job = stalled(make_job)

    open_alerts()
    deliver_due()
    lifecycle.cancel(job.id, by="test")
    open_alerts()
    deliver_due()

    assert [mail["subject"] for mail in mails.taken] == ["Firing: QUEUE_STALLED", "Resolved: QUEUE_STALLED"]
    assert {mail["to"] for mail in mails.taken} == {"ops@example.org"}
    assert str(job.id) in mails.taken[0].get_content()


def test_a_mail_that_is_not_taken_is_tried_again(make_job: Make, mails: Mails) -> None:
    mails.refuse = "451 later"
    set_rule("QUEUE_STALLED", emails=["ops@example.org"])
    stalled(make_job)
    open_alerts()
    deliver_due()
    delivery = CallbackDelivery.objects.get()
    assert delivery.state == "pending"
    assert "451" in delivery.last_error

    mails.refuse = ""
    CallbackDelivery.objects.update(next_try_at=timezone.now() - timedelta(seconds=1))
    deliver_due()

    assert len(mails.taken) == 1


def test_without_a_mail_server_a_mail_is_skipped_and_says_so(make_job: Make) -> None:
    set_rule("QUEUE_STALLED", emails=["ops@example.org"])
    stalled(make_job)
    open_alerts()
    deliver_due()

    delivery = CallbackDelivery.objects.get()
    assert (delivery.state, delivery.last_error) == ("skipped", "SMTP_HOST is not set")


def test_what_fires_again_within_the_cooldown_is_told_when_that_is_over(make_job: Make) -> None:
    set_rule("QUEUE_STALLED", emails=["ops@example.org"], cooldown_sec=600)
    job = stalled(make_job)
    open_alerts()
    Job.objects.filter(pk=job.pk).update(available_at=timezone.now())
    assert open_alerts() == []
    assert CallbackDelivery.objects.count() == 2

    shift(job, 1000)
    assert len(open_alerts()) == 1
    assert CallbackDelivery.objects.count() == 2

    Alert.objects.exclude(told_at=None).update(told_at=timezone.now() - timedelta(seconds=601))
    open_alerts()
    assert CallbackDelivery.objects.count() == 3


def test_nobody_is_told_that_what_nobody_heard_of_is_over(make_job: Make) -> None:
    set_rule("QUEUE_STALLED", emails=["ops@example.org"], cooldown_sec=600)
    job = stalled(make_job)
    Alert.objects.create(
        code="QUEUE_STALLED", state="resolved", message="", value=1, told_at=timezone.now(), resolved_at=timezone.now()
    )
    open_alerts()
    lifecycle.cancel(job.id, by="test")
    open_alerts()

    assert not CallbackDelivery.objects.exists()


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
