"""Kill anything while jobs run: all of them end, none of them twice. Against a real stack, over HTTP."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis

from tests.running import RunningStack, processes_with, wait_until

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack"), pytest.mark.timeout(240)]

JOBS = int(os.environ.get("CHAOS_JOBS", "500"))
POOL_PROCESSES = 2
"""Each may die between a claim and the first line of its handler."""
Nemesis = Callable[[RunningStack], None]


def kill_pool_process(stack: RunningStack) -> None:
    os.kill(stack.pool_pids()[0], signal.SIGKILL)


def kill_worker(stack: RunningStack) -> None:
    os.kill(stack.pid_of("worker"), signal.SIGKILL)


def flush_redis(stack: RunningStack) -> None:
    redis.Redis.from_url(stack.address("REDIS_URL")).flushall()


def kill_redis(stack: RunningStack) -> None:
    os.kill(stack.pid_of("redis"), signal.SIGKILL)


def kill_postgres(stack: RunningStack) -> None:
    os.kill(stack.pid_of("postgres"), signal.SIGKILL)


def kill_beat_and_system(stack: RunningStack) -> None:
    os.kill(stack.pid_of("beat"), signal.SIGKILL)
    os.kill(stack.pid_of("system"), signal.SIGKILL)


@pytest.mark.parametrize("type_", ["test.ledger", "test.short-ledger"])
@pytest.mark.parametrize(
    "nemesis", [kill_pool_process, kill_worker, flush_redis, kill_redis, kill_beat_and_system, kill_postgres]
)
def test_every_job_ends_and_none_twice(stack: RunningStack, nemesis: Nemesis, type_: str, tmp_path: Path) -> None:
    """Short ones share messages, some of which take too long and are taken apart."""
    ledger = tmp_path / "ledger"
    ids = stack.submit_many(type_, JOBS, input={"path": str(ledger), "sleep_sec": 0.005}, max_attempts=5)
    wait_until(lambda: ledger.exists() and ledger.read_text().count("end") > JOBS // 10, what="jobs to run")

    nemesis(stack)

    wait_until(lambda: unfinished(stack) == 0, what=f"all jobs to end, {nemesis.__name__}", timeout_sec=150)
    with psycopg.connect(stack.address("DATABASE_URL")) as database:
        statuses: dict[str, int] = dict(
            database.execute(
                "SELECT status, count(*) FROM jobs_job WHERE id = ANY (%s::uuid[]) GROUP BY 1", [ids]
            ).fetchall()
        )
        ends = database.execute(
            "SELECT count(*) FROM jobs_joblog WHERE job_id = ANY (%s::uuid[]) AND message = 'Job succeeded'", [ids]
        ).fetchone()
        lost = database.execute(
            "SELECT job_id::text || ' ' || ordinal || ' start' FROM jobs_attempt"
            " WHERE job_id = ANY (%s::uuid[]) AND outcome = 'lost'",
            [ids],
        ).fetchall()
    starts = Counter(line for line in ledger.read_text().splitlines() if line.endswith("start"))
    assert statuses == {"succeeded": JOBS}
    assert ends == (JOBS,)
    assert max(starts.values()) == 1, "an attempt ran twice"
    assert {line.split()[0] for line in starts} == set(ids)
    assert sum(line not in starts for (line,) in lost) <= POOL_PROCESSES, "what had not begun counted as an attempt"
    cancel_a_running_command(stack, "sleep 7653")


def unfinished(stack: RunningStack) -> int:
    try:
        with psycopg.connect(stack.address("DATABASE_URL"), connect_timeout=3) as database:
            row = database.execute("SELECT count(*) FROM jobs_job WHERE finished_at IS NULL").fetchone()
    except psycopg.OperationalError:
        return -1
    return int(row[0]) if row else -1


@pytest.mark.parametrize("nemesis", [kill_worker, kill_postgres])
def test_a_job_goes_on_after_its_children_whatever_is_killed_meanwhile(
    stack: RunningStack, nemesis: Nemesis, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    work = {"ledger": str(ledger), "children": 20, "sleep_sec": 0.2}
    parent = stack.submit("test.fan", input=work, max_attempts=1)["id"]
    wait_until(lambda: ledger.exists() and len(ledger.read_text().splitlines()) > 6, what="some children to run")

    nemesis(stack)

    wait_until(lambda: unfinished(stack) == 0, what=f"all jobs to end, {nemesis.__name__}", timeout_sec=150)
    ended = stack.wait_for(parent, "succeeded", "failed")
    assert (ended["status"], ended["result"], ended["attempts"]) == ("succeeded", {"total": 2470}, 1)
    with psycopg.connect(stack.address("DATABASE_URL")) as database:
        made = database.execute(
            "SELECT j.id::text, j.status, j.child_name FROM jobs_job AS j JOIN jobs_jobgroup AS g ON g.id = j.group_id"
            " WHERE g.parent_id = %s",
            [parent],
        ).fetchall()
    assert sorted(int(name) for _, _, name in made) == list(range(20)), "each child was made once"
    assert {status for _, status, _ in made} == {"succeeded"}
    starts = Counter(ledger.read_text().splitlines())
    assert max(starts.values()) == 1, "an attempt ran twice"
    assert {line.split()[0] for line in starts} == {job_id for job_id, _, _ in made}


def test_a_cancelled_command_is_gone_with_its_process_tree(stack: RunningStack) -> None:
    cancel_a_running_command(stack, "sleep 7654 & sleep 7654")


def cancel_a_running_command(stack: RunningStack, script: str) -> None:
    """Needs the worker's agent, which holds a connection of its own to Postgres."""
    command = script.rpartition("& ")[2]
    job = stack.submit("tool.exec", input={"command": "sh", "args": ["-c", script], "timeout_ms": 60000})
    wait_until(lambda: len(processes_with(command)) > script.count("&"), what="the command to run")

    assert stack.http.post(f"/v1/jobs/{job['id']}/cancel").json()["job"]["status"] == "cancelled"

    wait_until(lambda: not processes_with(command), what="the processes to be gone", timeout_sec=20)
    wait_until(lambda: stack.logs(job["id"])[-1]["message"] == "Running work stopped", what="the line that says so")
    assert stack.job(job["id"])["status"] == "cancelled"


