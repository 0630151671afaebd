"""Beat away for a while, then two beats at once and a killed system worker: exactly the runs that the policies say."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import psycopg
import pytest

from tests.running import ROOT, RunningStack, wait_until

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("stack"), pytest.mark.timeout(400)]

AWAY_SEC = int(os.environ.get("CHAOS_BEAT_AWAY_SEC", "20"))
EVERY_SEC = 5
CADENCES: dict[str, dict[str, Any]] = {"interval": {"interval_sec": EVERY_SEC}, "cron": {"cron": "*/5 * * * * *"}}
POLICIES: dict[str, dict[str, Any]] = {
    "run_once": {}, "skip": {"missed": "skip"}, "catch_up": {"missed": "catch_up", "catch_up_max": 3},
}  # fmt: skip


class Run(NamedTuple):
    due: datetime
    at: datetime


def test_a_beat_away_and_two_beats_make_exactly_the_runs_of_the_policies(stack: RunningStack) -> None:
    schedules = {
        (cadence, policy): _create(stack, **fields, policy=POLICIES[policy])
        for cadence, fields in CADENCES.items()
        for policy in POLICIES
    }
    with psycopg.connect(stack.address("DATABASE_URL"), autocommit=True) as database:
        for schedule in schedules.values():
            wait_until(lambda: _runs(database, schedule), what="a first run of each")  # noqa: B023
        beat = stack.pid_of("beat")
        os.kill(beat, signal.SIGSTOP)
        try:
            stopped = _now(database)
            time.sleep(AWAY_SEC)  # the absence is what is tested
            resumed = _now(database)
        finally:
            os.kill(beat, signal.SIGCONT)
        with _another_beat(stack):
            for schedule in schedules.values():
                wait_until(lambda: _runs(database, schedule)[-1].at > resumed, what="runs after it")  # noqa: B023
            os.kill(stack.pid_of("system"), signal.SIGKILL)
            killed = _now(database)
            for schedule in schedules.values():
                wait_until(lambda: _runs(database, schedule)[-1].at > killed, what="runs after that")  # noqa: B023
        for schedule in schedules.values():
            stack.http.post(f"/v1/schedules/{schedule}/pause")

        for (cadence, policy), schedule in schedules.items():
            runs = _runs(database, schedule)
            assert len({run.due for run in runs}) == len(runs) == _jobs(database, schedule), "one job a due time"
            first_at = min(run.at for run in runs if run.at > resumed)
            missed = [run.due for run in runs if run.at > resumed and run.due <= first_at]
            every = timedelta(seconds=EVERY_SEC)
            told = f"{cadence} {policy}: away {stopped} to {resumed}, back {first_at}: {missed}"
            if policy == "run_once":
                assert len(missed) == 1, told
                assert missed[0] < stopped + 2 * every, told
            elif policy == "skip":
                assert len(missed) == 1, told
                assert first_at - missed[0] < every, told
            else:
                assert missed == [missed[-1] - 2 * every, missed[-1] - every, missed[-1]], told
                assert first_at - missed[-1] < every, told


def _create(stack: RunningStack, **fields: Any) -> str:
    answer = stack.http.post("/v1/schedules", json={"type": "test.noop", **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["schedule"]["id"])


def _runs(database: psycopg.Connection[Any], schedule: str) -> list[Run]:
    """Those that made a job, the oldest first."""
    found = database.execute(
        "SELECT due_at, at FROM schedules_run WHERE schedule_id = %s AND result = 'made' ORDER BY due_at", [schedule]
    )
    return [Run(*row) for row in found]


def _jobs(database: psycopg.Connection[Any], schedule: str) -> int:
    row = database.execute("SELECT count(*) FROM jobs_job WHERE created_by = %s", [f"schedule {schedule}"]).fetchone()
    assert row is not None
    return int(row[0])


def _now(database: psycopg.Connection[Any]) -> datetime:
    row = database.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    return datetime.fromisoformat(str(row[0]))


@contextlib.contextmanager
def _another_beat(stack: RunningStack) -> Iterator[None]:
    """A second beat, as on another machine."""
    addresses = {name: stack.address(name) for name in ("DATABASE_URL", "REDIS_URL")}
    command = [sys.executable, "-m", "celery", "--quiet", "-A", "rauskuclaw", "beat", "--pidfile=", "-l", "WARNING"]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "VAR_DIR": str(stack.var), **addresses}) as process:
        try:
            yield
        finally:
            process.kill()
