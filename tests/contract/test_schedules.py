"""Schedules over HTTP as the v1 contract has them (section 9), and nothing beyond it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs import job_types
from jobs.models import Job, JobLog
from schedules.dispatch import tick
from schedules.models import Schedule
from tests.apiclient import GPU_ONLY, READER, Answer, Api

pytestmark = pytest.mark.django_db(transaction=True)

KEYS = [
    "id", "name", "enabled", "type", "queue", "input", "priority", "timeout_sec", "max_attempts", "tags",
    "interval_sec", "cron", "next_run_at", "last_run_at", "last_job_id", "last_error", "created_at", "updated_at",
]  # fmt: skip
REPORT = {"type": "report.generate"}


@pytest.fixture(autouse=True)
def _types(db: None) -> None:
    job_types.seed()


def created(api: Api, **fields: Any) -> dict[str, Any]:
    answer = api.post("/v1/schedules", {**REPORT, **fields})
    assert answer.status == 201, answer.text
    return dict(answer.json["schedule"])


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def row(schedule: dict[str, Any]) -> Schedule:
    return Schedule.objects.get(pk=schedule["id"])


def path_of(answer: Answer) -> str:
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR"), answer.text
    return str(answer.json["error"]["details"]["errors"][0]["path"])


def set_due(schedule: dict[str, Any], seconds_ago: float = 1) -> None:
    due = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    Schedule.objects.filter(pk=schedule["id"]).update(next_run_at=due, due_at=due)


# The object and its defaults


def test_a_schedule_has_exactly_the_contracts_keys_in_its_order(api: Api) -> None:
    made = created(api, interval_sec=60)

    assert list(made) == KEYS
    assert uuid.UUID(made["id"]).version == 4
    same: dict[str, Any] = {
        "name": None,
        "enabled": True,
        "type": "report.generate",
        "queue": "default",
        "input": None,
        "tags": [],
    }
    assert {key: made[key] for key in same} == same
    assert (made["priority"], made["timeout_sec"], made["max_attempts"]) == (5, 120, 1)
    assert (made["interval_sec"], made["cron"]) == (60, None)
    assert (made["last_run_at"], made["last_job_id"], made["last_error"]) == (None, None, None)
    assert all(len(made[key]) == 24 and made[key].endswith("Z") for key in ("next_run_at", "created_at", "updated_at"))


def test_every_field_is_kept(api: Api) -> None:
    fields = {
        "name": "nightly", "enabled": 0, "queue": "gpu", "input": ["any", {"json": None}], "priority": 9,
        "timeout_sec": 30, "max_attempts": 4, "tags": [f"t{n}" for n in range(25)], "cron": "30 3 * * MON-FRI",
    }  # fmt: skip

    made = created(api, **fields)

    expected = {**fields, "enabled": False, "tags": [f"t{n}" for n in range(20)]}
    assert {key: made[key] for key in fields} == expected
    assert api.get(f"/v1/schedules/{made['id']}").json["schedule"] == made


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"interval_sec": 60, "type": None}, "type"),
        ({"interval_sec": 60, "type": "a/b"}, "type"),
        ({"interval_sec": 60, "type": "no.such"}, "type"),
        ({"interval_sec": 60, "type": "tool.exec"}, "type"),  # disabled
        ({"interval_sec": 60, "queue": "no queue"}, "queue"),
        ({"interval_sec": 60, "name": "n" * 121}, "name"),
        ({}, "interval_sec"),
        ({"interval_sec": 60, "cron": "@daily"}, "interval_sec"),
        ({"interval_sec": 60, "cron": None}, "interval_sec"),
        ({"interval_sec": None}, "interval_sec"),
        ({"interval_sec": 0}, "interval_sec"),
        ({"interval_sec": 4}, "interval_sec"),
        ({"interval_sec": 86_401}, "interval_sec"),
        ({"interval_sec": "60"}, "interval_sec"),
        ({"interval_sec": 60.5}, "interval_sec"),
        ({"interval_sec": True}, "interval_sec"),
        ({"cron": ""}, "cron"),
        ({"cron": "61 * * * *"}, "cron"),
        ({"cron": "0 0 0 * * * *"}, "cron"),
        ({"cron": "0 0 30 2 *"}, "cron"),
        ({"cron": "@sometimes"}, "cron"),
        ({"cron": 5}, "cron"),
        ({"interval_sec": 60, "start_in_sec": -1}, "start_in_sec"),
        ({"interval_sec": 60, "start_in_sec": 86_401}, "start_in_sec"),
        ({"interval_sec": 60, "priority": 11}, "priority"),
        ({"interval_sec": 60, "priority": "5"}, "priority"),
        ({"interval_sec": 60, "timeout_sec": 0}, "timeout_sec"),
        ({"interval_sec": 60, "timeout_sec": 3601}, "timeout_sec"),
        ({"interval_sec": 60, "max_attempts": 11}, "max_attempts"),
    ],
)
def test_what_is_out_of_bounds_is_refused_by_the_name_of_its_field(api: Api, fields: dict[str, Any], path: str) -> None:
    answer = api.post("/v1/schedules", {**REPORT, **fields})

    assert path_of(answer) == path
    assert not Schedule.objects.exists()


@pytest.mark.parametrize("cron", ["61 * * * *", "* * * * * * *", "nonsense"])
def test_a_bad_cron_expression_is_told_what_would_do(api: Api, cron: str) -> None:
    assert "30 3 * * 1-5" in api.post("/v1/schedules", {**REPORT, "cron": cron}).json["error"]["message"]


@pytest.mark.parametrize(("given", "kept"), [(True, True), (1, True), ("0", True), (0, False), ("", False)])
def test_enabled_goes_by_truthiness(api: Api, given: Any, kept: bool) -> None:
    assert created(api, interval_sec=60, enabled=given)["enabled"] is kept


def test_the_input_is_not_checked_by_the_handler(api: Api) -> None:
    assert created(api, interval_sec=60, input={"metrics": "no object"})["input"] == {"metrics": "no object"}


# When it first runs


def test_an_interval_begins_after_its_start_delay(api: Api) -> None:
    at_once, later = created(api, interval_sec=60), created(api, interval_sec=60, start_in_sec=600)

    for schedule, delay_sec in ((at_once, 0), (later, 600)):
        first = at(schedule["next_run_at"]) - at(schedule["created_at"])
        assert abs(first.total_seconds() - delay_sec) < 5


def test_cron_begins_with_the_first_time_after_its_start_delay(api: Api) -> None:
    made = created(api, cron="0 * * * *", start_in_sec=7200)

    after = at(made["created_at"]) + timedelta(hours=2)
    expected = after.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    assert abs(at(made["next_run_at"]) - expected) <= timedelta(hours=1)
    assert at(made["next_run_at"]) > after - timedelta(seconds=5)
    assert at(made["next_run_at"]).minute == 0


# Reading


def test_the_list_is_newest_first_and_can_be_narrowed(api: Api) -> None:
    first, off, gpu = (
        created(api, interval_sec=60), created(api, interval_sec=60, enabled=False),
        created(api, cron="@daily", queue="gpu", type="workflow.run"),
    )  # fmt: skip

    def ids(query: str) -> list[str]:
        answer = api.get(f"/v1/schedules{query}").json
        assert answer["ok"] is True
        assert answer["count"] == len(answer["schedules"])
        return [schedule["id"] for schedule in answer["schedules"]]

    every = [gpu["id"], off["id"], first["id"]]
    assert ids("") == ids("?enabled=&type=&queue=") == ids("?enabled=undefined&type=undefined&queue=undefined") == every
    assert ids("?enabled=1") == ids("?enabled=true") == [gpu["id"], first["id"]]
    assert ids("?enabled=0") == ids("?enabled=false") == [off["id"]]
    assert ids("?type=workflow.run") == ids("?queue=gpu") == [gpu["id"]]
    assert ids("?limit=2") == every[:2]
    assert ids("?limit=abc") == every


@pytest.mark.parametrize("query", ["enabled=yes", "enabled=2", "queue=a%20b", "type=a%20b", "type=x"])
def test_a_filter_that_can_match_nothing_is_refused(api: Api, query: str) -> None:
    assert path_of(api.get(f"/v1/schedules?{query}")) == query.split("=", maxsplit=1)[0]


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
@pytest.mark.parametrize("schedule_id", ["8f14e45f-ceea-4e7a-9f2d-0f3a5c6b7d8e", "no-id"])
def test_an_unknown_schedule_is_404(api: Api, method: str, schedule_id: str) -> None:
    answer = api(method, f"/v1/schedules/{schedule_id}", {"name": "x"} if method == "PATCH" else None)

    assert (answer.status, answer.code) == (404, "NOT_FOUND")


# Changing


def test_any_subset_can_be_changed(api: Api) -> None:
    made = created(api, interval_sec=60, name="a")
    change = {"name": None, "enabled": False, "queue": "gpu", "input": {"a": 1}, "priority": 1, "tags": ["x"]}

    changed = api.patch(f"/v1/schedules/{made['id']}", change).json["schedule"]

    moved = {"updated_at": changed["updated_at"]}
    assert changed == {**made, **change, **moved}
    assert at(changed["updated_at"]) > at(made["updated_at"])


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"interval_sec": None}, "interval_sec"), ({"priority": None}, "priority"),
        ({"timeout_sec": None}, "timeout_sec"), ({"max_attempts": None}, "max_attempts"),
        ({"start_in_sec": None}, "start_in_sec"), ({"cron": None}, "cron"), ({"tags": "x"}, "tags"),
        ({"tags": None}, "tags"), ({"interval_sec": 60, "cron": "@daily"}, "interval_sec"), ({"cron": "x"}, "cron"),
        ({"type": "no.such"}, "type"), ({"type": "tool.exec"}, "type"), ({"interval_sec": 1}, "interval_sec"),
    ],
)  # fmt: skip
def test_a_change_out_of_bounds_is_refused(api: Api, change: dict[str, Any], path: str) -> None:
    made = created(api, interval_sec=60)

    assert path_of(api.patch(f"/v1/schedules/{made['id']}", change)) == path
    assert api.get(f"/v1/schedules/{made['id']}").json["schedule"] == made


@pytest.mark.parametrize("change", [{}, {"unknown": 1}, None])
def test_nothing_to_change_is_refused(api: Api, change: Any) -> None:
    made = created(api, interval_sec=60)

    answer = api.patch(f"/v1/schedules/{made['id']}", change)

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")


def test_the_next_run_moves_as_the_change_says(api: Api) -> None:
    made = created(api, cron="0 0 1 1 *")
    path = f"/v1/schedules/{made['id']}"

    def moved(**change: Any) -> tuple[dict[str, Any], float]:
        changed = api.patch(path, change).json["schedule"]
        return changed, (at(changed["next_run_at"]) - datetime.now(UTC)).total_seconds()

    to_interval, in_sec = moved(interval_sec=3600)
    assert (to_interval["cron"], to_interval["interval_sec"]) == (None, 3600)
    assert -10 < in_sec <= 0
    delayed, in_sec = moved(start_in_sec=500)
    assert 490 < in_sec <= 500
    other, _ = moved(interval_sec=60)
    assert other["next_run_at"] == delayed["next_run_at"]
    to_cron, in_sec = moved(cron="0 0 1 1 *")
    assert (to_cron["interval_sec"], to_cron["next_run_at"]) == (None, made["next_run_at"])
    _, in_sec = moved(run_now=True)
    assert -10 < in_sec <= 0


def test_run_now_makes_a_job_only_where_enabled(api: Api) -> None:
    on, off = created(api, cron="0 0 1 1 *"), created(api, cron="0 0 1 1 *", enabled=False)
    for made in (on, off):
        assert api.patch(f"/v1/schedules/{made['id']}", {"run_now": True}).status == 200

    tick()

    assert row(on).last_job_id is not None
    assert row(off).last_job_id is None


def test_deleting_a_schedule_keeps_its_jobs(api: Api) -> None:
    made = created(api, interval_sec=60)
    tick()

    answer = api("DELETE", f"/v1/schedules/{made['id']}")

    assert (answer.status, answer.json) == (200, {"ok": True, "id": made["id"], "deleted": True})
    assert api.get(f"/v1/schedules/{made['id']}").status == 404
    assert Job.objects.filter(type="report.generate").count() == 1


# Who may


def test_a_reader_reads(api: Api) -> None:
    made = created(api, interval_sec=60)
    path = f"/v1/schedules/{made['id']}"

    assert api.get("/v1/schedules", key=READER).status == api.get(path, key=READER).status == 200
    for answer in (
        api.post("/v1/schedules", {}, key=READER), api.patch(path, {}, key=READER), api("DELETE", path, key=READER),
    ):  # fmt: skip
        assert (answer.status, answer.code) == (403, "FORBIDDEN")


def test_a_key_of_some_queues_sees_and_makes_schedules_on_those_only(api: Api) -> None:
    ours, theirs = created(api, interval_sec=60, queue="gpu"), created(api, interval_sec=60)

    def refused(answer: Answer) -> bool:
        error = answer.json["error"]
        return (answer.status, error["code"], error["details"]) == (403, "FORBIDDEN", {"allowed_queues": ["gpu"]})

    assert refused(api.post("/v1/schedules", {**REPORT, "interval_sec": 60}, key=GPU_ONLY))
    assert refused(api.patch(f"/v1/schedules/{ours['id']}", {"queue": "default"}, key=GPU_ONLY))
    assert refused(api.get("/v1/schedules?queue=default", key=GPU_ONLY))
    assert [it["id"] for it in api.get("/v1/schedules", key=GPU_ONLY).json["schedules"]] == [ours["id"]]
    for method in ("GET", "PATCH", "DELETE"):
        body = {"name": "mine"} if method == "PATCH" else None
        assert api(method, f"/v1/schedules/{theirs['id']}", body, key=GPU_ONLY).status == 404
    assert api("DELETE", f"/v1/schedules/{ours['id']}", key=GPU_ONLY).status == 200


# Dispatch


def test_a_due_schedule_makes_a_job_of_its_fields(api: Api) -> None:
    fields = {
        "queue": "gpu",
        "priority": 8,
        "timeout_sec": 30,
        "max_attempts": 3,
        "tags": ["n"],
        "input": {"title": "T"},
    }
    made = created(api, name="nightly", interval_sec=60, **fields)

    tick()

    schedule, job = row(made), Job.objects.get()
    assert {name: getattr(job, name) for name in fields} == fields
    assert (job.type, job.callback_url, schedule.last_job_id) == ("report.generate", None, job.id)
    line = JobLog.objects.get(job=job)
    shown = api.get(f"/v1/schedules/{made['id']}").json["schedule"]
    assert (line.message, line.level, line.meta) == (
        "Job scheduled", "info",
        {
            "schedule_id": made["id"], "schedule_name": "nightly", "schedule_next_run_at": shown["next_run_at"],
            "type": "report.generate",
        },
    )  # fmt: skip


def test_missed_runs_are_one_and_the_next_is_counted_from_the_claim(api: Api) -> None:
    interval, cron = created(api, interval_sec=60), created(api, cron="*/5 * * * * *")
    for schedule in (interval, cron):
        set_due(schedule, seconds_ago=3600)

    tick()

    assert Job.objects.count() == 2
    for found, least, most in ((row(interval), 60, 60), (row(cron), 0, 5)):
        assert found.last_run_at is not None
        assert least <= (found.next_run_at - found.last_run_at).total_seconds() <= most


def test_schedules_overlap_by_default(api: Api) -> None:
    made = created(api, interval_sec=60)

    for _ in range(3):
        set_due(made)
        tick()

    assert Job.objects.filter(status="queued").count() == 3


@pytest.mark.parametrize(
    ("spoil", "code", "ran"),
    [
        ({"type": "no.such"}, "SCHEDULE_TYPE_UNAVAILABLE", True),
        ({"type": "tool.exec"}, "SCHEDULE_TYPE_UNAVAILABLE", True),
        ({"cron": "nonsense", "interval_sec": None}, "SCHEDULE_CRON_INVALID", False),
        ({"time_zone": "Mars/Olympus", "cron": "@daily", "interval_sec": None}, "SCHEDULE_CRON_INVALID", False),
        ({"input": {"depends_on": "no list"}}, "SCHEDULE_DISPATCH_ERROR", True),
        ({"type": "system.jobs.bulk", "input": {}}, "SCHEDULE_DISPATCH_ERROR", True),
    ],
)
def test_a_schedule_at_fault_says_so_and_is_tried_again_in_a_minute(
    api: Api, spoil: dict[str, Any], code: str, ran: bool
) -> None:
    faulty, sound = created(api, interval_sec=60), created(api, interval_sec=60)
    Schedule.objects.filter(pk=faulty["id"]).update(**spoil)

    tick()

    found = row(faulty)
    assert found.last_error is not None
    assert (found.last_error["code"], list(found.last_error)) == (code, ["at", "code", "message"])
    assert 55 < (found.next_run_at - datetime.now(UTC)).total_seconds() <= 60
    assert (found.last_run_at is not None, found.last_job_id) == (ran, None)
    assert row(sound).last_job_id is not None
    Schedule.objects.filter(pk=faulty["id"]).update(type="report.generate", interval_sec=60, cron=None, input={})
    Schedule.objects.filter(pk=faulty["id"]).update(next_run_at=datetime.now(UTC) - timedelta(seconds=1))
    tick()
    assert (row(faulty).last_error, row(faulty).last_job_id is not None) == (None, True)


def test_the_switch_stops_all_schedules(api: Api, configure: Any) -> None:
    made = created(api, interval_sec=60)
    configure(SCHEDULER_ENABLED="0")

    tick()

    assert row(made).last_job_id is None


def test_the_zone_of_the_configuration_is_that_of_cron(api: Api, configure: Any) -> None:
    configure(SCHEDULER_CRON_TZ="Asia/Kolkata")

    made = created(api, cron="0 9 * * *")

    assert (at(made["next_run_at"]).hour, at(made["next_run_at"]).minute) == (3, 30)
