"""On a whole stack: beat rings, the system worker deletes, and nobody who works notices."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.bench import history
from tests.running import RunningStack, running_stack, wait_until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]
OLD = 3_000


def test_what_is_old_goes_while_jobs_run() -> None:
    with running_stack() as stack:
        url = stack.address("DATABASE_URL")
        stack.make_type("test.noop", "test:noop")
        history.load(url, OLD, before=datetime.now(UTC) - timedelta(days=200), partitioned=True)
        before = counted(stack)
        made = stack.submit_many("test.noop", 200)
        # The heartbeat asks which partitions may go as soon as a minute begins; here nobody waits for that.
        ring(stack)

        with psycopg.connect(url, autocommit=True) as database:
            wait_until(lambda: left(database) == (0, 0), what="the old jobs to go", timeout_sec=120)
        for job_id in made:
            assert stack.wait_for(job_id, "succeeded")["attempts"] == 1
            lines = [line["message"] for line in stack.logs(job_id)]
            assert (lines[:2], lines[-1]) == (["Job created", "Job claimed"], "Job succeeded")

        after = counted(stack)
        assert after["succeeded"] == before["succeeded"] + len(made)
        assert after["failed"] == before["failed"] > 0
        last = stack.http.get("/v1/retention").json()["last_run"]
        assert last is not None


def left(database: psycopg.Connection) -> tuple[int, int]:
    """Old jobs, and lines of the log from before."""
    row = database.execute(
        "SELECT (SELECT count(*) FROM jobs_job WHERE created_at < now() - interval '100 days'),"
        " (SELECT count(*) FROM jobs_joblog WHERE job_created_at < now() - interval '100 days')"
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def counted(stack: RunningStack) -> dict[str, int]:
    """Jobs there are and were, by status."""
    return dict(stack.http.get("/v1/runtime/metrics").json()["metrics"]["job_status"])


def ring(stack: RunningStack) -> None:
    """Forget when it was last asked which partitions may go: the next run, within a minute, asks again."""
    with psycopg.connect(stack.address("DATABASE_URL"), autocommit=True) as database:
        database.execute("UPDATE jobs_retentionrun SET log_asked_at = NULL")
