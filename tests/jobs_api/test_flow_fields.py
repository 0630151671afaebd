"""Flow control over HTTP: the limits of a job type, and what a request says of its job's turn."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from access.models import AuditEntry
from jobs.models import Job, JobType
from tests.apiclient import GPU_ONLY, Api

pytestmark = pytest.mark.django_db(transaction=True)

TYPE = "report.generate"
NO_LIMITS = {
    "max_running": None, "max_running_per_key": None, "key_pointer": None, "on_limit": "wait", "rate": None,
}  # fmt: skip


@pytest.fixture
def report(make_type: Callable[..., JobType]) -> JobType:
    return make_type(TYPE)


def limits(api: Api, **changes: Any) -> Any:
    return api.patch(f"/v1/job-types/{TYPE}", {"limits": changes}).json["type"]["limits"]


def paths(answer: Any) -> list[str]:
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR"), answer.text
    return [fault["path"] for fault in answer.json["error"]["details"]["errors"]]


def test_a_type_has_no_limits_until_told(api: Api, report: JobType) -> None:
    shown = api.get(f"/v1/job-types/{TYPE}").json["type"]

    assert (shown["paused"], shown["limits"]) == (False, NO_LIMITS)


def test_limits_are_set_one_at_a_time_and_taken_away(api: Api, report: JobType) -> None:
    rate = {"limit": 10, "period_sec": 60, "per_key": False}

    assert limits(api, max_running=3.0) == NO_LIMITS | {"max_running": 3}
    assert limits(api, rate={"limit": 10}) == NO_LIMITS | {"max_running": 3, "rate": rate}
    assert limits(api, max_running=None, key_pointer="/a~1b/0") == NO_LIMITS | {"key_pointer": "/a~1b/0", "rate": rate}
    assert limits(api, rate=None, key_pointer=None) == NO_LIMITS


def test_a_new_type_may_come_with_limits(api: Api) -> None:
    wanted = {
        "max_running": 9, "max_running_per_key": 1, "key_pointer": "/repository", "on_limit": "drop_new",
        "rate": {"limit": 5, "period_sec": 10, "per_key": True},
    }  # fmt: skip
    body = {"name": "report.nightly", "handler": "builtin:report.generate", "paused": True, "limits": wanted}

    shown = api.post("/v1/job-types", body).json["type"]

    assert (shown["paused"], shown["limits"]) == (True, wanted)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"paused": "false"}, "paused"),
        ({"paused": None}, "paused"),
        ({"limits": None}, "limits"),
        ({"limits": []}, "limits"),
        ({"limits": {"max_runing": 1}}, "limits.max_runing"),
        ({"limits": {"max_running": 0}}, "limits.max_running"),
        ({"limits": {"max_running": True}}, "limits.max_running"),
        ({"limits": {"max_running_per_key": 1.5}}, "limits.max_running_per_key"),
        ({"limits": {"max_running_per_key": 10**7}}, "limits.max_running_per_key"),
        ({"limits": {"key_pointer": "repository"}}, "limits.key_pointer"),
        ({"limits": {"key_pointer": "/a~2"}}, "limits.key_pointer"),
        ({"limits": {"key_pointer": "/" + "a" * 200}}, "limits.key_pointer"),
        ({"limits": {"on_limit": "explode"}}, "limits.on_limit"),
        ({"limits": {"on_limit": None}}, "limits.on_limit"),
        ({"limits": {"on_limit": "drop_new"}}, "limits.on_limit"),
        ({"limits": {"rate": 5}}, "limits.rate"),
        ({"limits": {"rate": {}}}, "limits.rate.limit"),
        ({"limits": {"rate": {"limit": 0}}}, "limits.rate.limit"),
        ({"limits": {"rate": {"limit": 1, "period_sec": 86_401}}}, "limits.rate.period_sec"),
        ({"limits": {"rate": {"limit": 1, "per_key": 1}}}, "limits.rate.per_key"),
        ({"limits": {"rate": {"limit": 1, "burst": 1}}}, "limits.rate.burst"),
    ],
)
def test_a_bad_limit_is_named_and_nothing_changes(api: Api, report: JobType, change: dict[str, Any], path: str) -> None:
    assert paths(api.patch(f"/v1/job-types/{TYPE}", change)) == [path]
    assert not AuditEntry.objects.exists()


def test_what_is_done_at_a_limit_needs_that_limit(api: Api, report: JobType) -> None:
    assert limits(api, on_limit="cancel_running", max_running_per_key=2)["on_limit"] == "cancel_running"

    refused = api.patch(f"/v1/job-types/{TYPE}", {"limits": {"max_running_per_key": None}})

    assert paths(refused) == ["limits.on_limit"]
    new = {"name": "report.nightly", "handler": "builtin:report.generate", "limits": {"on_limit": "drop_new"}}
    assert paths(api.post("/v1/job-types", new)) == ["limits.on_limit"]


def test_limits_are_recorded_by_column_and_act_at_once(api: Api, make_job: Callable[..., Job]) -> None:
    for _ in range(5):
        make_job()

    limits(api, max_running=2)

    assert AuditEntry.objects.get().details == {"max_running": [None, 2]}
    assert Job.objects.exclude(published_at=None).count() == 2
    limits(api, max_running=4)
    assert Job.objects.exclude(published_at=None).count() == 4


def post(api: Api, **fields: Any) -> Any:
    return api.post("/v1/jobs", {"type": TYPE, **fields})


def flow_of(api: Api, answer: Any) -> Any:
    assert answer.status in (200, 201), answer.text
    return api.get(f"/v1/jobs/{answer.json['job']['id']}").json["flow"]


def test_a_job_tells_what_was_said_of_its_turn(api: Api, report: JobType) -> None:
    answer = post(api, concurrency_key="tenant-1", expires_in_sec=60.0, unique={"key": "u", "window_sec": 5})

    flow = flow_of(api, answer)

    job = Job.objects.get()
    assert job.expires_at == job.available_at + timedelta(seconds=60)
    assert (flow["concurrency_key"], flow["unique_key"]) == ("tenant-1", "u")
    assert flow["expires_at"].endswith("Z")
    assert flow["in_window_since"].endswith("Z")
    assert "flow" not in answer.json["job"]


def test_a_plain_job_has_nothing_in_its_flow_but_its_moment(api: Api, report: JobType) -> None:
    flow = flow_of(api, post(api, concurrency_key=None, expires_in_sec=None, unique=None))

    assert [name for name, value in flow.items() if value is None] == ["concurrency_key", "unique_key", "expires_at"]


def test_the_key_comes_from_the_input_unless_it_is_given(api: Api, report: JobType) -> None:
    limits(api, key_pointer="/title")

    assert flow_of(api, post(api, input={"title": "x"}))["concurrency_key"] == "x"
    assert flow_of(api, post(api, input={"title": "x"}, concurrency_key="y"))["concurrency_key"] == "y"
    assert flow_of(api, post(api, input={}))["concurrency_key"] is None


BAD = [
    ({"concurrency_key": ""}, ["concurrency_key"]),
    ({"concurrency_key": 5}, ["concurrency_key"]),
    ({"concurrency_key": "k" * 201}, ["concurrency_key"]),
    ({"expires_in_sec": 0}, ["expires_in_sec"]),
    ({"expires_in_sec": True}, ["expires_in_sec"]),
    ({"expires_in_sec": 1.5}, ["expires_in_sec"]),
    ({"expires_in_sec": 2_592_001}, ["expires_in_sec"]),
    ({"unique": "u"}, ["unique"]),
    ({"unique": {}}, ["unique.key", "unique.window_sec"]),
    ({"unique": {"key": "u", "window_sec": 86_401}}, ["unique.window_sec"]),
    ({"unique": {"key": "u", "window_sec": 1, "policy": None}}, ["unique.policy"]),
    ({"unique": {"key": "u", "window_sec": 1, "policy": []}}, ["unique.policy"]),
]


@pytest.mark.parametrize(("fields", "wrong"), BAD)
def test_a_bad_field_is_named_alone_and_in_a_batch(
    api: Api, report: JobType, fields: dict[str, Any], wrong: list[str]
) -> None:
    assert paths(post(api, **fields)) == wrong

    (result,) = api.post("/v1/jobs/batch", {"jobs": [{"type": TYPE, **fields}]}).json["results"]
    assert [fault["path"] for fault in result["error"]["details"]["errors"]] == wrong
    assert not Job.objects.exists()


def test_a_batch_keeps_the_first_of_a_unique_key_and_limits_its_keys(api: Api, report: JobType) -> None:
    limits(api, max_running_per_key=1, on_limit="drop_new")
    unique = {"type": TYPE, "unique": {"key": "u", "window_sec": 60}}
    keyed = {"type": TYPE, "concurrency_key": "k"}

    results = api.post("/v1/jobs/batch", {"jobs": [unique, keyed, unique, keyed]}).json["results"]

    jobs = [result["job"] for result in results]
    assert jobs[0]["id"] == jobs[2]["id"]
    assert [job["status"] for job in jobs] == ["queued", "queued", "queued", "cancelled"]
    assert jobs[3]["error"]["code"] == "DROPPED"


def test_a_unique_job_is_answered_with_the_one_that_exists(api: Api, report: JobType) -> None:
    unique = {"key": "u", "window_sec": 60}
    first, again = post(api, unique=unique), post(api, unique=unique, input={"title": "another"})

    assert (first.status, first.json["idempotent"]) == (201, False)
    assert (again.status, again.json["idempotent"]) == (200, True)
    assert again.json["job"]["id"] == first.json["job"]["id"]


def test_a_unique_job_on_a_foreign_queue_is_not_shown(api: Api, report: JobType) -> None:
    unique = {"key": "u", "window_sec": 60}
    post(api, unique=unique)

    answer = api.post("/v1/jobs", {"type": TYPE, "queue": "gpu", "unique": unique}, key=GPU_ONLY)

    assert answer.code == "FORBIDDEN"


@pytest.mark.parametrize(
    "other",
    [{"concurrency_key": "b"}, {"concurrency_key": "a", "expires_in_sec": 60}, {}],
    ids=["key", "expiry", "none"],
)
def test_what_is_said_of_the_turn_makes_another_request_of_an_idempotency_key(
    api: Api, report: JobType, other: dict[str, Any]
) -> None:
    def send(**fields: Any) -> Any:
        return api.post("/v1/jobs", {"type": TYPE, **fields}, Idempotency_Key="k")

    assert send(concurrency_key="a").status == 201
    assert send(concurrency_key="a").json["idempotent"] is True
    assert send(**other).code == "IDEMPOTENCY_CONFLICT"
