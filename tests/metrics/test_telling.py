"""Telling people of alerts: signed webhooks and mail, once, and not again within the cooldown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from jobs import callbacks, lifecycle
from jobs.callbacks import deliver_due, verify_signature
from jobs.models import CallbackDelivery, Job
from metrics.alerts import changes
from metrics.models import Alert
from rauskuclaw.config import Config
from tests.metrics.alerting import open_alerts, set_rule, shift, stalled
from tests.metrics.mailserver import Mails, mail_server
from tests.net.servers import Exchange, Server, serving

pytestmark = pytest.mark.django_db

Make = Callable[..., Any]
Configure = Callable[..., Config]


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
