"""The admin's pages of job types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from access.models import AuditEntry
from jobs.models import JobType
from tests.admin.conftest import Admin, SignIn

TYPES = "jobs/jobtype/"
FORM = {
    "enabled": "on",
    "handler": "builtin:report.generate",
    "default_timeout_sec": "120",
    "default_max_attempts": "1",
    "retry_base_sec": "2.0",
    "retry_factor": "2.0",
    "retry_max_sec": "300.0",
    "retry_jitter": "0.2",
    "on_limit": "wait",
    "rate_period_sec": "60",
}
MakeType = Callable[..., JobType]


@pytest.fixture
def report(make_type: MakeType) -> JobType:
    return make_type("report.generate")


def save(admin: Admin, name: str, **fields: Any) -> str:
    form = {**FORM, **fields}
    sent = {key: value for key, value in form.items() if value is not None}
    return admin.post(f"/admin/{TYPES}{name}/change/", sent, follow=True).content.decode()


def test_a_change_is_recorded_with_what_changed(admin: Admin, report: JobType) -> None:
    save(admin, report.name, default_timeout_sec="60", retry_base_sec="5")

    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.action, entry.object_id) == ("user:root", "job_type.updated", "report.generate")
    assert entry.details == {"default_timeout_sec": [120, 60], "retry_base_sec": [2, 5]}
    report.refresh_from_db()
    assert (report.default_timeout_sec, report.retry_base_sec) == (60, 5)


def test_only_what_was_changed_in_the_form_is_written(admin: Admin, report: JobType) -> None:
    JobType.objects.filter(pk=report.pk).update(default_max_attempts=3)  # by somebody else, after the form was opened

    save(admin, report.name, default_max_attempts="3", default_timeout_sec="60")

    report.refresh_from_db()
    assert (report.default_max_attempts, report.default_timeout_sec) == (3, 60)
    assert set(AuditEntry.objects.get().details) == {"default_timeout_sec"}


def test_saving_without_a_change_writes_and_records_nothing(admin: Admin, report: JobType) -> None:
    save(admin, report.name)

    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"default_timeout_sec": "3601"}, "less than or equal to 3600"),
        ({"default_max_attempts": "0"}, "greater than or equal to 1"),
        ({"retry_jitter": "2"}, "less than or equal to 1"),
        ({"retry_factor": "0.5"}, "greater than or equal to 1"),
        ({"key_pointer": "no pointer"}, "must be a JSON pointer"),
        ({"max_running": "1000001"}, "less than or equal to 1000000"),
        ({"rate_limit": "1", "rate_period_sec": "86401"}, "less than or equal to 86400"),
        ({"on_limit": "drop_new"}, "jobtype_has_a_limit_if_it_acts_on_it"),
        ({"handler": "builtin:no.such"}, "not one of the available choices"),
    ],
)
def test_a_fault_is_told_beside_its_field(admin: Admin, report: JobType, fault: dict[str, Any], told: str) -> None:
    page = save(admin, report.name, **fault)

    assert told in page
    assert not AuditEntry.objects.exists()


def test_limits_are_set_and_taken_away(admin: Admin, report: JobType) -> None:
    limits = {"max_running": "4", "max_running_per_key": "1", "key_pointer": "/repository", "on_limit": "drop_new"}
    save(admin, report.name, **limits, rate_limit="10", rate_per_key="on", paused="on")

    report.refresh_from_db()
    assert (report.max_running, report.max_running_per_key, report.key_pointer) == (4, 1, "/repository")
    assert (report.on_limit, report.paused) == ("drop_new", True)
    assert (report.rate_limit, report.rate_period_sec, report.rate_per_key) == (10, 60, True)

    save(admin, report.name, **limits, rate_limit="10", rate_period_sec="5", rate_per_key="on", paused="on")
    report.refresh_from_db()
    assert (report.rate_limit, report.rate_period_sec, report.rate_per_key) == (10, 5, True)

    save(admin, report.name, rate_period_sec="5", rate_per_key="on")
    report.refresh_from_db()
    assert (report.max_running, report.max_running_per_key, report.rate_limit, report.paused) == (None,) * 3 + (False,)
    assert AuditEntry.objects.count() == 3


def test_types_are_paused_and_resumed_by_an_action(admin: Admin, report: JobType) -> None:
    admin.act(TYPES, "pause", report.name)
    assert "paused" in admin.page(TYPES)
    report.refresh_from_db()
    assert report.paused

    page = admin.act(TYPES, "resume", report.name)

    assert "Resumed: job type report.generate" in page
    assert [entry.details for entry in AuditEntry.objects.order_by("id")] == [
        {"paused": [False, True]}, {"paused": [True, False]},
    ]  # fmt: skip


def test_a_new_type_is_made_through_the_verb(admin: Admin, db: None) -> None:
    admin.post(f"/admin/{TYPES}add/", {**FORM, "name": "report.weekly"})

    assert JobType.objects.get().handler == "builtin:report.generate"
    assert AuditEntry.objects.get().action == "job_type.created"


def test_a_new_type_needs_a_good_name(admin: Admin, report: JobType) -> None:
    assert "3 to 80 of" in admin.post(f"/admin/{TYPES}add/", {**FORM, "name": "a b"}).content.decode()
    assert "already exists" in admin.post(f"/admin/{TYPES}add/", {**FORM, "name": report.name}).content.decode()
    assert JobType.objects.count() == 1


def test_the_page_shows_the_handler_s_schema_and_needs(admin: Admin, make_type: MakeType) -> None:
    make_type("data.fetch", handler="builtin:data.fetch")

    page = admin.page(f"{TYPES}data.fetch/change/")

    assert "network" in page
    assert "&quot;properties&quot;" in page


def test_a_type_without_its_handler_is_shown_as_such(admin: Admin, make_type: MakeType) -> None:
    make_type("gone.away", handler="plugin:gone")

    assert "not installed" in admin.page(TYPES)
    assert "not installed" in admin.page(f"{TYPES}gone.away/change/")


def test_types_are_switched_by_an_action(admin: Admin, make_type: MakeType) -> None:
    for name in ("one.type", "two.type"):
        make_type(name)

    page = admin.act(TYPES, "disable", "one.type", "two.type")

    assert not JobType.objects.filter(enabled=True).exists()
    assert AuditEntry.objects.filter(action="job_type.updated", actor="user:root").count() == 2
    assert "Disabled: job type one.type, job type two.type" in page


def test_types_are_switched_in_the_list(admin: Admin, make_type: MakeType) -> None:
    for name in ("one.type", "two.type"):
        make_type(name)
    management = {"form-TOTAL_FORMS": "2", "form-INITIAL_FORMS": "2", "_save": "Save"}
    rows = {"form-0-name": "one.type", "form-0-enabled": "on", "form-1-name": "two.type"}

    admin.post(f"/admin/{TYPES}", {**management, **rows})

    assert list(JobType.objects.filter(enabled=True).values_list("name", flat=True)) == ["one.type"]
    assert AuditEntry.objects.get().details == {"enabled": [True, False]}


def test_types_are_never_deleted(admin: Admin, report: JobType) -> None:
    assert admin.post(f"/admin/{TYPES}{report.name}/delete/", {"post": "yes"}).status_code == 403


def test_who_may_only_view_types_changes_nothing(sign_in: SignIn, report: JobType) -> None:
    anna = sign_in("view_jobtype")

    anna.act(TYPES, "disable", report.name)

    assert anna.post(f"/admin/{TYPES}{report.name}/change/", FORM).status_code == 403
    assert JobType.objects.get().enabled
    assert "report.generate" in anna.page(TYPES)
