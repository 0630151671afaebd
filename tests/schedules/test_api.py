"""What the API has beyond the contract: preview, run, pause, resume, history, policies; and its document."""

from __future__ import annotations

import html
import io
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from access.models import AuditEntry
from jobs import job_types
from jobs.models import Job
from schedules import requests
from schedules.api.urls import urlpatterns
from schedules.api.views import CHANGE, NEW_SCHEDULE, PREVIEW
from schedules.dispatch import tick
from schedules.models import Schedule
from tests.apiclient import GPU_ONLY, READER, Api
from tests.schedules.conftest import Make, end, jobs_of, let_pass

pytestmark = pytest.mark.django_db(transaction=True)


# Preview


def test_a_preview_tells_fifty_due_times_and_where_clocks_change(api: Api) -> None:
    answer = api.post(
        "/v1/schedules/preview",
        {"cron": "0 12 1 * *", "starts_at": "2030-01-01T00:00:00Z", "policy": {"time_zone": "Europe/Helsinki"}},
    ).json

    assert (answer["count"], answer["time_zone"]) == (50, "Europe/Helsinki")
    assert answer["due"][2:4] == [
        {"due_at": "2030-03-01T10:00:00.000Z", "local": "2030-03-01T12:00:00+02:00", "zone_change_sec": None},
        {"due_at": "2030-04-01T09:00:00.000Z", "local": "2030-04-01T12:00:00+03:00", "zone_change_sec": 3600},
    ]
    changes = [it["zone_change_sec"] for it in answer["due"][:12]]
    assert [change for change in changes if change] == [3600, -3600]
    assert not Schedule.objects.exists()


def test_a_preview_is_what_a_schedule_then_does(api: Api, make_schedule: Make) -> None:
    fields: dict[str, Any] = {"interval_sec": 600, "starts_at": "2030-01-01T00:00:00Z"}
    due = api.post("/v1/schedules/preview", fields).json["due"]

    schedule = make_schedule(**fields)

    assert [it["due_at"] for it in due[:2]] == ["2030-01-01T00:00:00.000Z", "2030-01-01T00:10:00.000Z"]
    assert schedule.next_run_at == datetime(2030, 1, 1, tzinfo=UTC)


def test_a_preview_ends_where_the_schedule_would(api: Api) -> None:
    in_two_hours = (datetime.now(UTC) + timedelta(hours=2)).isoformat()

    assert (
        api.post("/v1/schedules/preview", {"cron": "0 * * * *", "policy": {"ends_at": in_two_hours}}).json["count"] == 2
    )


def test_readers_may_preview_and_bad_ones_are_told_why(api: Api) -> None:
    assert api.post("/v1/schedules/preview", PREVIEW, key=READER).status == 200
    for body, path in (
        ({"cron": "61 * * * *"}, "cron"), ({}, "interval_sec"), ({"interval_sec": 0}, "interval_sec"),
        ({"cron": "@daily", "policy": {"time_zone": "Nowhere"}}, "policy.time_zone"),
        ({"cron": "@daily", "starts_at": "2001-01-01"}, "starts_at"),
    ):  # fmt: skip
        answer = api.post("/v1/schedules/preview", body)
        assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
        assert answer.json["error"]["details"]["errors"][0]["path"] == path


# Run, pause, resume


def test_run_makes_a_job_now_of_whatever_schedule_and_leaves_its_next_time(api: Api, make_schedule: Make) -> None:
    schedule = make_schedule(start_in_sec=600, enabled=False, policy={"overlap": "skip", "max_runs": 1})

    answers = [api.post(f"/v1/schedules/{schedule.id}/run") for _ in range(2)]

    assert [answer.status for answer in answers] == [201, 201]
    before = schedule.next_run_at
    schedule.refresh_from_db()
    assert (schedule.next_run_at, str(schedule.last_job_id)) == (before, answers[1].json["job"]["id"])
    assert [job.created_by for job in jobs_of(schedule)] == ["key:ci", "key:ci"]
    assert set(schedule.runs.values_list("trigger", "result")) == {("manual", "made")}
    assert schedule.runs_made == 0


def test_run_of_a_faulty_schedule_is_refused(api: Api, make_schedule: Make) -> None:
    schedule = make_schedule()
    Schedule.objects.update(type="no.such")

    answer = api.post(f"/v1/schedules/{schedule.id}/run")

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert not Job.objects.exists()


