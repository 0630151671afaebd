"""Metrics and alerts of a whole running stack: its page after jobs of each outcome, and that it watches itself."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator

import httpx
import pytest

from tests.metrics.test_prometheus import Series, scraped
from tests.running import API_KEY, RunningStack, running_stack, wait_until

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("metrics stack")]


@pytest.fixture(scope="module")
def stack() -> Iterator[RunningStack]:
    with running_stack(LOG_FORMAT="json") as running:
        running.make_type("test.sleep", "test:sleep")
        yield running


def page(stack: RunningStack) -> Series:
    answer = httpx.get(f"{stack.http.base_url}/metrics", headers={"authorization": f"Bearer {API_KEY}"})
    assert answer.status_code == 200, answer.text
    return scraped(answer.text)


def series(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return f"rauskuclaw_{name}", frozenset(labels.items())


def test_a_request_is_one_line_of_the_log(stack: RunningStack) -> None:
    path = "/v1/ping?seen=once"

    assert stack.http.get(path).status_code == 200

    wait_until(lambda: path in stack.log, what="the request to be logged")
    # What follows it is written by the same process: nothing about it comes later.
    stack.http.get("/v1/ping?seen=after")
    wait_until(lambda: "seen=after" in stack.log, what="the next request to be logged")
    assert [json.loads(line[line.index("{") :])["logger"] for line in stack.log.splitlines() if path in line] == [
        "rauskuclaw.access"
    ]


def test_the_page_has_every_series_after_jobs_of_each_outcome(stack: RunningStack) -> None:
    running = stack.submit("test.sleep", input={"sleep_sec": 60})
    stack.wait_for(running["id"], "running")
    reports = [stack.submit("report.generate", input={"title": "x"})["id"] for _ in range(3)]
    failing = stack.submit("data.fetch", input={"url": "https://example.com/"}, max_attempts=2)["id"]
    following = threading.Event()

    def follow() -> None:
        with httpx.stream(
            "GET", f"{stack.http.base_url}/v1/jobs/{running['id']}/stream", headers={"x-api-key": API_KEY}, timeout=60
        ) as stream:
            following.set()
            for _ in stream.iter_lines():
                pass

    follower = threading.Thread(target=follow)
    follower.start()
    assert following.wait(30)
    for job_id in reports:
        stack.wait_for(job_id, "succeeded")
    stack.wait_for(failing, "failed")
    wait_until(lambda: page(stack).get(series("stream_subscribers")) == 1, what="the stream to be counted")
    busy = page(stack)
    stack.http.post(f"/v1/jobs/{running['id']}/cancel")
    follower.join(30)
    wait_until(
        lambda: page(stack).get(series("jobs_ended_total", type="test.sleep", status="cancelled")) == 1,
        what="the cancelled job to be counted",
    )

    shown = page(stack)

    assert busy[series("worker_slots_busy", pool="process")] == 1
    assert busy[series("queue_jobs", queue="default", state="running")] == 1
    assert shown[series("jobs_made_total", type="report.generate")] == 3
    assert shown[series("jobs_ended_total", type="report.generate", status="succeeded")] == 3
    assert shown[series("jobs_ended_total", type="data.fetch", status="failed")] == 1
    assert shown[series("attempts_ended_total", type="data.fetch", outcome="failed")] == 2
    assert shown[series("jobs_retried_total", type="data.fetch")] == 1
    assert shown[series("attempts_ended_total", type="test.sleep", outcome="cancelled")] == 1
    assert shown[series("job_total_seconds_count", type="report.generate")] == 3
    assert shown[series("worker_slots", pool="process")] == 2
    assert shown[series("workers", pool="io")] == 1
    counters = stack.http.get("/v1/runtime/metrics").json()["metrics"]["counters"]
    assert counters["job.created"] == 5
    assert counters["job.failed_terminal"] == 1


def test_the_workers_view_shows_what_runs(stack: RunningStack) -> None:
    job = stack.submit("test.sleep", input={"sleep_sec": 60})
    stack.wait_for(job["id"], "running")

    workers = stack.http.get("/v1/runtime/workers").json()["workers"]

    assert {worker["pool"] for worker in workers} == {"process", "io"}
    assert [job["id"]] == [running["id"] for worker in workers for running in worker["jobs"]]
    stack.http.post(f"/v1/jobs/{job['id']}/cancel")


def test_every_line_of_the_services_is_json_and_holds_no_key(stack: RunningStack) -> None:
    answer = stack.http.get("/v1/jobs?api_key=" + API_KEY, headers={"X-Request-ID": "find-me"})
    assert answer.headers["X-Request-ID"] == "find-me"

    wait_until(lambda: '"find-me"' in stack.log, what="the request's line")

    lines = re.findall(r"^(?:web|worker|io|system|beat)\s+\| (.*)$", stack.log, re.MULTILINE)
    records = [json.loads(line) for line in lines]
    assert {"event", "level", "logger", "time"} <= set.intersection(*(set(record) for record in records))
    assert [record["logger"] for record in records if record.get("request_id") == "find-me"] == ["rauskuclaw.access"]
    assert API_KEY not in stack.log


def test_beat_fires_and_resolves_an_alert(stack: RunningStack) -> None:
    stack.http.patch("/v1/alert-rules/NO_WORKER", json={"threshold": 1})
    job = stack.submit("report.generate", queue="nobody", input={"title": "x"})

    def alerts(state: str) -> list[str]:
        found = stack.http.get(f"/v1/alerts?state={state}&code=NO_WORKER").json()["alerts"]
        return [alert["scope"] for alert in found]

    wait_until(lambda: alerts("firing") == ["nobody"], what="the alert to fire")
    stack.http.post(f"/v1/jobs/{job['id']}/cancel")
    wait_until(lambda: alerts("resolved") == ["nobody"], what="the alert to be resolved")
    assert alerts("open") == []
