"""Retention over the API, in the admin and on the command line."""

from __future__ import annotations

from typing import Any

import pytest

from access.models import AuditEntry
from jobs.models import Job
from jobs.retention import run
from jobs.retention.models import RetentionPolicy
from tests.admin.conftest import Admin, admin  # noqa: F401 - a fixture
from tests.apiclient import GPU_ONLY, READER, Api
from tests.operations.conftest import Manage, manage  # noqa: F401 - a fixture
from tests.retention.conftest import End, drop_all, midnight

pytestmark = pytest.mark.django_db(transaction=True)
PATH = "/v1/retention"


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "REST_SHARE", 0.0)


def test_settings_hold_until_somebody_says_otherwise(api: Api) -> None:
    body = api.get(PATH).json

    assert body["enabled"] is True
    assert body["policy"] == {
        "type": None, "job_days": 90, "failed_days": 90, "job_count": 0, "log_days": 30,
        "said": {"job_days": None, "failed_days": None, "job_count": None, "log_days": None},
    }  # fmt: skip
    assert body["types"] == []
    assert {"kind": "callbacks", "policy": "30 days (RETENTION_CALLBACK_DAYS)"} in body["others"]
    assert body["log"]["partitions"] == 11
    assert body["last_run"] is None


def test_a_change_holds_for_all_and_a_types_own_goes_before_it(api: Api) -> None:
    assert api.patch(PATH, {"job_days": 30, "log_days": 14}).json["policy"]["job_days"] == 30
    changed = api.patch(f"{PATH}/types/report.generate", {"job_days": 3}).json["policy"]

    assert (changed["job_days"], changed["failed_days"], changed["log_days"]) == (3, 3, 14)
    assert changed["said"]["log_days"] is None
    assert [it["type"] for it in api.get(PATH).json["types"]] == ["report.generate"]
    assert api.get(f"{PATH}/types/other.type").json["policy"]["job_days"] == 30

    back = api.patch(f"{PATH}/types/report.generate", {"job_days": None}).json["policy"]
    assert back["job_days"] == 30
    assert api("DELETE", f"{PATH}/types/report.generate").json["policy"]["job_days"] == 30
    assert api("DELETE", f"{PATH}/types/report.generate").code == "NOT_FOUND"
    assert AuditEntry.objects.filter(object_type="retention").count() == 4


@pytest.mark.parametrize(
    "body",
    [{}, {"job_days": -1}, {"job_days": 36_501}, {"log_days": "7"}, {"days": 3}, [], {"job_count": 1.5}],
    ids=str,
)
def test_what_makes_no_sense_is_refused(api: Api, body: Any) -> None:
    answer = api.patch(PATH, body)

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert not RetentionPolicy.objects.exists()


def test_a_name_that_no_type_can_have_is_not_found(api: Api) -> None:
    for name in ("x", "no spaces"):
        assert api.patch(f"{PATH}/types/{name}", {"job_days": 1}).status == 404
        assert api.get(f"{PATH}/types/{name}").status == 404


def test_readers_look_and_keys_with_an_allowlist_do_not(api: Api) -> None:
    assert api.get(PATH, key=READER).status == 200
    assert api.patch(PATH, {"job_days": 1}, key=READER).status == 403
    assert api.get(PATH, key=GPU_ONLY).status == 403
    assert api.get(f"{PATH}/preview", key=GPU_ONLY).status == 403


def test_a_preview_deletes_nothing(api: Api, ended: End) -> None:
    ended(200, partitioned=False)

    body = api.get(f"{PATH}/preview").json

    (jobs,) = [it for it in body["found"] if it["kind"] == "jobs"]
    assert (jobs["type"], jobs["count"], jobs["more"], jobs["policy"]) == ("report.generate", 1, False, "90 days")
    assert jobs["oldest"].startswith(f"{midnight(-200):%Y-%m-%d}T12:00")
    assert body["count"] == len(body["found"])
    assert Job.objects.count() == 1


def test_the_last_run_is_told(api: Api, ended: End) -> None:
    ended(200, partitioned=False)
    run.run()

    last = api.get(PATH).json["last_run"]

    assert last["removed"]["jobs"] == 1
    assert last["more"] is False
    assert last["ended_at"] >= last["started_at"]


# The command


def test_the_command_tells_what_would_go_and_deletes_it(manage: Manage, ended: End) -> None:  # noqa: F811
    ended(200, partitioned=False)

    text = manage("retention", "--dry-run").out
    facts = manage("retention", "--dry-run", "--json").json
    (line,) = [line for line in text.splitlines() if line.startswith("jobs")]
    assert line.split()[:5] == ["jobs", "report.generate", "90", "days", "1"]
    assert {it["kind"]: it["count"] for it in facts["found"]}["jobs"] == 1
    assert Job.objects.count() == 1

    done = manage("retention", "--json").json
    assert done["removed"]["jobs"] == 1
    assert not Job.objects.exists()
    assert manage("retention").out.strip() == "Deleted nothing."


# The admin


def test_the_admin_shows_what_holds_and_changes_go_into_the_audit_log(admin: Admin) -> None:  # noqa: F811
    page = admin.page("jobs/retentionpolicy/")
    assert "all types" in page
    assert "90 days" in page

    form = {"type": "report.generate", "job_days": "3", "failed_days": "", "job_count": "", "log_days": ""}
    assert admin.post("/admin/jobs/retentionpolicy/add/", form).status_code == 302
    assert RetentionPolicy.objects.get(pk="report.generate").job_days == 3
    assert AuditEntry.objects.get(object_id="report.generate").details == {"job_days": [None, 3]}

    refused = admin.post("/admin/jobs/retentionpolicy/add/", form | {"type": "x", "job_days": "99999999"})
    assert refused.status_code == 200
    assert not RetentionPolicy.objects.filter(pk="x").exists()

    assert admin.post("/admin/jobs/retentionpolicy/*/change/", form | {"job_days": "8"}).status_code == 302
    assert "8 days" in admin.page("jobs/retentionpolicy/")
    assert admin.post("/admin/jobs/retentionpolicy/report.generate/delete/", {"post": "yes"}).status_code == 302
    assert AuditEntry.objects.latest("id").action == "retention.deleted"


# Doctor


def found(manage: Manage) -> dict[str, str]:  # noqa: F811
    answer = manage("doctor", "--json").json
    return {it["check"]: it["level"] for it in answer["findings"] if it["check"].startswith("retention")}


def test_doctor_tells_of_runs_that_do_not_come_and_partitions_that_are_not_there(manage: Manage) -> None:  # noqa: F811
    assert found(manage) == {"retention": "warn"}

    run.run()
    assert found(manage) == {"retention": "ok"}

    drop_all()
    assert found(manage) == {"retention.log": "warn", "retention": "ok"}