def test_a_handler_that_ignores_its_time_limit_is_killed_with_what_it_started(stack: RunningStack) -> None:
    job = stack.submit("test.stubborn", timeout_sec=1)

    ended = stack.wait_for(job["id"], "failed")

    assert ended["error"]["code"] == "JOB_TIMEOUT", ended["error"]["message"]
    wait_until(lambda: not processes_with("sleep 987"), what="its child to be gone", timeout_sec=20)


def test_an_urgent_job_overtakes_5000_others_but_for_the_window(stack: RunningStack, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    work = {"path": str(ledger), "sleep_sec": 0.05}
    stack.submit_many("test.ledger", 5000, priority=1, input=work)
    wait_until(ledger.exists, what="the first to run")

    urgent = stack.submit("test.ledger", priority=10, input=work)

    stack.wait_for(urgent["id"], "succeeded", timeout_sec=120)
    with psycopg.connect(stack.address("DATABASE_URL")) as database:
        row = database.execute(
            "SELECT count(*) FROM jobs_attempt a, jobs_job u WHERE u.id = %s AND a.job_id <> u.id"
            " AND a.started_at BETWEEN u.created_at AND u.started_at",
            [urgent["id"]],
        ).fetchone()
        database.execute(
            "UPDATE jobs_job SET status = 'cancelled', finished_at = now(), published_at = NULL WHERE status = 'queued'"
        )
    assert row is not None
    assert row[0] <= 8 + 2, "more than a window and what ran already started before it"
