"""What becomes of missed and overlapping due times, of failures, of the last run: all beyond the contract."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from access.models import AuditEntry
from jobs.models import Job
from schedules.cadence import Cadence
from schedules.dispatch import tick
from schedules.models import Schedule
from tests.apiclient import Api
from tests.schedules.conftest import Make, end, jobs_of, let_pass, results_of

pytestmark = pytest.mark.django_db(transaction=True)


def ticks_after(seconds: float, schedule: Schedule, count: int = 1) -> int:
    """The jobs that this many ticks make when so much time has gone by."""
    let_pass(seconds, schedule)
    return sum(tick().jobs for _ in range(count))


# Missed


@pytest.mark.parametrize("cadence", [{"interval_sec": 60}, {"cron": "* * * * *"}])
def test_run_once_makes_one_job_for_all_that_was_missed(make_schedule: Make, cadence: dict[str, Any]) -> None:
    schedule = make_schedule(**cadence, policy={"missed": "run_once"})

    assert ticks_after(1000, schedule, count=3) == 1


@pytest.mark.parametrize("cadence", [{"interval_sec": 600}, {"cron": "*/10 * * * *"}])
def test_skip_runs_only_what_is_on_time(make_schedule: Make, cadence: dict[str, Any]) -> None:
    schedule = make_schedule(**cadence, policy={"missed": "skip"})
    schedule.refresh_from_db()
    wait_sec = (schedule.due_at - datetime.now(UTC)).total_seconds()

    assert ticks_after(wait_sec + 5, schedule) == 1
    schedule.refresh_from_db()
    assert schedule.runs.get().due_at != schedule.due_at


def test_skip_leaves_out_all_of_what_is_late_and_keeps_the_beat(make_schedule: Make) -> None:
    schedule = make_schedule(interval_sec=600, policy={"missed": "skip"})
    schedule.refresh_from_db()
    first = schedule.due_at

    # Of seven due times the newest is 5 minutes late.
    assert ticks_after(3900, schedule, count=2) == 0

    assert results_of(schedule) == ["missed"]
    schedule.refresh_from_db()
    assert schedule.due_at == first + timedelta(seconds=600 * 7 - 3900)


def test_catch_up_makes_the_newest_so_many_one_for_each_due_time(make_schedule: Make) -> None:
    schedule = make_schedule(interval_sec=60, policy={"missed": "catch_up", "catch_up_max": 3})
    schedule.refresh_from_db()
    first = schedule.due_at

    assert ticks_after(600, schedule, count=6) == 3

    due = list(schedule.runs.order_by("due_at").values_list("due_at", flat=True))
    assert [(at - first + timedelta(seconds=600)).total_seconds() for at in due] == [480, 540, 600]


def test_one_tick_catches_up_with_what_is_due_each_second(make_schedule: Make) -> None:
    schedule = make_schedule(cron="* * * * * *", policy={"missed": "catch_up", "catch_up_max": 50})

    assert ticks_after(30, schedule) >= 30

    schedule.refresh_from_db()
    newest = schedule.runs.order_by("-due_at")[0]
    assert (newest.at - newest.due_at).total_seconds() < 1


def test_catch_up_of_few_makes_them_all(make_schedule: Make) -> None:
    schedule = make_schedule(interval_sec=60, policy={"missed": "catch_up", "catch_up_max": 10})

    assert ticks_after(130, schedule, count=5) == 3


@pytest.mark.parametrize("count", [1, 7, 100])
@pytest.mark.parametrize(
    "cadence", [Cadence(5, None), Cadence(None, "* * * * * *"), Cadence(None, "30 3 * * 1-5", "Europe/Helsinki")]
)
def test_the_newest_due_times_of_a_year_are_found_without_walking_through_it(cadence: Cadence, count: int) -> None:
    now = datetime(2026, 11, 21, 15, 30, 7, tzinfo=UTC)
    first = cadence.after(now - timedelta(days=365))
    assert first is not None

    found = cadence.latest(first, now, count)

    expected, at = [], cadence.after(found[0] - timedelta(microseconds=1) if cadence.cron else found[0])
    while at is not None and at <= now:
        expected.append(at)
        at = cadence.after(at)
    assert found == (expected if cadence.cron else [found[0], *expected])
    assert len(found) == count
    assert cadence.latest(now, now, count) == [now]


# Overlap


def test_skip_leaves_out_what_comes_while_a_job_is_open(make_schedule: Make) -> None:
    schedule = make_schedule(policy={"overlap": "skip"})

    assert [ticks_after(61, schedule) for _ in range(2)] == [1, 0]
    end(jobs_of(schedule)[0])
    assert ticks_after(61, schedule) == 1

    assert results_of(schedule) == ["made", "overlapped", "made"]


def test_queue_one_lets_one_wait_for_the_job_before(make_schedule: Make) -> None:
    schedule = make_schedule(policy={"overlap": "queue_one"})

    assert [ticks_after(61, schedule) for _ in range(3)] == [1, 0, 0]
    assert results_of(schedule) == ["made", "waiting", "overlapped"]
    end(jobs_of(schedule)[0])
    assert tick().jobs == 1

    assert results_of(schedule) == ["made", "made", "overlapped"]
    schedule.refresh_from_db()
    assert (schedule.waiting_due_at, schedule.runs_made) == (None, 2)
    assert tick().jobs == 0


def test_what_waits_is_made_although_the_schedule_has_ended_and_not_while_it_is_paused(
    api: Api, make_schedule: Make
) -> None:
    ended = make_schedule(policy={"overlap": "queue_one", "max_runs": 2})
    paused = make_schedule(policy={"overlap": "queue_one"})
    tick()
    let_pass(61)
    tick()
    api.post(f"/v1/schedules/{paused.id}/pause")
    for schedule in (ended, paused):
        end(jobs_of(schedule)[0])

    tick()

    assert [results_of(schedule)[:2] for schedule in (ended, paused)] == [["made", "made"], ["made", "waiting"]]
    api.post(f"/v1/schedules/{paused.id}/resume")
    tick()
    assert results_of(paused)[:2] == ["made", "made"]


def test_cancel_running_lets_the_newest_win(make_schedule: Make) -> None:
    schedule = make_schedule(policy={"overlap": "cancel_running"})

    assert [ticks_after(61, schedule) for _ in range(3)] == [1, 1, 1]

    assert [job.status for job in jobs_of(schedule)] == ["cancelled", "cancelled", "queued"]
    error = jobs_of(schedule)[0].error
    assert error is not None
    assert error["code"] == "REPLACED"


def test_cancel_running_cancels_nothing_for_a_job_that_cannot_be_made(make_schedule: Make) -> None:
    schedule = make_schedule(policy={"overlap": "cancel_running"})
    tick()
    Schedule.objects.update(type="no.such")

    assert ticks_after(61, schedule) == 0

    assert [job.status for job in jobs_of(schedule)] == ["queued"]


# Ends


def test_it_stops_after_its_last_run(api: Api, make_schedule: Make) -> None:
    schedule = make_schedule(policy={"max_runs": 2})

    assert [ticks_after(61, schedule) for _ in range(4)] == [1, 1, 0, 0]

    schedule.refresh_from_db()
    assert (schedule.enabled, schedule.stopped) == (False, "max_runs")
    refused = api.post(f"/v1/schedules/{schedule.id}/resume")
    assert (refused.status, refused.code) == (409, "CONFLICT")
    more = api.patch(f"/v1/schedules/{schedule.id}", {"enabled": True, "policy": {"max_runs": 3}})
    assert (more.status, more.json["policy"]["stopped"]) == (200, None)
    assert [ticks_after(61, schedule) for _ in range(2)] == [1, 0]


def test_it_stops_at_its_end(make_schedule: Make) -> None:
    ends_at = datetime.now(UTC) + timedelta(seconds=90)
    schedule = make_schedule(policy={"ends_at": ends_at.isoformat()})

    assert [ticks_after(seconds, schedule) for seconds in (0, 61, 61)] == [1, 1, 0]

    schedule.refresh_from_db()
    assert (schedule.enabled, schedule.stopped) == (False, "ended")


def test_it_stops_after_failures_in_a_row_and_begins_anew_when_resumed(api: Api, make_schedule: Make) -> None:
    schedule = make_schedule(policy={"pause_after_failures": 2})

    for status in ("failed", "succeeded", "failed", "cancelled", "failed"):
        assert ticks_after(61, schedule) == 1
        end(jobs_of(schedule)[-1], status)
    assert ticks_after(61, schedule) == 0

    schedule.refresh_from_db()
    assert (schedule.enabled, schedule.stopped) == (False, "failures")
    assert AuditEntry.objects.get(action="schedule.stopped").object_id == str(schedule.id)
    assert api.post(f"/v1/schedules/{schedule.id}/resume").json["policy"]["stopped"] is None
    assert tick().jobs == 1


def test_jitter_puts_off_the_run_and_not_the_due_time(make_schedule: Make) -> None:
    schedules = [make_schedule(start_in_sec=100, policy={"jitter_sec": 50}) for _ in range(5)]

    late = [(schedule.next_run_at - schedule.due_at).total_seconds() for schedule in schedules]

    assert all(0 <= seconds <= 50 for seconds in late)
    assert len(set(late)) > 1
    let_pass(151)
    assert tick().jobs == 5
    for schedule in schedules:
        before = schedule.due_at - timedelta(seconds=151)
        schedule.refresh_from_db()
        assert schedule.runs.get().due_at == before
        assert schedule.due_at == before + timedelta(seconds=60)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"policy": {"time_zone": "Mars/Olympus"}}, "policy.time_zone"),
        ({"policy": {"time_zone": "localtime"}}, "policy.time_zone"),
        ({"policy": {"jitter_sec": 60}}, "policy.jitter_sec"),
        ({"policy": {"jitter_sec": -1}}, "policy.jitter_sec"),
        ({"policy": {"missed": "never"}}, "policy.missed"),
        ({"policy": {"catch_up_max": 101}}, "policy.catch_up_max"),
        ({"policy": {"overlap": None}}, "policy.overlap"),
        ({"policy": {"pause_after_failures": 0}}, "policy.pause_after_failures"),
        ({"policy": {"max_runs": 0}}, "policy.max_runs"),
        ({"policy": {"unknown": 1}}, "policy.unknown"),
        ({"policy": {"ends_at": "tomorrow"}}, "policy.ends_at"),
        ({"policy": {"ends_at": "2020-01-01"}}, "policy.ends_at"),
        ({"policy": None, "starts_at": "2020-01-01T00:00:00Z"}, "starts_at"),
        ({"starts_at": "soon"}, "starts_at"),
        ({"starts_at": "9999-12-31T23:59:59Z", "interval_sec": None, "cron": "0 0 1 1 *"}, "starts_at"),
        ({"unique": {"key": ""}}, "unique.key"),
        ({"expires_in_sec": 0}, "expires_in_sec"),
        ({"callback_url": "ftp://example.org"}, "callback_url"),
    ],
)
def test_a_policy_out_of_bounds_is_refused(api: Api, make_schedule: Make, fields: dict[str, Any], path: str) -> None:
    body = {"type": "report.generate", "interval_sec": 60, **fields}
    if body["interval_sec"] is None:
        del body["interval_sec"]
    make_schedule()

    answer = api.post("/v1/schedules", body)

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR"), answer.text
    assert answer.json["error"]["details"]["errors"][0]["path"] == path
    assert Job.objects.count() == 0
