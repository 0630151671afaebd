"""The audit log: it only grows, its chain shows tampering, and writers at once make one chain."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from django.db import IntegrityError, InternalError, connection, transaction

from access import audit
from access.models import AuditEntry

pytestmark = pytest.mark.django_db


def record(count: int = 1, **details: object) -> None:
    for number in range(count):
        audit.record(
            actor="key:ci", action="job.retried", object_type="job", object_id=str(number), details=details or None
        )


def tamper(sql: str) -> None:
    """Change entries past the triggers, as somebody with the database superuser's password could."""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(sql)
        cursor.execute("SET session_replication_role = DEFAULT")


def entry_ids() -> list[int]:
    return list(AuditEntry.objects.order_by("id").values_list("id", flat=True))


def test_an_entry_says_who_did_what_to_which_object() -> None:
    record(queue="gpu")

    entry = AuditEntry.objects.get()

    assert (entry.actor, entry.action, entry.object_type, entry.object_id) == ("key:ci", "job.retried", "job", "0")
    assert entry.details == {"queue": "gpu"}


@pytest.mark.parametrize(
    "change", [lambda: AuditEntry.objects.update(actor="nobody"), lambda: AuditEntry.objects.all().delete()]
)
def test_postgres_refuses_to_change_or_delete_an_entry(change: Callable[[], object]) -> None:
    record()

    with pytest.raises((InternalError, IntegrityError), match="append-only"), transaction.atomic():
        change()

    assert AuditEntry.objects.get().actor == "key:ci"


def test_postgres_refuses_to_truncate_the_log() -> None:
    with connection.cursor() as cursor:
        # The test database lets TRUNCATE pass, for the clean-up of transactional tests.
        cursor.execute("ALTER TABLE access_auditentry ENABLE TRIGGER auditentry_is_never_truncated")
        with pytest.raises((InternalError, IntegrityError), match="TRUNCATE is refused"):
            cursor.execute("TRUNCATE access_auditentry")


def test_an_entry_is_undone_with_the_change_it_tells_of() -> None:
    with transaction.atomic():
        record()
        transaction.set_rollback(True)

    assert not AuditEntry.objects.exists()


def test_an_empty_log_is_whole() -> None:
    assert audit.verify() == audit.Verdict(True, 0, audit.GENESIS)


def test_an_untouched_log_is_whole() -> None:
    record(3)

    verdict = audit.verify()

    assert (verdict.ok, verdict.entries) == (True, 3)
    assert verdict.head == AuditEntry.objects.latest("id").hash


@pytest.mark.parametrize(
    "column",
    ["actor = 'key:other'", "action = 'x'", "object_type = 'x'", "object_id = 'x'", "at = at + '1 microsecond'"],
)
def test_a_changed_entry_is_found(column: str) -> None:
    record(3)
    second = entry_ids()[1]

    tamper(f"UPDATE access_auditentry SET {column} WHERE id = {second}")

    verdict = audit.verify()
    assert (verdict.ok, verdict.entries, verdict.broken_id) == (False, 1, second)


def test_changed_details_are_found() -> None:
    record(1, queue="gpu")

    tamper("""UPDATE access_auditentry SET details = '{"queue": "cpu"}'""")

    assert audit.verify().broken_id == entry_ids()[0]


def test_a_changed_entry_with_a_new_hash_is_found_at_the_next_one() -> None:
    record(3)
    first, second, _ = AuditEntry.objects.order_by("id")
    first.actor = "key:other"

    tamper(
        f"UPDATE access_auditentry SET actor = 'key:other', hash = '{audit.entry_hash(first)}' WHERE id = {first.pk}"
    )

    assert audit.verify().broken_id == second.pk


@pytest.mark.parametrize("removed", [0, 1])
def test_a_removed_entry_is_found_at_the_next_one(removed: int) -> None:
    record(3)
    ids = entry_ids()

    tamper(f"DELETE FROM access_auditentry WHERE id = {ids[removed]}")

    assert audit.verify().broken_id == ids[removed + 1]


def test_entries_cut_off_the_end_are_found_with_a_head_noted_before() -> None:
    record(3)
    head = audit.verify().head

    tamper(f"DELETE FROM access_auditentry WHERE id = {entry_ids()[-1]}")

    assert audit.verify().ok
    assert not audit.verify(known_head=head).ok


def test_a_head_noted_before_stays_good_while_the_log_grows() -> None:
    record(2)
    head = audit.verify().head

    record(2)

    assert audit.verify(known_head=head).ok


@pytest.mark.parametrize(
    "value", [1e16, 1.0, -0.0, 0.1, 1e-7, 1.5e300, 12345678901234567890, "ä\u2028€", [None, True, {"b": 1, "a": 2}]]
)
def test_every_kind_of_detail_survives_its_way_through_postgres(value: object) -> None:
    record(1, value=value)

    assert audit.verify().ok


def test_nan_is_refused_and_records_nothing() -> None:
    with pytest.raises(ValueError, match="JSON"):
        record(1, value=float("nan"))

    assert not AuditEntry.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_writers_at_once_make_one_unbroken_chain() -> None:
    barrier = threading.Barrier(6)

    def write() -> None:
        barrier.wait(timeout=30)
        record(10)
        connection.close()

    run_together(write, threads=6)

    verdict = audit.verify()
    assert (verdict.ok, verdict.entries) == (True, 60)


@pytest.mark.django_db(transaction=True)
def test_a_writer_waits_for_the_transaction_that_wrote_before_it() -> None:
    first_wrote, second_starts = threading.Event(), threading.Event()

    def first() -> None:
        with transaction.atomic():
            record()
            first_wrote.set()
            second_starts.wait(timeout=30)
        connection.close()

    def second() -> None:
        first_wrote.wait(timeout=30)
        second_starts.set()
        record()
        connection.close()

    run_together(first, second)

    assert audit.verify() == audit.Verdict(True, 2, AuditEntry.objects.latest("id").hash)


def run_together(*work: Callable[[], None], threads: int = 1) -> None:
    running = [threading.Thread(target=one) for one in work * threads]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(timeout=60)
