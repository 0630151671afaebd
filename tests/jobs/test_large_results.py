"""A result over the bound is kept apart: whole where it is asked for, a note of it in lists and streams."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from jobs import groups, lifecycle, results
from jobs.live.rows import Position, Rows
from jobs.models import CallbackDelivery, Job, JobGroup, LargeResult
from jobs.representation import job_json
from jobs.transitions import Claim
from rauskuclaw.config import Config
from tests.apiclient import ADMIN, GPU_ONLY, Api

pytestmark = pytest.mark.django_db(transaction=True)
Make = Callable[..., Claim]
LARGE = {"text": "ä" * 600, "n": [1, 2, 3]}
SMALL = {"text": "a"}


@pytest.fixture(autouse=True)
def small_bound(configure: Callable[..., Config]) -> None:
    configure(RESULT_INLINE_MAX_BYTES=1024)


@pytest.fixture
def api(db: None, monkeypatch: pytest.MonkeyPatch, configure: Callable[..., Config]) -> Api:
    from tests.apiclient import KEYS

    configure(API_KEYS_JSON=KEYS, RESULT_INLINE_MAX_BYTES=1024)
    return Api()


def succeed(held: Claim, result: Any) -> Job:
    assert lifecycle.succeed(held.id, held.fence, result=result)
    return Job.objects.get(pk=held.id)


def test_it_is_kept_apart_and_the_row_says_how_large_it_is(claimed: Make) -> None:
    job = succeed(claimed(), LARGE)

    assert job.result is None
    assert job.result_size_bytes == len(json.dumps(LARGE, ensure_ascii=False, separators=(",", ":")).encode())
    assert json.loads(LargeResult.objects.get(pk=job.pk).content) == LARGE == results.of(job)


def test_a_small_one_is_where_it_was_and_costs_one_statement(claimed: Make) -> None:
    held = claimed()

    with CaptureQueriesContext(connection) as queries:
        job_id = held.id
        lifecycle.succeed(held.id, held.fence, result=SMALL)

    job = Job.objects.get(pk=job_id)
    assert len(queries) == 1
    assert (job.result, job.result_size_bytes) == (SMALL, None)
    assert not LargeResult.objects.exists()


def test_a_large_one_costs_one_statement_too(claimed: Make) -> None:
    held = claimed()

    with CaptureQueriesContext(connection) as queries:
        lifecycle.succeed(held.id, held.fence, result=LARGE)

    assert len(queries) == 1


def test_a_stale_attempt_leaves_none(claimed: Make) -> None:
    held = claimed()
    lifecycle.cancel(held.id, by="test")

    assert not lifecycle.succeed(held.id, held.fence, result=LARGE)
    assert not LargeResult.objects.exists()


def test_one_job_has_it_whole_and_a_list_a_note(claimed: Make, api: Api) -> None:
    job = succeed(claimed(), LARGE)

    one, listed = api.get(f"/v1/jobs/{job.id}").json["job"], api.get("/v1/jobs").json["jobs"][0]

    assert one["result"] == LARGE
    assert listed["result"] == {
        "result_size_bytes": job.result_size_bytes, "result_url": f"/v1/jobs/{job.id}/result",
    }  # fmt: skip
    assert list(one) == list(listed)
    assert api.get(listed["result"]["result_url"]).json == LARGE


def test_a_replayed_request_is_answered_with_it_whole(make_job: Any, claimed: Make, api: Api) -> None:
    body = {"type": "report.generate", "input": {"title": "x"}}
    make_job()
    first = api.post("/v1/jobs", body, idempotency_key="k").json["job"]
    Job.objects.filter(pk=first["id"]).update(published_at=Job.objects.get(pk=first["id"]).created_at)
    from jobs.transitions import Claimable

    held = lifecycle.claim(Claimable(Job.objects.get(pk=first["id"]).id, 0, "w", None, lease_sec=30))
    assert held is not None
    succeed(held, LARGE)

    again = api.post("/v1/jobs", body, idempotency_key="k").json

    assert again["idempotent"] is True
    assert again["job"]["result"] == LARGE


async def news_of(job: Job) -> Any:
    rows = Rows()
    try:
        return await rows.news([Position(job.id, 0)])
    finally:
        rows.drop_connection()


def test_a_stream_carries_a_note_of_it(claimed: Make) -> None:
    import asyncio

    job = succeed(claimed(), LARGE)

    (snapshot,) = asyncio.run(news_of(job))

    assert snapshot.job is not None
    assert job_json(snapshot.job)["result"]["result_size_bytes"] == job.result_size_bytes


def test_a_callback_carries_it_whole(claimed: Make) -> None:
    job = succeed(claimed(callback_url="https://example.org/x"), LARGE)
    delivery = CallbackDelivery.objects.get(job=job)

    assert delivery.payload["result"] is None
    assert results.payload(delivery)["result"] == LARGE


def test_a_parent_is_given_it_whole(claimed: Make, make_job: Any) -> None:
    child = succeed(claimed(), LARGE)
    small = succeed(claimed(), SMALL)
    parent = claimed()
    Job.objects.filter(pk=parent.id).update(phase=1)
    group = JobGroup.objects.create(parent_id=parent.id, series=1, phase=1, depth=1, size=2)
    Job.objects.filter(pk__in=[child.pk, small.pk]).update(group=group)

    given = groups.with_children(parent)

    assert [it.result for it in given.children] == [LARGE, SMALL]


# What is asked for alone


@pytest.mark.parametrize("result", [LARGE, SMALL, None, [], "x"], ids=["large", "small", "null", "list", "text"])
def test_the_result_alone_is_the_json_that_the_handler_returned(claimed: Make, api: Api, result: Any) -> None:
    job = succeed(claimed(), result)

    answer = api.get(f"/v1/jobs/{job.id}/result")

    assert (answer.status, answer.json) == (200, result)
    assert answer.headers["Content-Type"] == "application/json"
    assert api.get(f"/v1/jobs/{job.id}/result", if_none_match=answer.headers["ETag"]).status == 304


def test_a_part_of_it_may_be_asked_for(claimed: Make, api: Api) -> None:
    job = succeed(claimed(), LARGE)
    path = f"/v1/jobs/{job.id}/result"
    whole = api.get(path).body

    def ask(**headers: str) -> tuple[int, bytes, str]:
        """Its parts are no JSON."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = Client().get(path, headers={"x-api-key": ADMIN, **sent})
        return answer.status_code, answer.content, answer.headers.get("Content-Range", "")

    assert ask(range="bytes=0-99") == (206, whole[:100], f"bytes 0-99/{len(whole)}")
    assert ask(range="bytes=-10")[:2] == (206, whole[-10:])
    assert ask(range="bytes=0-9", if_range='"other"')[:2] == (200, whole)
    past = api.get(path, range=f"bytes={len(whole)}-")
    assert (past.status, past.code) == (416, "RANGE_NOT_SATISFIABLE")


def test_there_is_none_before_it_has_succeeded_nor_for_who_may_not_see_it(claimed: Make, api: Api) -> None:
    held = claimed()
    running = api.get(f"/v1/jobs/{held.id}/result")
    assert (running.status, running.code) == (404, "NOT_FOUND")

    succeed(held, LARGE)
    assert api.get(f"/v1/jobs/{held.id}/result", key=GPU_ONLY).status == 404
