"""The I/O worker of a running stack: many waiting jobs in one process, which is killed, stopped, blocked, ignored."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from tests.net.servers import Exchange, Server, serving
from tests.running import RunningStack, wait_until

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack"), pytest.mark.timeout(240)]

JOBS = 50


class SlowServer:
    """Answers a request when told to, and counts those that hang up before."""

    def __init__(self) -> None:
        self.answering = threading.Event()
        self.open = 0
        self.hung_up = 0
        self._lock = threading.Lock()

    def respond(self, exchange: Exchange) -> None:
        """Wait for whichever comes first."""
        with self._lock:
            self.open += 1
        exchange.connection.settimeout(0.05)
        while not self.answering.is_set() and not exchange.owner.stopping.is_set():
            try:
                if exchange.connection.recv(1) == b"":
                    raise ConnectionResetError
            except TimeoutError:
                continue
            except OSError:
                with self._lock:
                    self.open -= 1
                    self.hung_up += 1
                return
        exchange.connection.settimeout(None)
        exchange.answer(200, b"at last")


@pytest.fixture
def slow() -> Iterator[tuple[SlowServer, Server]]:
    behaviour = SlowServer()
    with serving(behaviour.respond, tls=True) as server:
        yield behaviour, server


def outcomes(stack: RunningStack, ids: list[str]) -> Counter[tuple[str, int]]:
    """How many of the jobs have which status and number of attempts."""
    with psycopg.connect(stack.address("DATABASE_URL")) as database:
        rows = database.execute("SELECT status, attempts FROM jobs_job WHERE id = ANY (%s::uuid[])", [ids])
        return Counter(rows.fetchall())


def all_ended(stack: RunningStack, ids: list[str]) -> bool:
    return {status for status, _ in outcomes(stack, ids)} <= {"succeeded", "failed", "cancelled"}


def start_ledger_jobs(stack: RunningStack, ledger: Path, sleep_sec: float) -> list[str]:
    """JOBS jobs, all of them running at once."""
    wait_for_worker(stack)
    work = {"path": str(ledger), "sleep_sec": sleep_sec}
    ids = stack.submit_many("test.async-ledger", JOBS, input=work, max_attempts=5)
    wait_until(lambda: ledger.exists() and ledger.read_text().count("start") >= JOBS, what="all jobs to run at once")
    return ids


def wait_for_worker(stack: RunningStack) -> int:
    """The I/O worker's process, once its node lives; a test before this one may have killed the one before it."""

    def pid_if_alive() -> int:
        try:
            pid = stack.pid_of("io")
        except ProcessLookupError:  # between two
            return 0
        with psycopg.connect(stack.address("DATABASE_URL")) as database:
            found = database.execute("SELECT FROM jobs_node WHERE pool = 'io' AND pid = %s", [pid]).fetchone()
        return pid if found is not None else 0

    return int(wait_until(pid_if_alive, what="an I/O worker"))


def test_waiting_fetches_share_one_process_and_cancelled_ones_hang_up(
    stack: RunningStack, slow: tuple[SlowServer, Server]
) -> None:
    behaviour, server = slow
    pid = wait_for_worker(stack)
    fetch = {"url": f"https://localhost:{server.port}/", "timeout_ms": 100_000}
    ids = stack.submit_many("data.fetch", JOBS, input=fetch)
    wait_until(lambda: behaviour.open == JOBS, what="all requests to be open at once")

    cancelled, rest = ids[:10], ids[10:]
    for job_id in cancelled:
        assert stack.http.post(f"/v1/jobs/{job_id}/cancel").json()["job"]["status"] == "cancelled"

    wait_until(lambda: behaviour.hung_up == len(cancelled), what="the server to see the cancelled ones hang up")
    for job_id in cancelled:
        assert wait_until(partial(stopped, stack, job_id), what="the line that says so")["killed"] is False
    behaviour.answering.set()
    wait_until(lambda: all_ended(stack, ids), what="the others to end")
    assert outcomes(stack, rest) == {("succeeded", 1): len(rest)}
    assert stack.job(rest[0])["result"]["body_text"] == "at last"
    assert wait_for_worker(stack) == pid
    assert not psutil.Process(pid).children()