def test_pause_and_resume(api: Api, make_schedule: Make) -> None:
    schedule = make_schedule()

    assert api.post(f"/v1/schedules/{schedule.id}/pause").json["schedule"]["enabled"] is False
    assert tick().jobs == 0
    assert api.post(f"/v1/schedules/{schedule.id}/resume").json["schedule"]["enabled"] is True
    assert tick().jobs == 1


@pytest.mark.parametrize("verb", ["run", "pause", "resume"])
def test_the_verbs_are_for_admins_of_the_queue(api: Api, make_schedule: Make, verb: str) -> None:
    path = f"/v1/schedules/{make_schedule().id}/{verb}"

    assert api.post(path, key=READER).status == 403
    assert api.post(path, key=GPU_ONLY).status == 404


def test_a_key_of_some_queues_makes_no_schedule_that_reaches_all(api: Api) -> None:
    job_types.seed()
    body = {"type": "system.jobs.bulk", "queue": "gpu", "interval_sec": 60}

    answer = api.post("/v1/schedules", body, key=GPU_ONLY)
    ours = api.post("/v1/schedules", body).json["schedule"]["id"]
    change = api.patch(f"/v1/schedules/{ours}", {"input": {"action": "cancel"}}, key=GPU_ONLY)

    for refused in (answer, change):
        assert (refused.status, refused.code) == (403, "FORBIDDEN")


# History


def test_the_history_tells_what_became_of_each_due_time_a_page_at_a_time(api: Api, make_schedule: Make) -> None:
    schedule = make_schedule(policy={"overlap": "skip"})
    tick()
    let_pass(61)
    tick()
    end(jobs_of(schedule)[0], "failed")
    Schedule.objects.update(type="no.such")
    let_pass(61)
    tick()

    path = f"/v1/schedules/{schedule.id}/runs"
    first = api.get(f"{path}?limit=2", key=READER).json
    rest = api.get(f"{path}?limit=2&cursor={first['next_cursor']}").json

    runs = first["runs"] + rest["runs"]
    assert (first["count"], rest["count"], rest["next_cursor"]) == (2, 1, None)
    assert [run["result"] for run in runs] == ["failed", "overlapped", "made"]
    assert [run["job_status"] for run in runs] == [None, None, "failed"]
    assert runs[0]["error"]["code"] == "SCHEDULE_TYPE_UNAVAILABLE"
    assert runs[2]["job_id"] == str(jobs_of(schedule)[0].id)
    assert api.get(path, key=GPU_ONLY).status == 404
    assert api.get(f"{path}?cursor=x").status == 400


def test_the_list_goes_on_page_by_page(api: Api, make_schedule: Make) -> None:
    made = [str(make_schedule().id) for _ in range(5)][::-1]

    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = api.get(f"/v1/schedules?limit=2&cursor={cursor}").json
        found += [it["id"] for it in page["schedules"]]
        assert len(page["policies"]) == page["count"]
        cursor = page["next_cursor"]

    assert found == made


# Policies and flow


def test_policy_and_flow_are_shown_and_changed_beside_the_schedule(api: Api, make_schedule: Make) -> None:
    schedule = make_schedule(concurrency_key="a", expires_in_sec=60, policy={"jitter_sec": 5, "overlap": "skip"})
    path = f"/v1/schedules/{schedule.id}"

    changed = api.patch(path, {"concurrency_key": None, "policy": {"overlap": "allow", "missed": "catch_up"}}).json

    assert changed["flow"] == {"callback_url": None, "concurrency_key": None, "expires_in_sec": 60, "unique": None}
    wanted = {"jitter_sec": 5, "overlap": "allow", "missed": "catch_up", "time_zone": "UTC", "stopped": None}
    assert wanted.items() <= changed["policy"].items()
    assert api.get(path).json == changed


def test_changing_the_zone_of_a_cron_schedule_moves_its_next_run(api: Api, make_schedule: Make) -> None:
    schedule = make_schedule(cron="0 12 * * *")

    moved = api.patch(f"/v1/schedules/{schedule.id}", {"policy": {"time_zone": "Asia/Kolkata"}}).json["schedule"]

    assert moved["next_run_at"][11:16] == "06:30"


