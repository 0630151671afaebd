"""Old entries of the audit log go from its start, and what is left still proves itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from access import audit
from access.models import AuditAnchor, AuditEntry
from jobs.retention import run
from rauskuclaw.config import Config
from tests.access.test_audit import record, tamper

pytestmark = pytest.mark.django_db(transaction=True)


def recorded(monkeypatch: pytest.MonkeyPatch, *days_ago: float) -> None:
    """An entry for each, the oldest first."""
    today = timezone.now()
    for days in days_ago:
        moment = today - timedelta(days=days)
        monkeypatch.setattr(timezone, "now", lambda moment=moment: moment)
        record()
    monkeypatch.undo()


def cutoff(days: float) -> datetime:
    return timezone.now() - timedelta(days=days)


def test_what_is_left_proves_itself_from_the_cut_on(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(monkeypatch, 400, 390, 20, 10)
    head = audit.verify().head

    assert audit.prune(cutoff(365), limit=100) == 2

    verdict = audit.verify(known_head=head)
    assert (verdict.ok, verdict.entries) == (True, 3)
    assert [entry.action for entry in AuditEntry.objects.order_by("id")] == ["job.retried", "job.retried", audit.PRUNED]
    assert AuditAnchor.objects.get().entries == 2
    record()
    assert audit.verify().ok


def test_a_second_cut_goes_on_from_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(monkeypatch, 400, 390, 380, 10)

    assert [audit.prune(cutoff(365), limit=1) for _ in range(4)] == [1, 1, 1, 0]

    assert audit.verify().ok
    assert AuditAnchor.objects.get().entries == 3


def test_the_newest_entry_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(monkeypatch, 400)

    assert audit.prune(cutoff(365), limit=100) == 0
    assert AuditEntry.objects.count() == 1


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM access_auditentry WHERE id = (SELECT min(id) FROM access_auditentry)",
        "UPDATE access_auditentry SET actor = 'nobody' WHERE id = (SELECT min(id) FROM access_auditentry)",
        "DELETE FROM access_auditanchor",
        "UPDATE access_auditanchor SET entry_id = 1",
    ],
    ids=["first deleted", "first changed", "anchor deleted", "anchor moved"],
)
def test_tampering_is_found_as_before(monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    recorded(monkeypatch, 400, 20, 10)
    audit.prune(cutoff(365), limit=100)
    assert audit.verify().ok

    tamper(change)

    assert not audit.verify().ok


def test_entries_cut_off_the_start_by_somebody_else_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(monkeypatch, 400, 20, 10)
    first, second, _ = AuditEntry.objects.order_by("id")
    AuditAnchor.objects.create(entry_id=first.pk, hash=first.hash, entries=1)
    tamper(f"DELETE FROM access_auditentry WHERE id = {first.pk}")

    verdict = audit.verify()

    assert second.previous_hash == first.hash
    assert (verdict.ok, verdict.reason) == (
        False, "no entry says that the entries before its start were deleted for age",
    )  # fmt: skip


def test_nobody_else_may_delete_an_entry_after_a_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(monkeypatch, 400, 20, 10)
    audit.prune(cutoff(365), limit=100)

    with pytest.raises(Exception, match="append-only"), connection.cursor() as cursor:
        cursor.execute("DELETE FROM access_auditentry")


def test_retention_cuts_a_days_worth_at_once_and_only_if_it_is_told_to(
    monkeypatch: pytest.MonkeyPatch, configure: Callable[..., Config]
) -> None:
    recorded(monkeypatch, 30.5, 30.2, 5)
    run.run()
    assert AuditEntry.objects.count() == 3

    configure(RETENTION_AUDIT_DAYS=30)
    run.run()
    assert AuditEntry.objects.count() == 3

    configure(RETENTION_AUDIT_DAYS=29)
    report = run.run()
    assert report is not None
    assert report.removed["audit_entries"] == 2
    assert audit.verify().ok
