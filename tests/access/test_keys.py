"""Stored keys: making, using, expiring and revoking them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from access import credentials, keys
from access.credentials import principal_for_key
from access.keyformat import digest
from access.models import ApiKey, AuditEntry
from rauskuclaw.errors import CONFLICT, NOT_FOUND, VALIDATION_ERROR, Problem
from tests.access.conftest import MakeKey, Revoke

pytestmark = pytest.mark.django_db


def test_a_new_key_opens_the_door_with_its_rights(make_key: MakeKey) -> None:
    made = make_key("gpu-bot", "read", sse=False, queue_allowlist=["gpu", "gpu"])

    principal = principal_for_key(made.secret)

    assert principal is not None
    assert (principal.name, principal.role, principal.sse) == ("gpu-bot", "read", False)
    assert (principal.queue_allowlist, principal.source) == (("gpu",), "db")


def test_a_key_shows_its_prefix_and_has_256_random_bits(make_key: MakeKey) -> None:
    made = make_key()

    assert re.fullmatch(rf"rk_{made.key.prefix}_[A-Za-z0-9_-]{{43}}", made.secret)


def test_nothing_stored_or_printed_holds_the_secret(make_key: MakeKey) -> None:
    made = make_key()

    rows = [*ApiKey.objects.values_list(), *AuditEntry.objects.values_list()]
    secret_part = made.secret.split("_", 2)[2]
    assert made.key.hash == digest(made.secret)
    assert secret_part not in f"{rows}{made!r}{made.key!r}"


@pytest.mark.parametrize(
    "change", [lambda key: key[:-1] + ("A" if key[-1] != "A" else "B"), str.upper, lambda key: key + "A"]
)
def test_a_key_with_another_secret_is_refused(make_key: MakeKey, change: Callable[[Any], Any]) -> None:
    assert principal_for_key(change(make_key().secret)) is None


def test_a_key_dies_at_its_expiry(make_key: MakeKey, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_key(expires_at=timezone.now() + timedelta(hours=1))
    assert principal_for_key(made.secret)

    monkeypatch.setattr(timezone, "now", lambda: made.key.expires_at)

    assert principal_for_key(made.secret) is None


def test_a_revoked_key_is_refused_at_once_in_the_process_that_revoked_it(make_key: MakeKey, revoke: Revoke) -> None:
    made = make_key()
    assert principal_for_key(made.secret)

    revoke(made)

    assert principal_for_key(made.secret) is None


def test_a_key_revoked_by_another_process_is_refused_within_5_seconds(
    make_key: MakeKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_key()
    assert principal_for_key(made.secret)
    ApiKey.objects.update(revoked_at=timezone.now())

    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + 5)
    monkeypatch.setattr(credentials, "time", clock)

    assert principal_for_key(made.secret) is None


def test_revoking_twice_changes_and_records_nothing_more(make_key: MakeKey) -> None:
    made = make_key()

    first, second = (keys.revoke(made.key.pk, by="test") for _ in range(2))

    assert second.revoked_at == first.revoked_at
    assert AuditEntry.objects.filter(action="key.revoked").count() == 1


def test_revoking_an_unknown_key_is_not_found() -> None:
    with pytest.raises(Problem) as refused:
        keys.revoke("00000000-0000-4000-8000-000000000000", by="test")

    assert refused.value.code is NOT_FOUND


def test_making_and_revoking_are_recorded_with_who_did_it(make_key: MakeKey) -> None:
    made = make_key()
    keys.revoke(made.key.pk, by="user:anna")

    entries = AuditEntry.objects.order_by("id").values_list("actor", "action", "object_id")

    assert list(entries) == [
        ("test", "key.created", str(made.key.pk)),
        ("user:anna", "key.revoked", str(made.key.pk)),
    ]


def test_a_name_belongs_to_one_live_key(make_key: MakeKey) -> None:
    old = make_key("ci-2")

    with pytest.raises(Problem) as refused:
        make_key("ci-2")
    keys.revoke(old.key.pk, by="test")

    assert refused.value.code is CONFLICT
    assert make_key("ci-2").key.name == "ci-2"


def test_the_constraint_holds_a_name_against_a_race(make_key: MakeKey, monkeypatch: pytest.MonkeyPatch) -> None:
    make_key("ci-2")
    monkeypatch.setattr(keys, "check", lambda **_: None)

    with pytest.raises(Problem) as refused:
        make_key("ci-2")

    assert refused.value.code is CONFLICT


def test_a_stored_key_may_not_take_a_configured_key_s_name(make_key: MakeKey) -> None:
    with pytest.raises(Problem, match="is named 'dashboard' already"):
        make_key("dashboard")


@pytest.mark.parametrize(
    ("fault", "path"),
    [
        ({"name": " "}, "name"),
        ({"name": "x" * 121}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"role": "root"}, "role"),
        ({"queue_allowlist": []}, "queue_allowlist"),
        ({"queue_allowlist": ["gpu", "no queue"]}, "queue_allowlist[1]"),
        ({"expires_at": timezone.now() - timedelta(seconds=1)}, "expires_at"),
        ({"expires_at": datetime(2100, 1, 1)}, "expires_at"),  # noqa: DTZ001 - without an offset on purpose
    ],
)
def test_a_fault_is_told_with_its_path_and_makes_nothing(make_key: MakeKey, fault: dict[str, Any], path: str) -> None:
    with pytest.raises(Problem) as refused:
        make_key(**fault)

    assert refused.value.code is VALIDATION_ERROR
    assert [error["path"] for error in (refused.value.details or {})["errors"]] == [path]
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize(
    ("columns", "constraint"),
    [
        ({"role": "root"}, "apikey_role_is_known"),
        ({"queue_allowlist": []}, "apikey_queue_allowlist_is_null_or_names_a_queue"),
        ({"hash": "plain text"}, "apikey_hash_is_a_sha256_in_hex"),
        ({"prefix": "short"}, "apikey_prefix_is_8_base32_characters"),
        ({"expires_at": datetime.fromisoformat("2000-01-01T00:00Z")}, "apikey_expires_after_its_creation"),
    ],
)
def test_postgres_refuses_a_wrong_row(make_key: MakeKey, columns: dict[str, Any], constraint: str) -> None:
    make_key()

    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        ApiKey.objects.update(**columns)


def test_last_used_is_written_at_most_once_a_minute(make_key: MakeKey, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_key()
    start = timezone.now()
    seen = []

    for seconds in (0, 59, 60, 61):
        monkeypatch.setattr(timezone, "now", lambda seconds=seconds: start + timedelta(seconds=seconds))
        principal_for_key(made.secret)
        seen.append(ApiKey.objects.get().last_used_at)

    assert [(moment - start).total_seconds() for moment in seen if moment] == [0, 0, 60, 60]