def test_changes_are_audited_without_the_input(api: Api, make_schedule: Make) -> None:
    schedule = make_schedule(name="n", input={"token": "hunter2"})
    path = f"/v1/schedules/{schedule.id}"
    api.patch(path, {"name": "m", "input": {"token": "hunter3"}})
    api.patch(path, {"name": "m"})
    api.post(f"{path}/pause")
    api.post(f"{path}/run")
    api("DELETE", path)

    entries = AuditEntry.objects.filter(object_type="schedule", object_id=str(schedule.id)).order_by("id")
    assert [entry.action for entry in entries] == [
        "schedule.created", "schedule.updated", "schedule.updated", "schedule.run", "schedule.deleted",
    ]  # fmt: skip
    assert {entry.actor for entry in entries} == {"key:ci"}
    assert entries[1].details == {"name": ["n", "m"], "input": "changed"}
    assert "hunter" not in json.dumps([entry.details for entry in entries])


# Whatever is sent

ODD_TEXTS = (
    "9999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00+14:00", "2027-02-30", "* * * * *", "0 0 29 2 1#5", "@daily",
    "UTC", "../etc/passwd", "Europe/Helsinki", "\x7f",
)  # fmt: skip
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 100_000), st.just(10**30), st.floats(allow_nan=False),
    st.text(max_size=8),
    st.sampled_from(ODD_TEXTS),
    st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip
FIELDS = [*requests.ScheduleChange.model_fields, *requests.FLOW_FIELDS]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sent=st.dictionaries(st.sampled_from(FIELDS), ODD, max_size=4),
    policy=st.dictionaries(st.sampled_from([*requests.Policy.model_fields]), ODD, max_size=3),
)
def test_nothing_that_is_sent_is_too_much(
    api: Api, make_schedule: Make, sent: dict[str, Any], policy: dict[str, Any]
) -> None:
    schedule = Schedule.objects.first() or make_schedule()
    body = {"type": "report.generate", "interval_sec": 60, **sent} | ({"policy": policy} if policy else {})
    if "cron" in sent:
        del body["interval_sec"]

    answers = [
        api.post("/v1/schedules", body), api.post("/v1/schedules/preview", body),
        api.patch(f"/v1/schedules/{schedule.id}", {**sent, "policy": policy}),
    ]  # fmt: skip

    assert {answer.status for answer in answers} <= {200, 201, 400, 409}
    tick()


# For people and tools


@pytest.fixture(scope="module")
def document() -> Any:
    out = io.StringIO()
    call_command("spectacular", format="openapi-json", validate=True, fail_on_warn=True, stdout=out)
    return json.loads(out.getvalue())


def test_the_openapi_document_has_every_route_and_every_key(api: Api, document: Any, make_schedule: Make) -> None:
    schedule = make_schedule()
    tick()

    routes = {f"/v1/{it.pattern}".replace("<str:", "{").replace(">", "}") for it in urlpatterns}
    assert not routes - document["paths"].keys()
    shown = api.get(f"/v1/schedules/{schedule.id}").json
    run = api.get(f"/v1/schedules/{schedule.id}/runs").json["runs"][0]
    schemas = document["components"]["schemas"]
    for component, found in (
        ("Schedule", shown["schedule"]), ("Policy", shown["policy"]), ("Flow", shown["flow"]), ("Run", run),
    ):  # fmt: skip
        assert sorted(found) == sorted(schemas[component]["properties"])


@pytest.mark.parametrize(
    ("method", "path", "example"),
    [("POST", "", NEW_SCHEDULE), ("POST", "/preview", PREVIEW), ("PATCH", "/{id}", CHANGE)],
)
def test_a_form_starts_with_an_example_that_works(
    api: Api, make_schedule: Make, method: str, path: str, example: dict[str, Any]
) -> None:
    path = f"/v1/schedules{path}".format(id=make_schedule().id)

    page = api.get(path, accept="text/html").text

    texts = re.findall(r"<textarea[^>]*>(.*?)</textarea>", page, re.DOTALL)
    assert path.endswith("/preview") or [json.loads(html.unescape(text)) for text in texts] == [example]
    assert api(method, path, example).status in {200, 201}
