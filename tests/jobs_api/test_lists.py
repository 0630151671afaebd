"""GET /v1/jobs: filters, pages, searches, and what a key may see."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from jobs import queries
from jobs.models import Job
from tests.apiclient import GPU_ONLY, Api

Make = Callable[..., Job]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def make_at(make_job: Make, seconds: int, **fields: Any) -> Job:
    """A job that was created so many seconds after noon."""
    job = make_job(**fields)
    Job.objects.filter(pk=job.pk).update(created_at=NOON + timedelta(seconds=seconds))
    return job


def ids(answer: Any) -> list[str]:
    assert answer.status == 200, answer.text
    return [job["id"] for job in answer.json["jobs"]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {"gpu", "cpu"}),
        ("queue=gpu", {"gpu"}),
        ("queue=undefined&status=undefined&type=undefined", {"gpu", "cpu"}),
        ("queue=&status=", {"gpu", "cpu"}),
        ("queue=GPU", set()),
        ("status=queued", {"gpu", "cpu"}),
        ("status=running", set()),
        ("status=nonsense", set()),
        ("type=report.generate", {"gpu", "cpu"}),
        ("type=deploy.run", set()),
        ("tag=nightly", {"gpu"}),
        ("tag=night", set()),
        ("tag=nightly&queue=cpu", set()),
    ],
)
def test_filters_match_exactly(api: Api, make_job: Make, query: str, found: set[str]) -> None:
    make_job(queue="gpu", tags=("nightly", "eu"))
    make_job(queue="cpu")

    answer = api.get(f"/v1/jobs?{query}")

    assert {job["queue"] for job in answer.json["jobs"]} == found
    assert answer.json["count"] == len(found)


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        ("since=2026-11-20T12:00:10Z", [20, 10]),
        ("until=2026-11-20T12:00:10Z", [0]),
        ("since=2026-11-20T12:00:05&until=2026-11-20T12:00:15", [10]),
        ("since=2026-11-20T14:00:10%2B02:00", [20, 10]),
        (f"since={NOON.timestamp() + 10:.3f}", [20, 10]),
        (f"until={NOON.timestamp() + 20:.0f}", [10, 0]),
        ("since=2026-11-21", []),
    ],
)
def test_since_is_inclusive_and_until_is_exclusive(api: Api, make_job: Make, query: str, seconds: list[int]) -> None:
    made = {second: str(make_at(make_job, second).id) for second in (0, 10, 20)}

    assert ids(api.get(f"/v1/jobs?{query}")) == [made[second] for second in seconds]


@pytest.mark.parametrize(
    "query",
    [
        "since=yesterday", "until=2026-13-01", "since=1e9", "since=9999-12-31T23:59:59-23:00", "until=999999999999",
        "cursor=xyz", "cursor=WzEsMl0", "q=" + "x" * 201, "q=a%00b", "status=%00", "tag=%00",
    ],
)  # fmt: skip
def test_a_parameter_without_meaning_is_refused_by_name(api: Api, query: str) -> None:
    answer = api.get(f"/v1/jobs?{query}")

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert answer.json["error"]["details"]["errors"][0]["path"] == query.partition("=")[0]


@pytest.mark.parametrize(
    ("limit", "rows"),
    [("2", 2), ("2abc", 2), ("0", 3), ("-5", 1), ("abc", 3), ("undefined", 3), ("99999999999999999999", 3), ("", 3)],
)
def test_limit_is_lenient_and_clamped(api: Api, make_job: Make, limit: str, rows: int) -> None:
    for _ in range(3):
        make_job()

    assert len(ids(api.get(f"/v1/jobs?limit={limit}"))) == rows


def test_pages_follow_each_other_without_gap_or_repeat_even_for_jobs_of_one_moment(api: Api, make_job: Make) -> None:
    made = {str(make_at(make_job, second).id) for second in (0, 0, 0, 1, 1)}

    first = api.get("/v1/jobs?limit=2")
    make_job()  # a newcomer must not shift the pages that follow
    second = api.get(f"/v1/jobs?limit=2&cursor={first.json['next_cursor']}")
    third = api.get(f"/v1/jobs?limit=2&cursor={second.json['next_cursor']}")

    assert len(ids(first) + ids(second) + ids(third)) == 5
    assert {*ids(first), *ids(second), *ids(third)} == made
    assert third.json["next_cursor"] is None


def test_newest_jobs_come_first(api: Api, make_job: Make) -> None:
    old, new = make_at(make_job, 0), make_at(make_job, 1)

    assert ids(api.get("/v1/jobs")) == [str(new.id), str(old.id)]


@pytest.mark.parametrize(
    ("query", "statements"),
    [("", 1), ("queue=default&status=queued&tag=a&since=0", 1), ("q=report", 2), ("limit=1", 1)],
)
def test_a_page_is_one_statement_and_a_search_two(
    api: Api, make_job: Make, django_assert_num_queries: Any, query: str, statements: int
) -> None:
    make_job()
    make_job()

    with django_assert_num_queries(statements):
        api.get(f"/v1/jobs?{query}")


@pytest.mark.parametrize("text", ["REPORT.gen", "Nightly", "grüße", "100%_sure", '"kind"', "O'Reilly"])
def test_search_finds_type_tags_and_input_whatever_the_case(api: Api, make_job: Make, text: str) -> None:
    wanted = make_job(tags=("nightly run",), input={"kind": "Grüße", "note": "100%_SURE", "by": "o'reilly"})
    make_job("deploy.run", input={"note": "100 sure"}, tags=("daily",))

    assert ids(api.get(f"/v1/jobs?q={quote(text)}")) == [str(wanted.id)]


def test_search_finds_the_beginning_of_an_id(api: Api, make_job: Make) -> None:
    wanted = make_job()

    assert ids(api.get(f"/v1/jobs?q={str(wanted.id)[:13].upper()}")) == [str(wanted.id)]
    assert ids(api.get(f"/v1/jobs?q={str(wanted.id)[1:13]}")) == []


def test_search_for_a_whole_id_finds_the_job_however_old(
    api: Api, make_job: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "SEARCHED_JOBS", 1)
    old = make_at(make_job, 0, queue="cpu")
    make_at(make_job, 1)

    assert ids(api.get(f"/v1/jobs?q={old.id}")) == [str(old.id)]
    assert ids(api.get(f"/v1/jobs?q={old.id}", key=GPU_ONLY)) == []


def test_search_that_looks_at_its_bound_says_where_to_go_on(
    api: Api, make_job: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "SEARCHED_JOBS", 2)
    needle = make_at(make_job, 0, tags=("needle",))
    for seconds in (1, 2, 3):
        make_at(make_job, seconds)

    first = api.get("/v1/jobs?q=needle")
    second = api.get(f"/v1/jobs?q=needle&cursor={first.json['next_cursor']}")

    assert ids(first) == []
    assert ids(second) == [str(needle.id)]


def test_search_pages_like_any_list(api: Api, make_job: Make) -> None:
    made = [str(make_at(make_job, second, tags=("needle",)).id) for second in (3, 2, 1)]

    first = api.get("/v1/jobs?q=needle&limit=2")
    second = api.get(f"/v1/jobs?q=needle&limit=2&cursor={first.json['next_cursor']}")

    assert ids(first) + ids(second) == made
    assert second.json["next_cursor"] is None


def test_search_leaves_large_inputs_out(api: Api, make_job: Make) -> None:
    make_job("custom.type", input={"noise": [str(uuid.uuid4()) for _ in range(2_000)], "word": "needle"})

    assert ids(api.get("/v1/jobs?q=needle")) == []


def test_a_key_with_queues_sees_those_queues_only(api: Api, make_job: Make) -> None:
    seen, _hidden = make_job(queue="gpu"), make_job(queue="cpu")

    assert ids(api.get("/v1/jobs", key=GPU_ONLY)) == [str(seen.id)]
    assert ids(api.get("/v1/jobs?q=report", key=GPU_ONLY)) == [str(seen.id)]


def test_a_queue_outside_the_allowlist_is_refused_with_the_queues_that_are_allowed(api: Api) -> None:
    answer = api.get("/v1/jobs?queue=cpu", key=GPU_ONLY)

    assert (answer.status, answer.code) == (403, "FORBIDDEN")
    assert answer.json["error"]["details"] == {"allowed_queues": ["gpu"]}


@pytest.mark.parametrize(
    ("method", "action"),
    [
        ("GET", ""), ("GET", "/logs"), ("GET", "/attempts"), ("GET", "/explain"), ("GET", "/callbacks"),
        ("POST", "/cancel"), ("POST", "/retry"),
    ],
)  # fmt: skip
def test_a_job_on_another_queue_does_not_exist_for_a_key(api: Api, make_job: Make, method: str, action: str) -> None:
    job = make_job(queue="cpu")

    hidden = api(method, f"/v1/jobs/{job.id}{action}", key=GPU_ONLY)
    missing = api(method, f"/v1/jobs/{uuid.uuid4()}{action}", key=GPU_ONLY)

    assert (hidden.status, hidden.json) == (404, missing.json)
