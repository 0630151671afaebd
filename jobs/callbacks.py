"""Callbacks: telling a job's owner over HTTP that the job has ended (contract section 5; docs/callbacks.md).

The outbox row is written by the statement that ends the job, so no end is forgotten. Delivery is at least once: a
deliverer claims a row by pushing `next_try_at` past its own time limit, and if it dies the row comes due again.

Other parts tell people of things by the same way (`enqueue`), by HTTP or by mail.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from smtplib import SMTPException
from typing import Any

import httpx
from django.core.mail import EmailMessage
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from access import audit
from jobs import dispatch, results
from jobs.lifecycle import Line, append_logs
from jobs.models import CallbackDelivery
from jobs.sql import statement
from rauskuclaw import errors, tracing
from rauskuclaw.config import Config, load
from rauskuclaw.errors import Problem
from rauskuclaw.netguard import (
    BlockedUrl,
    guarded_client,
    host_allowed,
    listed_hosts,
    parse_url,
    read_capped,
    what_failed,
)

logger = logging.getLogger("jobs.callbacks")

PAYLOAD_KEYS = ("id", "type", "status", "attempts", "max_attempts", "result", "error", "updated_at")
"""The body's keys in the contract's order, which jsonb does not keep."""
MAILTO = "mailto:"
MAX_URL_CHARS = 2_000
MAX_IN_FLIGHT = 50
"""Deliveries a process has under way at once."""
MAX_PER_HOST = 10
"""How many of them may go to one host, so that a silent receiver leaves slots to the others."""
LINGER_SEC = 1.0
"""How long `deliver_due` waits for answers; what takes longer goes on behind it."""
CLAIM_MARGIN_SEC = 30.0
"""Time to record an outcome, on top of the delivery's time limit, before somebody else may try the row."""
BACKOFF_BASE_SEC, BACKOFF_FACTOR, BACKOFF_MAX_SEC, BACKOFF_JITTER = 5.0, 2.0, 3_600.0, 0.2

State = CallbackDelivery.State


@dataclass(frozen=True)
class Outcome:
    """What came of one try. `refusal`: policy forbids it, and this line says so in the job's log."""

    status: int | None = None
    error: str = ""
    refusal: Line | None = None

    @property
    def delivered(self) -> bool:
        """Whether the receiver accepted it."""
        return not self.error


def callback_url_problem(url: str) -> str | None:
    """What makes `url` useless as a callback URL, or None. Whether its host is allowed is decided at delivery."""
    if len(url) > MAX_URL_CHARS:
        return f"callback_url must have at most {MAX_URL_CHARS} characters"
    try:
        parse_url(url)
    except BlockedUrl as blocked:
        return f"callback_url must be an http or https URL without user name and password: {blocked.reason}"
    return None


# Delivery


def deliver_due(*, limit: int = MAX_IN_FLIGHT) -> bool:
    """Deliver up to `limit` due callbacks, all at once. Returns whether to call again now: more may be due.

    Returns when they are done, at the latest after LINGER_SEC: a receiver that hangs holds up neither other receivers
    nor the caller. Any number of processes may call it at any time.
    """
    config = load()
    flying: dict[Future[Outcome], CallbackDelivery] = {}
    claimed = _claim(min(limit, _traffic.free_slots()), config)
    for delivery in claimed:
        if refused := _refusal(delivery, config):
            _record(delivery, refused)
        else:
            flying[_traffic.start(delivery, config)] = delivery
    with suppress(TimeoutError):
        for future in as_completed(list(flying), timeout=LINGER_SEC):
            _record(flying.pop(future), future.result())
    for future, delivery in flying.items():
        future.add_done_callback(partial(_record_late, delivery, threading.get_ident()))
    return bool(claimed)


def enqueue(urls: Iterable[str], payload: Mapping[str, Any]) -> None:
    """Have `payload`, which is of no job, delivered to each URL, in the caller's transaction.

    It goes to an http(s) URL as a job's callback does; by mail to a `mailto:` one, with the first line of its `text` as
    the subject.
    """
    rows = [CallbackDelivery(job=None, series=0, url=url, payload=dict(payload)) for url in urls]
    if CallbackDelivery.objects.bulk_create(rows):
        transaction.on_commit(dispatch.ring_callbacks)


def redeliver(delivery_id: int, *, by: str) -> CallbackDelivery:
    """Make a delivered, skipped or dead callback due now; audit-logged. One older than the age limit gets one try.

    Raises Problem NOT_FOUND, or CONFLICT while it is still pending.
    """
    with transaction.atomic():
        delivery = CallbackDelivery.objects.select_for_update().filter(pk=delivery_id).first()
        if delivery is None:
            raise Problem(errors.NOT_FOUND, f"no callback delivery {delivery_id}")
        if (was := delivery.state) == State.PENDING:
            raise Problem(errors.CONFLICT, "the callback is pending: it is tried by itself at next_try_at")
        CallbackDelivery.objects.filter(pk=delivery_id).update(
            state=State.PENDING, delivered_at=None, next_try_at=Now(), last_error=""
        )
        audit.record(
            actor=by,
            action="callback.redelivered",
            object_type="callback",
            object_id=str(delivery_id),
            details={"job_id": str(delivery.job_id) if delivery.job_id else None, "was": was},
        )
        delivery.refresh_from_db()
    return delivery


