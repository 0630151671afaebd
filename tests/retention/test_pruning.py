"""What goes, what stays however old it is, and what a run may not do to others."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from access.models import AuditEntry
from jobs import lifecycle, queries
from jobs.models import (
    Attempt,
    CallbackDelivery,
    IdempotencyKey,
    Job,
    JobDependency,
    JobGroup,
    JobLog,
    Status,
)
from jobs.retention import old_jobs, partitions, policies, registry, run
from jobs.retention.models import ALL_TYPES, PrunedJobs, RetentionRun
from jobs.retention.old_jobs import Dropped
from jobs.retention.policies import PolicyChange
from jobs.sql import statement
from rauskuclaw.config import Config
from tests.large_table import large_table
from tests.retention.conftest import End, make_partition, midnight, named, shift, sql

pytestmark = pytest.mark.django_db(transaction=True)
Make = Callable[..., Job]
Configure = Callable[..., Config]


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "REST_SHARE", 0.0)


def prune() -> Counter[str]:
    report = run.run()
    assert report is not None
    assert not report.more
    return report.removed


def set_policy(type_: str = ALL_TYPES, **days: Any) -> None:
    policies.change(type_, PolicyChange(**days), by="test")


def there(*jobs: Job) -> list[bool]:
    known = set(Job.objects.values_list("pk", flat=True))
    return [job.pk in known for job in jobs]


# Policies


def test_jobs_go_with_all_that_is_theirs_so_many_days_after_their_end(ended: End) -> None:
    old, young = ended(93), ended(80)

    removed = prune()

    assert there(old, young) == [False, True]
    assert removed["jobs"] == removed["attempts"] == 1
    assert not Attempt.objects.filter(job=old).exists()
    assert not JobLog.objects.filter(job=old).exists()


def test_a_type_may_have_a_policy_of_its_own(ended: End) -> None:
    set_policy("short.lived", job_days=7)
    set_policy("kept.long", job_days=0)
    short, normal, long = ended(10, type="short.lived"), ended(10), ended(4000, type="kept.long", partitioned=False)

    prune()

    assert there(short, normal, long) == [False, True, True]


def test_failed_jobs_may_be_kept_longer(ended: End) -> None:
    set_policy(job_days=10, failed_days=50)
    succeeded, cancelled, failed = ended(20), ended(20, "cancelled"), ended(20, "failed")
    old = ended(60, "failed")

    prune()

    assert there(succeeded, cancelled, failed, old) == [False, False, True, False]


def test_who_says_days_for_a_type_says_so_of_its_failed_jobs_too() -> None:
    set_policy(job_days=90, failed_days=365)
    set_policy("short.lived", job_days=7)

    assert policies.Policies().of("short.lived").failed_days == 7
    assert policies.Policies().of("other").failed_days == 365


def test_of_a_count_the_newest_stay(ended: End) -> None:
    set_policy("short.lived", job_count=2)
    jobs = [ended(days, type="short.lived") for days in (5, 4, 3, 2)]
    other = ended(5)

    prune()

    assert there(*jobs, other) == [False, False, True, True, True]


def test_settings_are_the_default(ended: End, configure: Configure) -> None:
    configure(RETENTION_JOB_DAYS=3)
    old, young = ended(6), ended(1)

    prune()

    assert there(old, young) == [False, True]


def test_zero_days_are_for_ever(ended: End, configure: Configure) -> None:
    configure(RETENTION_JOB_DAYS=0, RETENTION_LOG_DAYS=0)
    job = ended(3000, partitioned=False)

    assert prune() == {}
    assert there(job) == [True]
    assert len(queries.log_tail(job, tail=9)) == 3


# What somebody needs


def test_what_has_not_ended_stays_however_old(make_job: Make, claimed: Callable[..., Any]) -> None:
    waiting, running = make_job(), Job.objects.get(pk=claimed().id)
    for job in (waiting, running):
        shift(job, timedelta(days=4000))

    prune()

    assert there(waiting, running) == [True, True]
    assert len(queries.log_tail(waiting, tail=9)) == 1


def test_what_an_open_job_depends_on_stays_until_that_has_ended(ended: End, make_job: Make) -> None:
    first = ended(200, partitioned=False)
    second = make_job(input={"title": "x", "depends_on": [str(first.pk)]})

    prune()
    assert there(first) == [True]

    lifecycle.cancel(second.pk, by="test")
    prune()
    assert there(first) == [False]
    assert not JobDependency.objects.exists()


def test_what_a_blocked_job_would_wait_for_again_stays_with_it(ended: End, make_job: Make) -> None:
    first = ended(200, "failed", partitioned=False)
    blocked = make_job(input={"title": "x", "depends_on": [str(first.pk)]})
    assert blocked.status == Status.FAILED

    prune()

    assert there(first, blocked) == [True, True]


def test_children_stay_until_their_parent_has_ended_and_go_before_it(ended: End, make_job: Make) -> None:
    parent, child = make_job(), ended(200, partitioned=False)
    group = JobGroup.objects.create(parent=parent, series=1, phase=1, depth=1, size=1)
    Job.objects.filter(pk=child.pk).update(group=group)

    prune()
    assert there(parent, child) == [True, True]

    lifecycle.cancel(parent.pk, by="test")
    JobGroup.objects.update(closed_at=timezone.now())
    shift(Job.objects.get(pk=parent.pk), timedelta(days=200))
    prune()
    prune()
    assert there(parent, child) == [False, False]
    assert not JobGroup.objects.exists()


def test_the_last_job_of_a_schedule_stays(ended: End) -> None:
    last, other = ended(200, partitioned=False), ended(200, partitioned=False)
    sql(
        "INSERT INTO schedules_schedule (id, type, queue, priority, timeout_sec, max_attempts, tags, flow,"
        " interval_sec, next_run_at, due_at, last_job_id)"
        " VALUES (gen_random_uuid(), 'report.generate', 'default', 5, 60, 1, '{}', '{}', 60, now(), now(), %s)",
        last.pk,
    )

    prune()

    assert there(last, other) == [True, False]


def test_a_living_idempotency_key_keeps_its_job_and_goes_with_it(ended: End) -> None:
    set_policy(job_count=1)
    kept, gone = ended(5), ended(5)
    ended(1)
    for job, hours in ((kept, 1), (gone, -1)):
        expires_at = timezone.now() + timedelta(hours=hours)
        IdempotencyKey.objects.create(digest=uuid.uuid4().hex, fingerprint="f", job=job, expires_at=expires_at)

    prune()

    assert there(kept, gone) == [True, False]
    assert IdempotencyKey.objects.count() == 1


def test_a_pending_callback_keeps_its_job(ended: End) -> None:
    job = ended(200, partitioned=False)
    delivery = CallbackDelivery.objects.create(
        job=job, series=1, url="https://x.example", payload={}, state=CallbackDelivery.State.PENDING,
        created_at=timezone.now() - timedelta(days=200),
    )  # fmt: skip

    prune()
    assert there(job) == [True]

    long_ago = timezone.now() - timedelta(days=199)
    CallbackDelivery.objects.filter(pk=delivery.pk).update(state="dead", next_try_at=long_ago)
    assert prune()["callbacks"] == 1
    assert there(job) == [False]


@pytest.mark.parametrize(("hours", "stays"), [(2, True), (26, False)])
def test_what_a_debounce_or_a_rate_limit_counts_stays_for_a_day(ended: End, hours: float, stays: bool) -> None:
    set_policy(job_count=1)
    plain, debounced, limited, newest = (ended(3) for _ in range(4))
    for job, ago in ((plain, hours), (debounced, hours), (limited, hours), (newest, 1)):
        shift(job, job.created_at - (timezone.now() - timedelta(hours=ago)))
    Job.objects.filter(pk=debounced.pk).update(unique_key="k")
    Attempt.objects.filter(job=limited).update(rate_key="k")

    prune()

    assert there(plain, debounced, limited, newest) == [False, stays, stays, True]


def test_the_failures_that_a_schedule_counts_stay(ended: End) -> None:
    counted, older = ended(200, "failed", partitioned=False), ended(200, "failed", partitioned=False)
    schedule = uuid.uuid4()
    sql(
        "INSERT INTO schedules_schedule (id, type, queue, priority, timeout_sec, max_attempts, tags, flow,"
        " interval_sec, next_run_at, due_at, pause_after_failures)"
        " VALUES (%s, 'report.generate', 'default', 5, 60, 1, '{}', '{}', 60, now(), now(), 1)",
        schedule,
    )
    for number, job in enumerate((older, counted)):
        sql(
            "INSERT INTO schedules_run (schedule_id, due_at, trigger, result, job_id)"
            " VALUES (%s, now() + make_interval(secs => %s), 'due', 'made', %s)",
            schedule, number, job.pk,
        )  # fmt: skip

    prune()

    assert there(counted, older) == [True, False]


def test_every_relation_to_a_job_is_one_that_deleting_knows() -> None:
    related = {relation.related_model._meta.db_table for relation in Job._meta.related_objects}

    assert {table for table in related if table not in statement("retention_delete")} == set()


def test_what_metrics_have_not_counted_stays(ended: End, monkeypatch: pytest.MonkeyPatch) -> None:
    job = ended(200, partitioned=False)
    monkeypatch.setattr(registry, "_floors", [lambda: timezone.now() - timedelta(days=300)])

    prune()

    assert there(job) == [True]


# Counters


def test_the_count_of_all_jobs_there_ever_were_does_not_fall(ended: End, api: Any) -> None:
    for days, status in ((200, "succeeded"), (200, "failed"), (1, "succeeded")):
        ended(days, status, partitioned=False)
    before = api.get("/v1/runtime/metrics").json["metrics"]

    prune()

    after = api.get("/v1/runtime/metrics").json["metrics"]
    assert Job.objects.count() == 1
    assert after["job_status"] == before["job_status"]
    assert after["job_status"]["succeeded"] == 2
    assert after["counters"] == before["counters"]
    assert api.get("/v1/runtime/metrics?queue=default").json["metrics"]["job_status"] == before["job_status"]
    assert sum(PrunedJobs.objects.values_list("count", flat=True)) == 2


# The log


def test_the_log_of_a_day_goes_at_once_and_its_jobs_stay(ended: End) -> None:
    jobs = [ended(40) for _ in range(3)]
    young = ended(20)

    removed = prune()

    assert removed == {"log_partitions": 1}
    assert there(*jobs, young) == [True] * 4
    assert queries.log_tail(jobs[0], tail=9) == []
    assert len(queries.log_tail(young, tail=9)) == 3
    assert named(midnight(-40)) not in {it.name for it in partitions.partitions()}


@pytest.mark.parametrize("holder", ["queued", "long policy", "ended later"])
def test_a_day_is_kept_whole_while_one_job_of_it_is_kept(ended: End, make_job: Make, holder: str) -> None:
    others = ended(40)
    match holder:
        case "queued":
            held = make_job()
            shift(held, timedelta(days=40))
        case "long policy":
            set_policy("kept.long", log_days=60)
            held = ended(40, type="kept.long")
        case _:
            held = ended(40)
            Job.objects.filter(pk=held.pk).update(finished_at=timezone.now() - timedelta(days=29))

    assert prune() == {}
    assert queries.log_tail(held, tail=9)
    assert queries.log_tail(others, tail=9)

    Job.objects.filter(pk=held.pk).delete()
    assert prune()["log_partitions"] == 1


def test_a_short_policy_of_one_type_takes_no_line_from_another(ended: End) -> None:
    set_policy("short.lived", job_days=3, log_days=3)
    short, normal = ended(10, type="short.lived"), ended(10)

    removed = prune()

    # The day is kept for the other one: these lines went one by one.
    assert (removed["jobs"], removed["log_lines"], removed["log_partitions"]) == (1, 3, 0)
    assert there(short, normal) == [False, True]
    assert len(queries.log_tail(normal, tail=9)) == 3


def test_jobs_wait_a_day_at_most_for_their_lines_to_go_with_the_partition(ended: End, configure: Configure) -> None:
    configure(RETENTION_JOB_DAYS=10, RETENTION_LOG_DAYS=0)
    early, late = ended(11), ended(11)
    Job.objects.filter(pk=late.pk).update(finished_at=timezone.now() - timedelta(days=9.9))

    assert prune() == {}

    Job.objects.filter(pk=late.pk).update(finished_at=timezone.now() - timedelta(days=10.1))
    assert prune() == {"log_partitions": 1, "jobs": 2, "attempts": 2}
    assert there(early, late) == [False, False]


def test_lines_in_the_default_partition_go_with_their_job(ended: End) -> None:
    job = ended(200, partitioned=False)

    removed = prune()

    assert (removed["jobs"], removed["log_lines"], removed["log_partitions"]) == (1, 3, 0)
    assert there(job) == [False]
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM jobs_joblog_default")
        assert cursor.fetchone() == (0,)


def test_a_job_that_is_retried_after_its_log_is_gone_has_a_log_again(ended: End) -> None:
    job = ended(40, "failed")
    prune()

    lifecycle.reopen(job.pk, by="test")

    assert [line.message for line in queries.log_tail(job, tail=9)] == ["Job retried"]


def test_no_partition_is_dropped_while_somebody_reopens_one_of_its_jobs(ended: End) -> None:
    ended(40)
    moment = old_jobs.Moment.take()
    (partition,) = old_jobs.old_partitions(moment)
    assert partition.name == named(midnight(-40))
    entered, leave = threading.Event(), threading.Event()

    def reopen() -> None:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(statement("log_is_wanted"))
            entered.set()
            leave.wait(30)
            cursor.execute("ROLLBACK")
        connection.close()

    other = threading.Thread(target=reopen)
    other.start()
    entered.wait(30)
    try:
        assert old_jobs.drop(partition, moment) is Dropped.BUSY
    finally:
        leave.set()
        other.join()
    assert old_jobs.drop(partition, moment) is Dropped.DONE


def test_an_answer_from_before_a_job_was_reopened_counts_no_more(ended: End, monkeypatch: pytest.MonkeyPatch) -> None:
    job = ended(40, "failed")
    moment = old_jobs.Moment.take()
    (partition,) = old_jobs.old_partitions(moment)
    ask = old_jobs._is_kept

    def reopened_meanwhile(*question: Any) -> bool:
        answer = ask(*question)
        if Job.objects.get(pk=job.pk).status == Status.FAILED:
            lifecycle.reopen(job.pk, by="test")
        return answer

    monkeypatch.setattr(old_jobs, "_is_kept", reopened_meanwhile)

    assert old_jobs.drop(partition, moment) is Dropped.BUSY
    assert old_jobs.drop(partition, moment) is Dropped.KEPT
    assert [line.message for line in queries.log_tail(job, tail=1)] == ["Job retried"]


def test_a_stopping_process_ends_its_run(ended: End, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [ended(200, partitioned=False) for _ in range(4)]
    monkeypatch.setattr(old_jobs, "LOOKED_AT", 1)
    monkeypatch.setattr(run, "_stopping", threading.Event())
    run.stop()

    report = run.run()

    assert report is not None
    assert report.more
    assert any(there(*jobs))


def test_a_drop_gives_way_to_whoever_has_the_log_locked(ended: End) -> None:
    job = ended(40)
    entered, leave = threading.Event(), threading.Event()

    def read() -> None:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("LOCK TABLE jobs_joblog IN ACCESS SHARE MODE")
            entered.set()
            leave.wait(30)
            cursor.execute("ROLLBACK")
        connection.close()

    other = threading.Thread(target=read)
    other.start()
    entered.wait(30)
    try:
        assert prune() == {}
        assert RetentionRun.objects.get().log_asked_at is None
    finally:
        leave.set()
        other.join()
    assert len(queries.log_tail(job, tail=9)) == 3
    assert prune() == {"log_partitions": 1}


def test_a_line_that_metrics_have_not_counted_keeps_its_partition(ended: End, monkeypatch: pytest.MonkeyPatch) -> None:
    job = ended(40)
    monkeypatch.setattr(registry, "_floors", [lambda: timezone.now() - timedelta(minutes=2)])
    lifecycle.append_logs(job.pk, [("info", "Callback delivered", {"status": 200})])

    assert prune() == {}

    JobLog.objects.filter(message="Callback delivered").update(ts=timezone.now() - timedelta(minutes=3))
    assert prune() == {"log_partitions": 1}


# Running


def test_a_job_locked_by_another_is_passed_by(ended: End) -> None:
    job, free = ended(200, partitioned=False), ended(200, partitioned=False)
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT FROM jobs_job WHERE id = %s FOR UPDATE", [job.pk])
            entered.set()
            leave.wait(30)
            cursor.execute("ROLLBACK")
        connection.close()

    other = threading.Thread(target=hold)
    other.start()
    entered.wait(30)
    try:
        prune()
        assert there(job, free) == [True, False]
    finally:
        leave.set()
        other.join()


def test_of_two_runs_at_once_one_does_nothing(ended: End, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(20):
        ended(200, partitioned=False)
    monkeypatch.setattr(old_jobs, "LOOKED_AT", 3)
    reports: list[run.Report | None] = []
    begin = threading.Barrier(3)

    def one() -> None:
        begin.wait()
        reports.append(run.run())
        connection.close()

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    prune()

    assert sum(report.removed["jobs"] for report in reports if report) <= 20
    assert not Job.objects.exists()
    assert sum(PrunedJobs.objects.values_list("count", flat=True)) == 20


def test_a_run_ends_in_time_says_that_there_is_more_and_the_next_goes_on(
    ended: End, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [ended(200, partitioned=False) for _ in range(5)]
    monkeypatch.setattr(old_jobs, "LOOKED_AT", 2)

    report = run.run(run_sec=0)
    noted = RetentionRun.objects.get()
    assert report is not None
    assert (report.more, noted.more) == (True, True)
    assert noted.ended_at is not None
    assert any(there(*jobs))

    for _ in range(20):
        run.run(run_sec=0)
    assert there(*jobs) == [False] * 5


def test_candidates_are_found_by_an_index() -> None:
    moment = old_jobs.Moment.take()
    params = old_jobs._params("report.generate", moment, partitions.partitions()) | {"limit": 500}
    with large_table() as cursor:
        plans = ""
        for name in ("retention_take", "retention_expired_count"):
            cursor.execute("EXPLAIN " + statement(name), params)
            plans += "\n".join(row[0] for row in cursor.fetchall())
        cursor.execute("EXPLAIN " + statement("retention_types"))
        plans += "\n".join(row[0] for row in cursor.fetchall())

    assert "Seq Scan on jobs_job " not in plans
    assert "job_by_type" in plans


def test_a_run_that_finds_nothing_asks_little(django_assert_max_num_queries: Any) -> None:
    prune()

    with django_assert_max_num_queries(40):
        run.run(run_sec=10)


def test_deleting_a_batch_takes_three_statements(ended: End, django_assert_max_num_queries: Any) -> None:
    for _ in range(10):
        ended(200, partitioned=False)
    moment = old_jobs.Moment.take()

    # And BEGIN, COMMIT, and two to learn the partitions.
    with django_assert_max_num_queries(6):
        list(old_jobs.prune_type("report.generate", moment, partitions.partitions(), set()))

    assert not Job.objects.exists()


def test_a_changed_policy_is_in_the_audit_log_once() -> None:
    set_policy("short.lived", job_days=7)
    set_policy("short.lived", job_days=7)
    policies.forget("short.lived", by="test")

    entries = AuditEntry.objects.order_by("id").values_list("action", "object_id", "details")
    assert list(entries) == [
        ("retention.updated", "short.lived", {"job_days": [None, 7]}),
        ("retention.deleted", "short.lived", {"job_days": 7}),
    ]


def test_nothing_is_deleted_where_retention_is_off(ended: End, configure: Configure) -> None:
    from jobs.tasks import prune as task

    job = ended(200, partitioned=False)
    configure(RETENTION_ENABLED="0")
    task()
    assert there(job) == [True]

    configure(RETENTION_ENABLED="1")
    task()
    assert there(job) == [False]


def test_a_preview_tells_what_a_run_deletes(ended: End) -> None:
    set_policy("short.lived", job_days=7)
    ended(10, type="short.lived", partitioned=False)
    make_partition(40)
    ended(41)

    found = {(it.kind, it.type): it.old for it in run.preview()}

    assert found["jobs", "short.lived"].count == 1
    assert found["jobs", "report.generate"].count == 0
    assert found["log_partitions", None].count == 2
    assert found["log_partitions", None].size_bytes > 0
    assert Job.objects.count() == 2
    removed = prune()
    assert (removed["jobs"], removed["log_partitions"]) == (1, 2)
