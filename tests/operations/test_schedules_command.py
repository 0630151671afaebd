"""`manage.py schedules`."""

from __future__ import annotations

import pytest

from jobs import job_types
from jobs.models import Job
from schedules.models import Schedule
from tests.operations.conftest import Manage

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _types(db: None) -> None:
    job_types.seed()


def test_a_schedule_is_created_shown_listed_run_and_deleted(manage: Manage) -> None:
    made = manage(
        "schedules", "create", "report.generate", "--name", "nightly", "--cron", "30 3 * * 1-5", "--time-zone",
        "Europe/Helsinki", "--overlap", "skip", "--input", '{"title": "N"}', "--tag", "a", "--json",
    )  # fmt: skip
    schedule = Schedule.objects.get()
    assert (made.code, made.json["schedule"]["id"]) == (0, str(schedule.id))
    assert (schedule.overlap, schedule.input, schedule.tags) == ("skip", {"title": "N"}, ["a"])
    assert schedule.created_by.startswith("cli:")

    listed = manage("schedules", "list").out
    assert "nightly" in listed
    assert "30 3 * * 1-5 Europe/Helsinki" in listed
    ran = manage("schedules", "run", "nightly", "--json").json["job"]
    assert Job.objects.get().id == schedule.runs.get().job_id
    shown = manage("schedules", "show", str(schedule.id)[:8])
    assert ran["id"] in shown.out
    assert "is skipped" in shown.out
    assert manage("schedules", "delete", "nightly", "--json").json["deleted"] is True
    assert (Schedule.objects.count(), Job.objects.count()) == (0, 1)


def test_pause_and_resume_take_many(manage: Manage) -> None:
    for name in ("a", "b"):
        manage("schedules", "create", "report.generate", "--name", name, "--interval-sec", "60")

    paused = manage("schedules", "pause", "a", "b", "--json").json["schedules"]
    assert [it["enabled"] for it in paused] == [False, False]
    assert manage("schedules", "pause", "a", "nobody", "--json").json["error"]["code"] == "NOT_FOUND"
    resumed = manage("schedules", "resume", "a", "--json").json["schedules"]
    assert [(it["name"], it["enabled"]) for it in resumed] == [("a", True)]


def test_a_preview_marks_where_clocks_change(manage: Manage) -> None:
    manage("schedules", "create", "report.generate", "--name", "monthly", "--cron", "0 12 1 * *")

    text = manage("schedules", "preview", "--cron", "0 12 1 * *", "--time-zone", "Europe/Helsinki").out
    due = manage("schedules", "preview", "--schedule", "monthly", "--json").json["due"]

    assert "clocks put forward by 1 h" in text
    assert "clocks put back by 1 h" in text
    assert len(due) == 50


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "report.generate", "--cron", "61 * * * *"), ("create", "no.such", "--interval-sec", "60"),
        ("create", "report.generate", "--interval-sec", "0"), ("preview", "--cron", "nonsense"),
        ("create", "report.generate", "--interval-sec", "60", "--time-zone", "Nowhere"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(manage: Manage, arguments: tuple[str, ...]) -> None:
    assert manage("schedules", *arguments, "--json").code == 2
    assert not Schedule.objects.exists()