class _Traffic:
    """The deliveries that this process has under way."""

    def __init__(self) -> None:
        self._by_host: Counter[str] = Counter()
        self._lock = threading.Lock()

    def free_slots(self) -> int:
        with self._lock:
            return MAX_IN_FLIGHT - self._by_host.total()

    def busy_hosts(self) -> list[str]:
        with self._lock:
            return [host for host, count in self._by_host.items() if count >= MAX_PER_HOST]

    def start(self, delivery: CallbackDelivery, config: Config) -> Future[Outcome]:
        host = _authority(delivery.url)
        with self._lock:
            self._by_host[host] += 1
        delivery.payload = results.payload(delivery)
        future = _threads().submit(_send, delivery, config)
        future.add_done_callback(lambda _: self._end(host))
        return future

    def _end(self, host: str) -> None:
        with self._lock:
            self._by_host[host] -= 1
            if not self._by_host[host]:
                del self._by_host[host]


_traffic = _Traffic()


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(MAX_IN_FLIGHT, thread_name_prefix="callback")


def _authority(url: str) -> str:
    """As `split_part(url, '/', 3)` in claim_callbacks.sql: what hosts are told apart by."""
    return [*url.split("/", 3), "", "", ""][2]


def _claim(limit: int, config: Config) -> list[CallbackDelivery]:
    if limit <= 0:
        return []
    params = {
        "limit": limit,
        "per_host": MAX_PER_HOST,
        "busy": _traffic.busy_hosts(),
        "claim_sec": config.callback_timeout_sec + CLAIM_MARGIN_SEC,
    }
    return list(CallbackDelivery.objects.raw(statement("claim_callbacks"), params))


def _refusal(delivery: CallbackDelivery, config: Config) -> Outcome | None:
    """Why the operator's settings forbid this delivery, or None."""
    url = delivery.url
    if url.startswith(MAILTO):
        return (
            None if config.smtp_host else Outcome(error="SMTP_HOST is not set", refusal=("warn", "Mail not sent", None))
        )
    if not config.callbacks_enabled:
        line: Line = ("info", "Callback skipped (callbacks.enabled=false)", {"callback_url": url})
        return Outcome(error="callbacks are switched off (CALLBACKS_ENABLED)", refusal=line)
    if error := not_allowlisted(url):
        return Outcome(error=error, refusal=_blocked_line(url))
    if config.callback_signing_enabled and not _secret(config):
        name = "CALLBACK_SIGNING_SECRET"
        meta = {"callback_url": url, "secret_env": name}
        line = ("warn", "Callback skipped (signing enabled but secret missing)", meta)
        return Outcome(error=f"signing is enabled and {name} is not set", refusal=line)
    return None


def not_allowlisted(url: str) -> str:
    """Why the operator's allowlist forbids the URL, or ""."""
    config = load()
    try:
        host = parse_url(url).host
    except BlockedUrl as blocked:
        return blocked.reason
    if config.callback_allowlist:
        return "" if host_allowed(host, config.callback_allowlist) else "the host is not in CALLBACK_ALLOWLIST"
    if config.callback_when_allowlist_empty == "allow_all":
        return ""
    return "CALLBACK_ALLOWLIST is empty, and so allows no host"


def _blocked_line(url: str, **meta: Any) -> Line:
    return "warn", "Callback blocked (not allowlisted)", {"callback_url": url, **meta}


def _secret(config: Config) -> bytes:
    secret = config.callback_signing_secret
    return secret.get_secret_value().strip().encode() if secret else b""


def _send(delivery: CallbackDelivery, config: Config) -> Outcome:
    """One POST, or mail, in a thread of its own: no database here."""
    if delivery.url.startswith(MAILTO):
        return _mail(delivery)
    with tracing.span("callback", parent=delivery.trace, kind="client", job_id=str(delivery.job_id)):
        return _post(delivery, config)


def _post(delivery: CallbackDelivery, config: Config) -> Outcome:
    timeout_sec = config.callback_timeout_sec
    payload = {key: delivery.payload.get(key) for key in PAYLOAD_KEYS} if delivery.job_id else delivery.payload
    content = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    headers = {"content-type": "application/json", "x-rauskuclaw-delivery": str(delivery.pk)}
    if config.callback_signing_enabled:
        headers |= signature_headers(_secret(config), content, timestamp=int(time.time()))
    if trace := tracing.traceparent():
        headers["traceparent"] = trace
    try:
        with (
            guarded_client(timeout_sec=timeout_sec, private_hosts=listed_hosts(config.callback_allowlist)) as client,
            client.stream("POST", parse_url(delivery.url).url, content=content, headers=headers) as response,
        ):
            with suppress(httpx.HTTPError):
                # Read a little and forget it: hanging up on a receiver that still writes looks like a fault to it.
                read_capped(response, max_bytes=65_536)
            status = response.status_code
    except BlockedUrl as blocked:
        return Outcome(error=blocked.reason, refusal=_blocked_line(delivery.url, reason=blocked.reason))
    except httpx.HTTPError as error:
        return Outcome(error=what_failed(error, timeout_sec=timeout_sec))
    except Exception:
        logger.exception("callback %s could not be sent", delivery.pk)
        return Outcome(error="internal error; the server's log has the trace")
    return Outcome(status, error="" if 200 <= status < 300 else f"the receiver answered HTTP {status}")


