"""Callbacks, from the end of a job to a real receiver."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from access.models import AuditEntry
from jobs import callbacks, lifecycle
from jobs.callbacks import callback_url_problem, deliver_due, redeliver, retry_in_sec, verify_signature
from jobs.models import CallbackDelivery, JobLog
from jobs.sql import statement
from jobs.transitions import Claim
from rauskuclaw import netguard
from rauskuclaw.config import ROOT, load
from rauskuclaw.errors import Problem
from tests.net.servers import Exchange, Server, serving

State = CallbackDelivery.State
SECRET = "a-secret-nobody-may-see"
Configure = Callable[..., Any]
Ended = Callable[[str], CallbackDelivery]


@pytest.fixture
def receiver() -> Iterator[Server]:
    """Accepts every callback."""
    with serving(lambda exchange: exchange.answer(204)) as server:
        yield server


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """`deliver_due` waits for every answer, however busy the machine is."""
    monkeypatch.setattr(callbacks, "LINGER_SEC", 30.0)


@pytest.fixture
def ended(claimed: Callable[..., Claim], configure: Configure) -> Ended:
    """The due callback of a job that has just succeeded. Loopback is allowlisted."""
    configure(CALLBACK_ALLOWLIST="127.0.0.1,hooks.test")

    def end(url: str) -> CallbackDelivery:
        held = claimed(callback_url=url)
        assert lifecycle.succeed(held.id, held.fence, result={"answer": 42, "text": "ä"})
        return CallbackDelivery.objects.get(job_id=held.id)

    return end


def hook(server: Server, path: str = "/hook") -> str:
    return f"http://127.0.0.1:{server.port}{path}"


def last_line(delivery: CallbackDelivery) -> tuple[str, str, Any]:
    line = JobLog.objects.filter(job=delivery.job).latest("id")
    return line.level, line.message, line.meta


def make_due(delivery: CallbackDelivery, **columns: Any) -> None:
    CallbackDelivery.objects.filter(pk=delivery.pk).update(next_try_at=timezone.now() - timedelta(seconds=1), **columns)


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# The request


def test_a_callback_is_the_contracts_request(ended: Ended, receiver: Server) -> None:
    delivery = ended(hook(receiver, "/hook?a=b"))

    deliver_due()

    [seen] = receiver.seen
    assert (seen.method, seen.path) == ("POST", "/hook?a=b")
    assert seen.headers["content-type"] == "application/json"
    assert seen.headers["x-rauskuclaw-delivery"] == str(delivery.pk)
    assert "x-rauskuclaw-signature" not in seen.headers
    assert list(json.loads(seen.body)) == [
        "id", "type", "status", "attempts", "max_attempts", "result", "error", "updated_at"
    ]  # fmt: skip
    assert b'"status":"succeeded","attempts":1,"max_attempts":1,"result":{"text":"\xc3\xa4","answer":42}' in seen.body


def test_a_delivered_callback_is_recorded_and_logged(ended: Ended, receiver: Server) -> None:
    delivery = ended(hook(receiver))

    deliver_due()

    delivery.refresh_from_db()
    assert (delivery.state, delivery.tries, delivery.last_status) == (State.DELIVERED, 1, 204)
    assert last_line(delivery) == ("info", "Callback delivered", {"status": 204})


def test_a_delivered_callback_is_not_sent_again(ended: Ended, receiver: Server) -> None:
    ended(hook(receiver))

    assert deliver_due() is True
    assert deliver_due() is False
    assert len(receiver.seen) == 1


def test_a_signed_callback_verifies(ended: Ended, receiver: Server, configure: Configure) -> None:
    ended(hook(receiver))
    configure(CALLBACK_SIGNING_ENABLED=1, CALLBACK_SIGNING_SECRET=f" {SECRET} ")

    deliver_due()

    assert verify(receiver) == "OK"
    assert verify(receiver, secret="another") == "SIGNATURE_MISMATCH"


def verify(receiver: Server, secret: str = SECRET) -> str:
    [seen] = receiver.seen
    timestamp, signature = seen.headers["x-rauskuclaw-timestamp"], seen.headers["x-rauskuclaw-signature"]
    return verify_signature(secret=secret, timestamp=timestamp, signature=signature, body=seen.body)


# Failures


@pytest.mark.parametrize("status", [301, 302, 304, 400, 404, 410, 429, 500, 503])
def test_any_answer_but_2xx_is_a_failure_to_be_retried(status: int, ended: Ended) -> None:
    with serving(lambda exchange: exchange.answer(status, location="/elsewhere")) as server:
        delivery = ended(hook(server))
        deliver_due()

    delivery.refresh_from_db()
    assert (delivery.state, delivery.tries, delivery.last_status) == (State.PENDING, 1, status)
    assert delivery.next_try_at > timezone.now()
    assert last_line(delivery) == ("warn", "Callback failed", {"error": f"the receiver answered HTTP {status}"})
    assert [seen.path for seen in server.seen] == ["/hook"]


def test_a_receiver_that_is_down_is_retried(ended: Ended) -> None:
    with serving(lambda exchange: exchange.answer(200)) as server:
        delivery = ended(hook(server))

    deliver_due()

    delivery.refresh_from_db()
    assert delivery.state == State.PENDING
    assert delivery.last_error.startswith("cannot connect")


def test_what_a_receiver_answers_is_never_shown(ended: Ended) -> None:
    with serving(lambda exchange: exchange.wfile.write(b"HTTP/9 hunter2\r\n\r\n")) as server:
        delivery = ended(hook(server))
        deliver_due()

    delivery.refresh_from_db()
    assert delivery.last_error == "the answer is not valid HTTP"


def test_a_receiver_that_drips_meets_the_time_limit(ended: Ended, configure: Configure) -> None:
    def drip(exchange: Exchange) -> None:
        while not exchange.owner.stopping.wait(0.02):
            exchange.wfile.write(b"HTTP/1.1 200 OK\r\n"[:1])

    configure(CALLBACK_TIMEOUT_SEC=0.3)
    with serving(drip) as server:
        delivery = ended(hook(server))
        deliver_due()

    assert last_line(delivery) == ("warn", "Callback failed", {"error": "no answer within 0.3 s"})


def test_a_slow_body_after_a_2xx_is_still_a_success(ended: Ended, configure: Configure) -> None:
    def slow(exchange: Exchange) -> None:
        exchange.answer(200, size=100_000)
        exchange.owner.stopping.wait()

    configure(CALLBACK_TIMEOUT_SEC=0.3)
    with serving(slow) as server:
        delivery = ended(hook(server))
        deliver_due()

    assert last_line(delivery) == ("info", "Callback delivered", {"status": 200})


def test_waits_double_from_five_seconds_to_an_hour() -> None:
    for tries, wait in [(1, 5), (2, 10), (5, 80), (10, 2560), (11, 3600), (5000, 3600)]:
        assert 0.8 * wait <= retry_in_sec(tries) <= 1.2 * wait


def test_a_callback_past_the_age_limit_is_dead(ended: Ended, configure: Configure) -> None:
    with serving(lambda exchange: exchange.answer(500)) as server:
        delivery = ended(hook(server))
        make_due(delivery, tries=31, created_at=timezone.now() - timedelta(hours=25))
        deliver_due()

    delivery.refresh_from_db()
    assert (delivery.state, delivery.tries) == (State.DEAD, 32)
    assert delivery.last_error == "the receiver answered HTTP 500; gave up after 32 tries"


def test_the_last_try_falls_on_the_age_limit(ended: Ended) -> None:
    with serving(lambda exchange: exchange.answer(500)) as server:
        delivery = ended(hook(server))
        make_due(delivery, tries=30, created_at=timezone.now() - timedelta(hours=23, minutes=59))
        deliver_due()

    delivery.refresh_from_db()
    assert delivery.state == State.PENDING
    assert delivery.next_try_at <= timezone.now() + timedelta(minutes=1, seconds=5)


# Policy


def blocked(url: str) -> tuple[str, str, Any]:
    return "warn", "Callback blocked (not allowlisted)", {"callback_url": url}


def unsigned(url: str) -> tuple[str, str, Any]:
    meta = {"callback_url": url, "secret_env": "CALLBACK_SIGNING_SECRET"}
    return "warn", "Callback skipped (signing enabled but secret missing)", meta


def disabled(url: str) -> tuple[str, str, Any]:
    return "info", "Callback skipped (callbacks.enabled=false)", {"callback_url": url}


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"CALLBACKS_ENABLED": "false"}, disabled),
        ({"CALLBACK_ALLOWLIST": ""}, blocked),
        ({"CALLBACK_ALLOWLIST": "example.com"}, blocked),
        ({"CALLBACK_SIGNING_ENABLED": "1"}, unsigned),
        ({"CALLBACK_SIGNING_ENABLED": "1", "CALLBACK_SIGNING_SECRET": "  "}, unsigned),
    ],
)
def test_what_policy_forbids_is_skipped_and_says_so(
    settings: dict[str, str], line: Callable[[str], object], ended: Ended, receiver: Server, configure: Configure
) -> None:
    delivery = ended(hook(receiver))
    configure(**settings)

    deliver_due()

    delivery.refresh_from_db()
    assert (delivery.state, delivery.tries) == (State.SKIPPED, 0)
    assert last_line(delivery) == line(delivery.url)
    assert receiver.seen == []


@pytest.mark.parametrize(
    "url", ["http://user:pw@127.0.0.1/", "http://127.0.0.1\\.evil.test/", "http://[::1", "nonsense"]
)
def test_a_stored_url_that_is_none_is_skipped(url: str, ended: Ended) -> None:
    delivery = ended("http://127.0.0.1/")
    CallbackDelivery.objects.filter(pk=delivery.pk).update(url=url)

    deliver_due()

    assert last_line(delivery) == blocked(url)


def test_an_allow_all_policy_does_not_open_private_addresses(
    ended: Ended, receiver: Server, configure: Configure
) -> None:
    delivery = ended(hook(receiver))
    configure(CALLBACK_ALLOWLIST="", CALLBACK_ALLOWLIST_BEHAVIOR_WHEN_EMPTY="allow_all")

    deliver_due()

    delivery.refresh_from_db()
    reason = "the URL's host has a loopback address"
    assert (delivery.state, delivery.last_error) == (State.SKIPPED, reason)
    assert last_line(delivery) == (*blocked(delivery.url)[:2], {"callback_url": delivery.url, "reason": reason})
    assert receiver.seen == []


def test_only_the_listed_host_itself_may_be_private(
    ended: Ended, receiver: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(netguard, "system_resolver", lambda _host: ["127.0.0.1"])
    itself = ended(f"http://hooks.test:{receiver.port}/")
    below = ended(f"http://a.hooks.test:{receiver.port}/")

    deliver_due()

    itself.refresh_from_db()
    below.refresh_from_db()
    assert (itself.state, below.state) == (State.DELIVERED, State.SKIPPED)


def test_no_secret_reaches_the_log_or_the_row(ended: Ended, configure: Configure) -> None:
    configure(CALLBACK_SIGNING_ENABLED=1, CALLBACK_SIGNING_SECRET=SECRET)
    with serving(lambda exchange: exchange.answer(500)) as server:
        delivery = ended(hook(server))
        deliver_due()

    delivery.refresh_from_db()
    assert SECRET not in str([*JobLog.objects.values(), vars(delivery)])


# Claims, fairness, redelivery


@pytest.mark.django_db(transaction=True)
def test_a_receiver_that_hangs_delays_nobody(ended: Ended, receiver: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda exchange: exchange.owner.stopping.wait()) as hanging:
        stuck, other = ended(hook(hanging)), ended(hook(receiver))
        monkeypatch.setattr(callbacks, "LINGER_SEC", 0.0)
        deliver_due()
        wait_until(lambda: CallbackDelivery.objects.get(pk=other.pk).state == State.DELIVERED)
        assert CallbackDelivery.objects.get(pk=stuck.pk).tries == 0

    wait_until(lambda: CallbackDelivery.objects.get(pk=stuck.pk).tries == 1)
    assert last_line(stuck)[1] == "Callback failed"


def test_one_hosts_backlog_leaves_room_for_others(ended: Ended, receiver: Server) -> None:
    with serving(lambda exchange: exchange.answer(200)) as busy:
        backlog = [ended(hook(busy)) for _ in range(callbacks.MAX_PER_HOST + 2)]
        other = ended(hook(receiver))

        deliver_due(limit=len(backlog))

    other.refresh_from_db()
    assert other.state == State.DELIVERED
    assert len(busy.seen) == callbacks.MAX_PER_HOST


def test_a_claimed_callback_comes_due_again_if_its_deliverer_dies(ended: Ended, receiver: Server) -> None:
    delivery = ended(hook(receiver))
    claim(delivery)

    assert deliver_due() is False
    make_due(delivery)
    deliver_due()

    delivery.refresh_from_db()
    assert delivery.state == State.DELIVERED


def claim(delivery: CallbackDelivery) -> CallbackDelivery:
    """What a deliverer holds that claims the callback and is then heard of no more."""
    [held] = callbacks._claim(1, load())
    assert held == delivery
    return held


def test_a_deliverer_that_lost_its_claim_records_nothing(ended: Ended, receiver: Server) -> None:
    held = claim(ended(hook(receiver)))
    make_due(held)
    deliver_due()

    callbacks._record(held, callbacks.Outcome(error="too late"))

    assert last_line(held) == ("info", "Callback delivered", {"status": 204})
    assert CallbackDelivery.objects.get(pk=held.pk).state == State.DELIVERED


@pytest.mark.parametrize("state", [State.DEAD, State.SKIPPED, State.DELIVERED])
def test_an_ended_callback_can_be_delivered_again(state: State, ended: Ended, receiver: Server) -> None:
    delivery = ended(hook(receiver))
    delivered_at = timezone.now() if state == State.DELIVERED else None
    CallbackDelivery.objects.filter(pk=delivery.pk).update(state=state, delivered_at=delivered_at)

    redeliver(delivery.pk, by="user:anna")
    deliver_due()

    assert len(receiver.seen) == 1
    entry = AuditEntry.objects.latest("id")
    assert (entry.actor, entry.action, entry.object_id) == ("user:anna", "callback.redelivered", str(delivery.pk))
    assert entry.details == {"job_id": str(delivery.job_id), "was": state}


def test_a_pending_callback_is_not_redelivered(ended: Ended, receiver: Server) -> None:
    delivery = ended(hook(receiver))

    with pytest.raises(Problem) as caught:
        redeliver(delivery.pk, by="test")

    assert caught.value.code.name == "CONFLICT"


def test_an_unknown_callback_is_not_found(db: None) -> None:
    with pytest.raises(Problem) as caught:
        redeliver(0, by="test")

    assert caught.value.code.name == "NOT_FOUND"


@pytest.mark.django_db(transaction=True)
def test_two_deliverers_claim_disjoint_callbacks(ended: Ended, receiver: Server) -> None:
    for _ in range(6):
        ended(hook(receiver))
    first = callbacks._claim(3, load())

    second = callbacks._claim(6, load())

    assert len(first) == len(second) == 3
    assert not {row.pk for row in first} & {row.pk for row in second}


def test_the_claim_is_served_by_its_index(ended: Ended, receiver: Server) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        params: dict[str, Any] = {"limit": 1, "per_host": 1, "busy": [], "claim_sec": 1}
        cursor.execute("EXPLAIN " + statement("claim_callbacks"), params)
        plan = "\n".join(row[0] for row in cursor.fetchall())

    assert "callback_due" in plan


# For receivers and for submission


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, "OK"),
        ({"timestamp": "12x"}, "INVALID_TIMESTAMP"),
        ({"timestamp": ""}, "INVALID_TIMESTAMP"),
        ({"timestamp": "-5"}, "INVALID_TIMESTAMP"),
        ({"timestamp": "١٢٣"}, "INVALID_TIMESTAMP"),
        ({"signature": "v2=" + "0" * 64}, "INVALID_SIGNATURE_FORMAT"),
        ({"signature": "v1=" + "0" * 63}, "INVALID_SIGNATURE_FORMAT"),
        ({"signature": "v1=" + "0" * 64 + "\n"}, "INVALID_SIGNATURE_FORMAT"),
        ({"signature": "v1=" + "0" * 64, "now": 0.0}, "SIGNATURE_MISMATCH"),
        ({"timestamp": "1000001"}, "SIGNATURE_MISMATCH"),
        ({"body": b"other"}, "SIGNATURE_MISMATCH"),
        ({"secret": "other"}, "SIGNATURE_MISMATCH"),
        ({"now": 1000300.0}, "OK"),
        ({"now": 1000301.0}, "TIMESTAMP_OUT_OF_TOLERANCE"),
        ({"now": 999699.0}, "TIMESTAMP_OUT_OF_TOLERANCE"),
    ],
)
def test_the_verifier_names_what_is_wrong(change: dict[str, Any], code: str) -> None:
    headers = callbacks.signature_headers(b"secret", b"body", timestamp=1_000_000)
    signed: dict[str, Any] = {
        "secret": "secret", "body": b"body", "now": 1_000_000.0,
        "timestamp": headers["x-rauskuclaw-timestamp"], "signature": headers["x-rauskuclaw-signature"],
    }  # fmt: skip

    assert verify_signature(**(signed | change)) == code


def documented(language: str) -> str:
    text = (Path(ROOT) / "docs" / "callbacks.md").read_text("utf-8")
    [block] = re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return str(block)


def test_the_documented_verifier_is_the_real_one_and_stands_alone() -> None:
    namespace: dict[str, Any] = {}
    exec(documented("python"), namespace)
    headers = callbacks.signature_headers(b"s", b"b", timestamp=1)

    assert inspect.getsource(verify_signature) in documented("python")
    arguments = {"timestamp": "1", "signature": headers["x-rauskuclaw-signature"], "body": b"b", "now": 1.0}
    assert namespace["verify_signature"](secret="s", **arguments) == "OK"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the documented command needs the openssl program")
@pytest.mark.parametrize(("secret", "verdict"), [("s3cret", "OK"), ("other", "SIGNATURE_MISMATCH")])
def test_the_documented_shell_command_verifies(secret: str, verdict: str, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b'{"id":"x"}')
    headers = callbacks.signature_headers(b"s3cret", b'{"id":"x"}', timestamp=5)
    environment = {"PATH": "/usr/bin:/bin", "SECRET": secret, "TIMESTAMP": "5"}
    environment["SIGNATURE"] = headers["x-rauskuclaw-signature"]

    command = ["sh", "-c", documented("sh")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == verdict


@pytest.mark.parametrize(
    "url", ["https://example.com/hook?x=1", "http://127.0.0.1:9/", "http://not-in-allowlist.invalid"]
)
def test_a_usable_callback_url_has_no_problem(url: str) -> None:
    assert callback_url_problem(url) is None


@pytest.mark.parametrize(
    "url", ["ftp://x/", "true", "/hook", "http://u:p@x/", "http://x/" + "a" * 2000, "http:///", "http://a\\b/"]
)
def test_an_unusable_callback_url_has_a_problem(url: str) -> None:
    assert str(callback_url_problem(url)).startswith("callback_url must")
