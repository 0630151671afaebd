"""Counters: what they count, that they survive, and that nothing is counted twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from jobs import callbacks, lifecycle, signals
from jobs.models import CallbackDelivery, Job
from jobs.reconciler import reconcile
from jobs.retention import run as retention
from jobs.transitions import Claim
from metrics import counting
from metrics.counting import count_up, sums
from metrics.models import Count, Progress, Total
from rauskuclaw.config import Config
from schedules import dispatch, tasks
from tests.schedules.conftest import let_pass

pytestmark = pytest.mark.django_db

Make = Callable[..., Any]
Ago = Callable[[float], None]


def fail(claim: Claim, *, retry: bool = False, code: str = "HANDLER_ERROR") -> None:
    assert lifecycle.fail(claim.id, claim.fence, code=code, message="no", retry=retry)


def one_of_each(claimed: Make, make_job: Make) -> None:
    """A job that succeeded, one that failed, one that is tried again, one cancelled, one that waits."""
    done = claimed()
    assert lifecycle.succeed(done.id, done.fence, result={})
    fail(claimed())
    fail(claimed(max_attempts=3), retry=True)
    lifecycle.cancel(make_job().id, by="test")
    make_job()


EACH = {
    "job.made": 5, "job.created": 5, "job.claimed": 3, "job.succeeded": 1, "job.retried": 1, "job.failed_terminal": 1,
    "job.ended": 3, "job.cancelled": 1, "attempt.ended": 3,
}  # fmt: skip


def test_what_has_just_happened_counts_at_once(claimed: Make, make_job: Make) -> None:
    one_of_each(claimed, make_job)

    assert sums(60) == EACH
    assert not Count.objects.exists()


def test_what_is_counted_for_good_stays_the_same(claimed: Make, make_job: Make, ago: Ago) -> None:
    one_of_each(claimed, make_job)
    sums(60)
    ago(200)

    assert count_up() >= 1
    assert count_up() == 0

    assert sums(3600) == EACH
    assert dict(Total.objects.filter(name="job.created").values_list("name", "value")) == {"job.created": 5}


def test_counts_survive_the_jobs_they_are_of(claimed: Make, make_job: Make, ago: Ago) -> None:
    one_of_each(claimed, make_job)
    sums(60)
    ago(200)
    count_up()

    Job.objects.all().delete()

    assert sums(3600) == EACH


def test_a_window_leaves_out_what_is_older(make_job: Make, ago: Ago) -> None:
    make_job()
    sums(60)
    ago(100)
    make_job()

    assert sums(60) == {"job.created": 1, "job.made": 1}
    assert sums(3600) == {"job.created": 2, "job.made": 2}


def test_labels_tell_type_queue_code_and_status_apart(claimed: Make, ago: Ago) -> None:
    claim = claimed(type="deploy.run", queue="gpu")
    fail(claim, code="UPSTREAM_ERROR")
    sums(60)
    ago(200)
    count_up()

    assert Count.objects.get(name="job.failed_terminal").labels == {
        "type": "deploy.run", "queue": "gpu", "code": "UPSTREAM_ERROR",
    }  # fmt: skip


def test_with_queues_only_counters_that_know_theirs_count(claimed: Make, make_job: Make) -> None:
    make_job(queue="gpu")
    one_of_each(claimed, make_job)

    assert sums(60, ["gpu"]) == {"job.created": 1, "job.made": 1}


def test_ends_without_an_attempt_are_failures_too(make_job: Make) -> None:
    late = make_job()
    Job.objects.filter(pk=late.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    blocked = make_job(input={"title": "x", "depends_on": ["11111111-1111-4111-8111-111111111111"]})

    reconcile()

    blocked.refresh_from_db()
    assert blocked.status == "failed"
    found = sums(60)
    assert (found["job.failed_terminal"], found["job.blocked"]) == (1, 1)


def test_a_failure_that_is_retried_by_hand_stays_counted(claimed: Make, ago: Ago) -> None:
    claim = claimed()
    fail(claim)
    lifecycle.reopen(claim.id, by="test")

    assert sums(60)["job.failed_terminal"] == 1


def test_callbacks_are_counted_by_what_came_of_them(claimed: Make, configure: Callable[..., Config], ago: Ago) -> None:
    configure(CALLBACKS_ENABLED=0)
    claim = claimed(callback_url="https://example.org/done")
    lifecycle.succeed(claim.id, claim.fence, result={})
    callbacks.deliver_due()

    assert CallbackDelivery.objects.get().state == "skipped"
    assert sums(60)["callback.skipped_disabled"] == 1


def test_what_schedules_do_is_counted(make_schedule: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    let_pass(61, make_schedule())
    tasks.tick()

    def fails() -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(dispatch, "tick", fails)
    with pytest.raises(RuntimeError):
        tasks.tick()

    found = sums(60)
    assert (found["schedule.dispatched_jobs"], found["schedule.tick_failed"]) == (1, 1)
    assert "job.created" not in found


def test_the_lines_that_are_counted_are_those_of_the_index() -> None:
    from jobs.models import COUNTED_LINES
    from metrics.sql import text

    for line in COUNTED_LINES:
        assert f"'{line}'" in text("count_to")


def test_what_no_row_tells_is_counted_where_it_happens(make_job: Make) -> None:
    signals.happened.send(sender=None, name="job.idempotency_hit", labels={"type": "report.generate"}, count=2)
    counting.record("job.idempotency_hit", labels={"type": "report.generate"})

    assert sums(60) == {"job.idempotency_hit": 3}
    assert Total.objects.get().value == 3


def test_switched_off_nothing_is_recorded_and_nothing_made_up_for(
    claimed: Make, make_job: Make, configure: Callable[..., Config], ago: Ago
) -> None:
    configure(METRICS_ENABLED=0)
    one_of_each(claimed, make_job)
    counting.record("job.idempotency_hit")
    assert sums(60) == {}
    ago(200)
    count_up()
    configure(METRICS_ENABLED=1)

    assert count_up() == 0
    assert sums(3600) == {}


def test_counts_older_than_the_retention_go(make_job: Make, configure: Callable[..., Config], ago: Ago) -> None:
    configure(METRICS_RETENTION_DAYS=2)
    old, kept = (timezone.now() - timedelta(days=days) for days in (2.1, 1.9))
    for minute in (old, kept):
        Count.objects.create(minute=minute, name="job.created", value=1)
    sums(60)

    retention.run()

    assert [count.minute for count in Count.objects.filter(name="job.created")] == [kept]


def test_after_a_long_pause_of_beat_it_catches_up_a_span_at_a_time(make_job: Make, ago: Ago) -> None:
    make_job()
    sums(60)
    ago(5 * 3600)

    assert [count_up() for _ in range(5)] == [15] * 5
    assert sums(6 * 3600) == {"job.created": 1, "job.made": 1}


@pytest.mark.django_db(transaction=True)
def test_two_that_count_at_once_count_once(make_job: Make, ago: Ago) -> None:
    for _ in range(20):
        make_job()
    sums(60)
    ago(200)
    start = threading.Barrier(4)

    def count() -> None:
        start.wait()
        count_up()
        connection.close()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Total.objects.get(name="job.created").value == 20
    assert sums(3600) == {"job.created": 20, "job.made": 20}


def test_how_long_things_took_is_kept_in_buckets(claimed: Make, ago: Ago) -> None:
    claim = claimed()
    lifecycle.succeed(claim.id, claim.fence, result={})
    with connection.cursor() as cursor:
        cursor.execute("UPDATE jobs_attempt SET waited_ms = 26, ran_ms = 4000000")
    sums(60)
    ago(200)
    count_up()

    # 26 ms lie in (25 ms, 50 ms], 4,000 s above all bounds.
    buckets = dict(Total.objects.filter(labels__has_key="bucket").values_list("name", "labels__bucket"))
    assert buckets["job.wait"] == counting.BOUNDS_SEC.index(0.05)
    assert buckets["job.run"] == len(counting.BOUNDS_SEC)
    assert Total.objects.get(name="job.wait_ms").value == 26


def test_progress_is_one_row() -> None:
    sums(60)
    assert Progress.objects.count() == 1
