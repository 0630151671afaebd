"""Named secrets: set, read, delete, and seal all anew under a new key. Each change is in the audit log, no value is.

Other apps keep theirs here too, under a name with their own prefix (`ui-prefs/…`), so that one command rotates all.
"""

from __future__ import annotations

import re

from django.db import transaction
from django.utils import timezone

from access import audit, sealing
from access.models import Secret
from access.sealing import Unsealable
from rauskuclaw.errors import NOT_FOUND, VALIDATION_ERROR, Problem

NAME = re.compile(r"[a-z0-9][a-z0-9._:/-]{0,159}")
MAX_VALUE_CHARS = 16_384
REFERENCE = "secret:"
ROTATE_BATCH = 200


class SecretUnavailable(Exception):
    """A reference leads to no secret that can be opened. The message says why, and what to do."""


def put(name: str, value: str, *, by: str, note: str | None = None) -> Secret:
    """Set a secret, new or not. note None leaves it. Raises VALIDATION_ERROR."""
    check(name, value)
    sealed = sealing.seal(value, purpose=_purpose(name))
    with transaction.atomic():
        now = timezone.now()
        changed = {"sealed": sealed, "updated_at": now, "updated_by": by}
        if note is not None:
            changed["note"] = note.strip()
        secret, is_new = Secret.objects.update_or_create(
            name=name, defaults=changed, create_defaults={**changed, "created_at": now, "created_by": by}
        )
        _record("secret.created" if is_new else "secret.updated", name, by=by)
    return secret


def check(name: str, value: str) -> None:
    """Raise what `put` would raise for these, and keep nothing."""
    faults = []
    if not NAME.fullmatch(name):
        faults.append({"path": "name", "message": "Use 1 to 160 of a-z 0-9 . _ : / -, a letter or digit first."})
    if not value.strip() or len(value) > MAX_VALUE_CHARS:
        faults.append({"path": "value", "message": f"Send 1 to {MAX_VALUE_CHARS:,} characters."})
    if faults:
        summary = " ".join(f"{fault['path']}: {fault['message']}" for fault in faults)
        raise Problem(VALIDATION_ERROR, summary, {"errors": faults})


def delete(name: str, *, by: str) -> None:
    """Forget a secret. Raises NOT_FOUND."""
    with transaction.atomic():
        if not Secret.objects.filter(name=name).delete()[0]:
            raise Problem(NOT_FOUND, f"There is no secret named {name}.")
        _record("secret.deleted", name, by=by)


def read(name: str) -> str:
    """A secret's value, for the moment of its use: it goes into no row, log, answer or message.

    Raises SecretUnavailable.
    """
    value = find(name)
    if value is None:
        raise SecretUnavailable(f"there is no secret named {name}: `manage.py secrets set {name}`")
    return value


def find(name: str) -> str | None:
    """As `read`; None where there is no such secret."""
    sealed = Secret.objects.filter(name=name).values_list("sealed", flat=True).first()
    return None if sealed is None else _opened(sealed, name)


def resolve(reference: str, *, purpose: str) -> str:
    """What a setting means: `secret:<name>` a stored secret, `enc:…` one sealed for `purpose`, any other text itself.

    Raises SecretUnavailable.
    """
    reference = reference.strip()
    if reference.startswith(REFERENCE):
        return read(reference.removeprefix(REFERENCE))
    if sealing.is_sealed(reference):
        try:
            return sealing.unseal(reference, purpose=purpose)
        except Unsealable as reason:
            raise SecretUnavailable(f"the sealed value of {purpose} does not open: {reason}") from None
    return reference


def rotate(*, by: str) -> int:
    """Seal under the current key all that an older one sealed; how many. May be interrupted, and run twice.

    Raises SecretUnavailable for a secret that does not open; those before it are done.
    """
    current = sealing.key_name(sealing.current_key())
    done = 0
    while True:
        with transaction.atomic():
            stale = Secret.objects.select_for_update().exclude(sealed__startswith=f"enc:1:{current}:")
            batch = list(stale.order_by("name")[:ROTATE_BATCH])
            for secret in batch:
                value = _opened(secret.sealed, secret.name)
                secret.sealed = sealing.seal(value, purpose=_purpose(secret.name))
            Secret.objects.bulk_update(batch, ["sealed"])
            done += len(batch)
            if not batch:
                break
    if done:
        _record("secret.rotated", "*", by=by, key=current, secrets=done)
    return done


def by_key() -> dict[str, int]:
    """How many secrets each key has sealed, by the key's name."""
    counts: dict[str, int] = {}
    for sealed in Secret.objects.values_list("sealed", flat=True):
        name = sealing.sealed_by(sealed)
        counts[name] = counts.get(name, 0) + 1
    return counts


def _opened(sealed: str, name: str) -> str:
    try:
        return sealing.unseal(sealed, purpose=_purpose(name))
    except Unsealable as reason:
        raise SecretUnavailable(f"the secret {name} does not open: {reason}") from None


def _purpose(name: str) -> str:
    return f"{REFERENCE}{name}"


def _record(action: str, name: str, *, by: str, **details: object) -> None:
    audit.record(actor=by, action=action, object_type="secret", object_id=name, details=details)
