"""How many jobs there are and were, by status: exact while it is cheap, and never by reading a large table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from jobs.models import Job, Status
from jobs.retention.models import PrunedJobs
from metrics import statuses
from metrics.sql import text
from tests.large_table import FINISHED, large_table

Make = Callable[..., Job]
MOST = 100


@pytest.fixture
def jobs(make_job: Make) -> Callable[..., None]:
    """`jobs(3, "failed", queue="gpu")`: so many that have ended."""

    def make(count: int, status: str, *, queue: str = "default") -> None:
        for _ in range(count):
            job = make_job(queue=queue)
            Job.objects.filter(pk=job.pk).update(status=status, finished_at=job.created_at, published_at=None)

    return make


@pytest.fixture
def counts_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statuses, "COUNTED_MOST", 2)
    monkeypatch.setattr(statuses, "COUNTED_MOST_OF_QUEUES", 2)


def analyze() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE jobs_job")


def nodes_of(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for inner in plan.get("Plans", ()) for node in nodes_of(inner))]


def test_every_status_counts_and_so_do_jobs_that_retention_deleted(make_job: Make, jobs: Callable[..., None]) -> None:
    make_job()
    jobs(2, "succeeded")
    jobs(1, "failed", queue="gpu")
    PrunedJobs.objects.create(queue="gpu", status="failed", count=7)
    PrunedJobs.objects.create(queue="default", status="cancelled", count=4)

    everywhere, on_gpu = statuses.job_status(None), statuses.job_status(["gpu", "none", "gpu"])

    assert everywhere.counts == {"queued": 1, "running": 0, "succeeded": 2, "failed": 8, "cancelled": 4}
    assert on_gpu.counts == {"queued": 0, "running": 0, "succeeded": 0, "failed": 8, "cancelled": 0}
    assert list(everywhere.counts) == Status.values
    assert everywhere.estimated == on_gpu.estimated == []


def test_only_the_status_that_is_too_many_is_estimated(jobs: Callable[..., None], counts_two: None) -> None:
    jobs(2, "failed")

    with large_table():
        found = statuses.job_status(None)

    assert found.estimated == ["succeeded"]
    assert found.counts["failed"] == 2
    assert found.counts["succeeded"] == pytest.approx(FINISHED, rel=0.05)


def test_an_estimate_is_never_below_what_was_seen(jobs: Callable[..., None], counts_two: None) -> None:
    analyze()
    jobs(9, "cancelled")

    assert statuses.job_status(None).counts["cancelled"] >= 3


def test_a_small_queue_is_exact_among_many_jobs(jobs: Callable[..., None], counts_two: None) -> None:
    jobs(1, "succeeded", queue="gpu")
    jobs(1, "failed", queue="gpu")
    jobs(9, "succeeded")

    found = statuses.job_status(["gpu"])

    assert (found.counts["succeeded"], found.counts["failed"], found.estimated) == (1, 1, [])


def test_of_a_large_queue_only_what_is_rare_is_exact(jobs: Callable[..., None], counts_two: None) -> None:
    jobs(1, "failed", queue="gpu")
    jobs(1, "failed")

    with large_table():
        found = statuses.job_status(["default"])

    assert (found.counts["failed"], found.estimated) == (1, ["succeeded"])
    assert found.counts["succeeded"] == pytest.approx(FINISHED, rel=0.05)


@pytest.mark.parametrize(("name", "passes"), [("job_status", 1), ("job_status_of", 2)])
def test_no_more_than_so_many_of_a_large_table_are_read(db: None, name: str, passes: int) -> None:
    with large_table() as cursor:
        explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {text(name)}"
        cursor.execute(explain, {"most": MOST, "queues": ["default"]})
        plan = cursor.fetchone()[0][0]["Plan"]

    reads = [node for node in nodes_of(plan) if node.get("Relation Name") == "jobs_job"]
    read = round(sum(node["Actual Rows"] * node["Actual Loops"] for node in reads))
    assert FINISHED > 10 * MOST
    assert read == passes * (MOST + 1)
    assert {node["Node Type"] for node in reads} <= {"Index Scan", "Index Only Scan"}
    assert sum(node.get("Rows Removed by Filter", 0) for node in reads) == 0


def test_the_answer_names_what_is_estimated(api: Any, jobs: Callable[..., None], counts_two: None) -> None:
    exact = api.get("/v1/runtime/metrics").json["metrics"]
    jobs(3, "failed")
    estimated = api.get("/v1/runtime/metrics?queue=default").json["metrics"]

    assert "job_status_estimated" not in exact
    assert estimated["job_status_estimated"] == ["failed"]