def _mail(delivery: CallbackDelivery) -> Outcome:
    """By Django's mail settings, which are the configuration's SMTP_*."""
    text = str(delivery.payload.get("text", ""))
    details = json.dumps(delivery.payload, ensure_ascii=False, indent=2)
    subject = text.partition("\n")[0][:200]
    try:
        EmailMessage(subject, f"{text}\n\n{details}\n", to=[delivery.url.removeprefix(MAILTO)]).send()
    except (OSError, SMTPException) as error:
        return Outcome(error=f"the mail server did not take it: {type(error).__name__}: {error}"[:500])
    except Exception:
        logger.exception("mail %s could not be sent", delivery.pk)
        return Outcome(error="internal error; the server's log has the trace")
    return Outcome()


def signature_headers(secret: bytes, body: bytes, *, timestamp: int) -> dict[str, str]:
    """The headers that sign `body`. timestamp: Unix seconds, part of what is signed."""
    mac = hmac.new(secret, f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {"x-rauskuclaw-timestamp": str(timestamp), "x-rauskuclaw-signature": f"v1={mac}"}


# Outcomes


def _record(delivery: CallbackDelivery, outcome: Outcome) -> None:
    """Write an outcome and its log line, unless the claim is no longer ours."""
    with transaction.atomic():
        claimed = CallbackDelivery.objects.filter(pk=delivery.pk, state=State.PENDING, next_try_at=delivery.next_try_at)
        columns, line = _consequences(delivery, outcome)
        if claimed.update(last_status=outcome.status, **columns) and delivery.job_id:
            append_logs(delivery.job_id, [line])


def _consequences(delivery: CallbackDelivery, outcome: Outcome) -> tuple[dict[str, Any], Line]:
    """The columns to set and the line to log."""
    if outcome.refusal:
        return {"state": State.SKIPPED, "last_error": outcome.error}, outcome.refusal
    tries = delivery.tries + 1
    if outcome.delivered:
        columns = {"state": State.DELIVERED, "delivered_at": Now(), "last_error": "", "tries": F("tries") + 1}
        return columns, ("info", "Callback delivered", {"status": outcome.status})
    age_left_sec = load().callback_max_age_sec - (timezone.now() - delivery.created_at).total_seconds()
    columns = {"tries": F("tries") + 1}
    if age_left_sec <= 0:
        error = f"{outcome.error}; gave up after {tries} tries"
        columns |= {"state": State.DEAD}
    else:
        error = outcome.error
        # The last try falls on the age limit, however long the back-off has grown.
        columns |= {"next_try_at": Now() + timedelta(seconds=min(retry_in_sec(tries), age_left_sec))}
    return columns | {"last_error": error}, ("warn", "Callback failed", {"error": error})


def retry_in_sec(tries: int) -> float:
    """The wait after so many failed tries: 5 s, doubled each time up to an hour, 20 % of it random either way."""
    wait = min(BACKOFF_MAX_SEC, BACKOFF_BASE_SEC * BACKOFF_FACTOR ** min(tries - 1, 30))
    return wait * random.uniform(1 - BACKOFF_JITTER, 1 + BACKOFF_JITTER)  # noqa: S311 - spreads load, hides nothing


_recording = threading.BoundedSemaphore(2)


def _record_late(delivery: CallbackDelivery, caller: int, future: Future[Outcome]) -> None:
    """Record an outcome nobody waits for any more: mostly in the delivery's thread, on a connection just for it."""
    if threading.get_ident() == caller:
        _record(delivery, future.result())
        return
    with _recording:
        try:
            _record(delivery, future.result())
        except Exception:
            # The claim runs out and the callback is tried again.
            logger.exception("the outcome of callback %s was not recorded", delivery.pk)
        finally:
            connection.close()


# Verification, for receivers


def verify_signature(
    *, secret: str, timestamp: str, signature: str, body: bytes, tolerance_sec: int = 300, now: float | None = None
) -> str:
    """Check a callback: `OK`, or what is wrong with it. Needs nothing but the standard library; copy it.

    timestamp, signature: the headers x-rauskuclaw-timestamp and x-rauskuclaw-signature. body: the bytes as received.
    """
    if not re.fullmatch(r"[0-9]{1,12}", timestamp):
        return "INVALID_TIMESTAMP"
    if not re.fullmatch(r"v1=[0-9a-f]{64}", signature):
        return "INVALID_SIGNATURE_FORMAT"
    mac = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(mac, signature.removeprefix("v1=")):
        return "SIGNATURE_MISMATCH"
    if abs((time.time() if now is None else now) - int(timestamp)) > tolerance_sec:
        return "TIMESTAMP_OUT_OF_TOLERANCE"
    return "OK"