def stopped(stack: RunningStack, job_id: str) -> dict[str, object]:
    last = stack.logs(job_id)[-1]
    return dict(last["meta"]) if last["message"] == "Running work stopped" else {}


def test_a_job_that_reaches_its_time_limit_hangs_up(stack: RunningStack, slow: tuple[SlowServer, Server]) -> None:
    behaviour, server = slow
    wait_for_worker(stack)
    fetch = {"url": f"https://localhost:{server.port}/", "timeout_ms": 100_000}
    job = stack.submit("data.fetch", input=fetch, timeout_sec=1)

    ended = stack.wait_for(job["id"], "failed")

    assert ended["error"]["code"] == "JOB_TIMEOUT"
    wait_until(lambda: behaviour.hung_up == 1, what="the server to see it")


def kill(stack: RunningStack) -> None:
    os.kill(stack.pid_of("io"), signal.SIGKILL)


def flush(stack: RunningStack) -> None:
    redis.Redis.from_url(stack.address("REDIS_URL")).flushall()


@pytest.mark.parametrize("nemesis", [kill, flush])
def test_every_job_ends_and_no_attempt_runs_twice(
    stack: RunningStack, nemesis: Callable[[RunningStack], None], tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    ids = start_ledger_jobs(stack, ledger, sleep_sec=2)
    ids += stack.submit_many("test.async-ledger", 300, input={"path": str(ledger), "sleep_sec": 0.1}, max_attempts=5)

    nemesis(stack)

    wait_until(lambda: all_ended(stack, ids), what="all jobs to end", timeout_sec=120)
    assert {status for status, _ in outcomes(stack, ids)} == {"succeeded"}
    starts = Counter(line for line in ledger.read_text().splitlines() if line.endswith("start"))
    assert max(starts.values()) == 1, "an attempt ran twice"


def test_a_stopping_worker_lets_its_jobs_end(stack: RunningStack, tmp_path: Path) -> None:
    ids = start_ledger_jobs(stack, tmp_path / "ledger", sleep_sec=3)
    pid = stack.pid_of("io")

    os.kill(pid, signal.SIGTERM)

    wait_until(lambda: all_ended(stack, ids), what="all jobs to end")
    assert outcomes(stack, ids) == {("succeeded", 1): JOBS}
    wait_until(lambda: wait_for_worker(stack) != pid, what="another worker")


def test_a_job_that_blocks_the_event_loop_fails_and_the_others_run_again(stack: RunningStack, tmp_path: Path) -> None:
    ids = start_ledger_jobs(stack, tmp_path / "ledger", sleep_sec=15)
    pid = stack.pid_of("io")

    culprit = stack.submit("test.blocking", max_attempts=5)

    error = stack.wait_for(culprit["id"], "failed")["error"]
    assert error["code"] == "HANDLER_ERROR"
    assert "rauskuclaw_test_handlers.arun" in error["message"]
    assert stack.job(culprit["id"])["attempts"] == 1
    wait_until(lambda: all_ended(stack, ids), what="the others to end", timeout_sec=120)
    assert {status for status, _ in outcomes(stack, ids)} == {"succeeded"}
    assert wait_for_worker(stack) != pid


def test_a_coroutine_that_ignores_its_end_holds_nobody_up(stack: RunningStack) -> None:
    pid = wait_for_worker(stack)
    overrun = stack.submit("test.deaf", timeout_sec=1)
    stopped_one = stack.submit("test.deaf")
    stack.wait_for(stopped_one["id"], "running")

    stack.http.post(f"/v1/jobs/{stopped_one['id']}/cancel")

    wait_until(lambda: stopped(stack, stopped_one["id"]), what="the line that says it stopped")
    assert stopped(stack, stopped_one["id"])["killed"] is True
    assert stack.wait_for(overrun["id"], "failed")["error"]["code"] == "JOB_TIMEOUT"
    assert wait_for_worker(stack) == pid
