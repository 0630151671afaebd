"""The admin's pages of schedules."""

from __future__ import annotations

from typing import Any

import pytest

from access.models import AuditEntry
from jobs import job_types
from jobs.models import Job
from schedules.dispatch import tick
from schedules.models import Schedule
from tests.admin.conftest import Admin, SignIn

SCHEDULES = "schedules/schedule/"
FORM = {
    "name": "nightly", "enabled": "on", "interval_sec": "", "cron": "30 3 * * *", "time_zone": "Europe/Helsinki",
    "type": "report.generate", "queue": "default", "priority": "5", "timeout_sec": "", "max_attempts": "",
    "input": '{"title": "N"}', "tags": "", "missed": "run_once", "catch_up_max": "10", "overlap": "skip",
    "jitter_sec": "0", "ends_at_0": "", "ends_at_1": "", "max_runs": "", "pause_after_failures": "",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _types(db: None) -> None:
    job_types.seed()


def made(admin: Admin, **fields: Any) -> Schedule:
    response = admin.post(f"/admin/{SCHEDULES}add/", {**FORM, **fields})
    assert response.status_code == 302, response.content.decode()
    return Schedule.objects.get(name=fields.get("name", "nightly"))


def test_a_schedule_is_made_changed_and_deleted_through_the_verbs(admin: Admin) -> None:
    schedule = made(admin)
    assert (schedule.cron, schedule.overlap, schedule.timeout_sec) == ("30 3 * * *", "skip", 120)
    assert schedule.next_run_at.minute == 30

    change = f"/admin/{SCHEDULES}{schedule.pk}/change/"
    response = admin.post(change, {**FORM, "timeout_sec": "120", "max_attempts": "1", "cron": "", "interval_sec": "60"})
    assert response.status_code == 302, response.content.decode()
    schedule.refresh_from_db()
    assert (schedule.cron, schedule.interval_sec) == (None, 60)
    admin.post(f"/admin/{SCHEDULES}{schedule.pk}/delete/", {"post": "yes"})
    assert not Schedule.objects.exists()
    entries = AuditEntry.objects.filter(object_type="schedule").order_by("id")
    assert [(entry.action, entry.actor) for entry in entries] == [
        (f"schedule.{what}", "user:root") for what in ("created", "updated", "deleted")
    ]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"cron": "61 * * * *"}, "bad minute"), ({"cron": ""}, "send interval_sec"),
        ({"interval_sec": "60"}, "not both"), ({"time_zone": "Mars"}, "no IANA time zone"),
        ({"cron": "", "interval_sec": "4"}, "greater than or equal to 5"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_told_beside_it(admin: Admin, fields: dict[str, str], told: str) -> None:
    response = admin.post(f"/admin/{SCHEDULES}add/", {**FORM, **fields})

    assert response.status_code == 200
    assert told in response.content.decode()
    assert not Schedule.objects.exists()


def test_the_page_shows_its_runs_and_the_list_its_state(admin: Admin) -> None:
    schedule = made(admin, cron="", interval_sec="60")
    tick()
    job = Job.objects.get()

    assert f"/admin/jobs/job/{job.pk}/change/" in admin.page(f"{SCHEDULES}{schedule.pk}/change/")
    Schedule.objects.update(enabled=False, stopped="failures")
    page = admin.page(SCHEDULES)
    assert "every 1 min" in page
    assert "failures" in page


def test_actions_pause_resume_and_run(admin: Admin) -> None:
    schedule = made(admin)

    assert "Paused" in admin.act(SCHEDULES, "pause", schedule.pk)
    assert not Schedule.objects.get().enabled
    assert "Resumed" in admin.act(SCHEDULES, "resume", schedule.pk)
    assert Schedule.objects.get().enabled
    assert "Run" in admin.act(SCHEDULES, "run_now", schedule.pk)
    assert Job.objects.get().created_by == "user:root"


def test_who_may_only_view_changes_nothing(sign_in: SignIn, admin: Admin) -> None:
    schedule = made(admin)
    anna = sign_in("view_schedule")

    assert "nightly" in anna.page(f"{SCHEDULES}{schedule.pk}/change/")
    anna.act(SCHEDULES, "pause", schedule.pk)
    assert Schedule.objects.get().enabled
