"""The audit log: append with `record`, prove with `verify`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, transaction
from django.db.models import QuerySet, Subquery
from django.utils import timezone

from access.models import AuditAnchor, AuditEntry

GENESIS = "0" * 64
"""What the first entry follows."""

PRUNED = "audit.pruned"
"""The action that tells of deleted entries."""

_CHAIN_LOCK = 0x6175646974
"""Advisory lock of the chain's end ("audit" in ASCII)."""


def record(
    *, actor: str, action: str, object_type: str, object_id: str, details: Mapping[str, Any] | None = None
) -> None:
    """Append an entry, in the caller's transaction: it exists if and only if the change it tells of does.

    action: `<object>.<past participle>`, e.g. `job.retried`. details: JSON values; never a secret.
    Takes the chain's advisory lock until the transaction ends, so writers queue here: call it last, after every row
    lock, and commit soon. Raises ValueError for NaN and infinities.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            # A statement of its own: the next one's snapshot must be taken after the lock is held.
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_CHAIN_LOCK])
        previous = AuditEntry.objects.order_by("-id").values_list("hash", flat=True).first() or GENESIS
        entry = AuditEntry(
            at=timezone.now(),
            actor=actor,
            action=action,
            object_type=object_type,
            object_id=object_id,
            details=_as_stored(details or {}),
            previous_hash=previous,
        )
        entry.hash = entry_hash(entry)
        entry.save(force_insert=True)


def entry_hash(entry: AuditEntry) -> str:
    """Hex SHA-256 over the previous hash, a line feed, and the entry as canonical JSON (sorted keys, no spaces)."""
    content = {
        "at": entry.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "actor": entry.actor,
        "action": entry.action,
        "object_type": entry.object_type,
        "object_id": entry.object_id,
        "details": entry.details,
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(f"{entry.previous_hash}\n{canonical}".encode()).hexdigest()


@dataclass(frozen=True)
class Verdict:
    """What `verify` found.

    entries: how many were proved, up to the first broken one. head: the last proved hash; keep it elsewhere and a
    later `verify(known_head=…)` also notices entries cut off the end. broken_id: the first broken entry.
    """

    ok: bool
    entries: int
    head: str
    broken_id: int | None = None
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """The verdict for `--json`."""
        return asdict(self)


def verify(*, known_head: str | None = None) -> Verdict:
    """Walk the chain from its start and stop at the first entry that was changed, or that follows a missing one.

    Where old entries were pruned it starts at the anchor, which an entry of the chain must confirm. known_head: a hash
    that an earlier verification gave; the chain must still hold it.
    """
    anchor = AuditAnchor.objects.first()
    head = anchor.hash if anchor else GENESIS
    count, seen = 0, known_head in {None, head}
    confirmed = anchor is None
    for entry in AuditEntry.objects.order_by("id").iterator(chunk_size=2000):
        if entry.previous_hash != head:
            return Verdict(False, count, head, entry.pk, "an entry before it was removed, added or changed")
        if entry_hash(entry) != entry.hash:
            return Verdict(False, count, head, entry.pk, "its content was changed")
        head, count = entry.hash, count + 1
        seen = seen or head == known_head
        confirmed = confirmed or (anchor is not None and _confirms(entry, anchor))
    if not confirmed:
        return Verdict(False, count, head, None, "no entry says that the entries before its start were deleted for age")
    if not seen:
        return Verdict(False, count, head, None, "the known head is gone: entries were cut off the end")
    return Verdict(True, count, head)


def prunable(before: datetime) -> QuerySet[AuditEntry]:
    """The entries from before that moment, the oldest first; the newest entry of all is never one of them."""
    newest = AuditEntry.objects.order_by("-id").values("pk")[:1]
    return AuditEntry.objects.filter(at__lt=before, pk__lt=Subquery(newest)).order_by("id")


def prune(before: datetime, *, limit: int) -> int:
    """Delete at most `limit` of them, from the start of the chain; returns how many.

    The chain's new start is noted, and the chain itself gets an entry that says so: `verify` wants both to agree.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_CHAIN_LOCK])
            cursor.execute("SET LOCAL rauskuclaw.audit_is_pruned = 'on'")
        last = prunable(before)[limit - 1 : limit].first() or prunable(before).last()
        if last is None:
            return 0
        count, _ = AuditEntry.objects.filter(pk__lte=last.pk).delete()
        anchor = AuditAnchor.objects.first() or AuditAnchor(entries=0)
        anchor.entry_id, anchor.hash, anchor.entries = last.pk, last.hash, anchor.entries + count
        anchor.save()
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL rauskuclaw.audit_is_pruned = 'off'")
        details = {"up_to": last.pk, "hash": last.hash, "entries": count}
        record(actor="retention", action=PRUNED, object_type="audit", object_id=str(last.pk), details=details)
    return count


def _confirms(entry: AuditEntry, anchor: AuditAnchor) -> bool:
    said = (entry.details.get("up_to"), entry.details.get("hash"))
    return entry.action == PRUNED and said == (anchor.entry_id, anchor.hash)


def _as_stored(details: Mapping[str, Any]) -> Any:
    """`details` exactly as jsonb will give them back: the hash must survive the round trip.

    jsonb keeps numbers as decimals, so 1e16 returns as the integer 10000000000000000; integral floats become integers.
    """

    def number(text: str) -> float | int:
        value = float(text)
        return int(value) if value.is_integer() else value

    return json.loads(json.dumps(details, cls=DjangoJSONEncoder, allow_nan=False), parse_float=number)
