"""The two verbs that change stored keys, each with its audit entry in the same transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

from access import audit
from access.credentials import forget_stored_keys
from access.keyformat import digest, generate, prefix_of
from access.models import ApiKey, Role
from rauskuclaw.api.fields import iso_ms_or_none
from rauskuclaw.config import load
from rauskuclaw.errors import CONFLICT, NOT_FOUND, VALIDATION_ERROR, Problem
from rauskuclaw.patterns import QUEUE

_NAME_MAX = 120


@dataclass(frozen=True)
class NewKey:
    """A key just made. `secret` is the whole key: show it once, store it nowhere."""

    key: ApiKey
    secret: str

    def __repr__(self) -> str:
        return f"NewKey({self.key})"


def create(
    *,
    name: str,
    role: str,
    by: str,
    sse: bool = True,
    queue_allowlist: Sequence[str] | None = None,
    expires_at: datetime | None = None,
) -> NewKey:
    """Make a key. `by` is the actor for the audit log; `queue_allowlist` None is every queue.

    Raises VALIDATION_ERROR with every fault, and CONFLICT when a live or a configured key has the name.
    """
    name, queues = name.strip(), None if queue_allowlist is None else list(dict.fromkeys(queue_allowlist))
    check(name=name, role=role, queue_allowlist=queues, expires_at=expires_at)
    secret = generate()
    key = ApiKey(
        name=name,
        prefix=prefix_of(secret) or "",
        hash=digest(secret),
        role=role,
        sse=sse,
        queue_allowlist=queues,
        expires_at=expires_at,
        created_by=by,
    )
    with transaction.atomic():
        try:
            with transaction.atomic():
                key.save(force_insert=True)
        except IntegrityError as error:
            if "apikey_name_is_unique_among_live_keys" in str(error):
                raise _name_taken(name) from None
            raise
        key.refresh_from_db(fields=["created_at"])
        rights = {"role": role, "sse": sse, "queue_allowlist": queues, "expires_at": iso_ms_or_none(expires_at)}
        _record("key.created", key, by=by, **rights)
    return NewKey(key, secret)


def revoke(key_id: UUID | str, *, by: str) -> ApiKey:
    """Close a key for good, with its sessions and stream tokens. Twice does nothing more. Raises NOT_FOUND.

    Other processes notice within `credentials.CACHE_SEC`.
    """
    with transaction.atomic():
        key = ApiKey.objects.select_for_update().filter(pk=key_id).first()
        if key is None:
            raise Problem(NOT_FOUND, f"There is no API key with id {key_id}.")
        if key.revoked_at is None:
            key.revoked_at = timezone.now()
            key.save(update_fields=["revoked_at"])
            _record("key.revoked", key, by=by)
            transaction.on_commit(forget_stored_keys)
    return key


def check(*, name: str, role: str, queue_allowlist: Sequence[str] | None, expires_at: datetime | None) -> None:
    """Raise what `create` would raise for these values, and make nothing."""
    if faults := _faults(name, role, queue_allowlist, expires_at):
        summary = " ".join(f"{fault['path']}: {fault['message']}" for fault in faults)
        raise Problem(VALIDATION_ERROR, summary, {"errors": faults})
    configured = any(entry.name == name for entry in load().key_entries)
    if configured or ApiKey.objects.filter(name=name, revoked_at=None).exists():
        raise _name_taken(name)


def _faults(name: str, role: str, queues: Sequence[str] | None, expires_at: datetime | None) -> list[dict[str, str]]:
    faults = []
    if not 1 <= len(name) <= _NAME_MAX or not name.isprintable():
        faults.append({"path": "name", "message": f"Give a name of 1 to {_NAME_MAX} printable characters."})
    if role not in Role.values:
        faults.append({"path": "role", "message": f"Choose one of: {', '.join(Role.values)}."})
    if queues is not None and not queues:
        faults.append({"path": "queue_allowlist", "message": "Name at least one queue, or send null for every queue."})
    faults += [
        {"path": f"queue_allowlist[{index}]", "message": f"{queue!r} is no queue name: 1 to 80 of a-z 0-9 . _ : -"}
        for index, queue in enumerate(queues or ())
        if not QUEUE.fullmatch(queue)
    ]
    if expires_at is not None and (expires_at.tzinfo is None or expires_at <= timezone.now()):
        faults.append({"path": "expires_at", "message": "Give a time in the future, with its offset from UTC."})
    return faults


def _name_taken(name: str) -> Problem:
    return Problem(CONFLICT, f"A key is named {name!r} already: choose another name, or revoke that key first.")


def _record(action: str, key: ApiKey, *, by: str, **details: object) -> None:
    audit.record(
        actor=by, action=action, object_type="key", object_id=str(key.pk),
        details={"name": key.name, "prefix": key.prefix, **details},
    )  # fmt: skip
