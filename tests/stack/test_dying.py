"""Crashes, kills and stops: what comes back, what is ended, what is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import redis

from rauskuclaw.stack.child import Child
from rauskuclaw.stack.leftovers import clean_up
from rauskuclaw.stack.postgres import Postgres
from rauskuclaw.stack.processes import birth
from rauskuclaw.stack.state import ServiceRecord, StateFile
from tests.stack.conftest import Stack, alive, eventually
from tests.stack.test_starting import addresses

Start = Callable[..., Stack]


def write_data(var_dir: Path) -> None:
    """A row and a key."""
    with psycopg.connect(addresses(var_dir)["DATABASE_URL"]) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 'row' AS what")
    with redis.Redis.from_url(addresses(var_dir)["REDIS_URL"]) as client:
        client.set("kept", "key")
        client.execute_command("WAITAOF", 1, 0, 5000)


def data(var_dir: Path) -> tuple[object, object]:
    """What `write_data` wrote, found again."""
    with psycopg.connect(addresses(var_dir)["DATABASE_URL"]) as connection:
        row = connection.execute("SELECT what FROM kept").fetchone()
    with redis.Redis.from_url(addresses(var_dir)["REDIS_URL"], decode_responses=True) as client:
        return row and row[0], client.get("kept")


def test_a_killed_worker_is_restarted_with_back_off_and_its_tools_are_gone(start: Start) -> None:
    stack = start()
    tool = psutil.Process(int(stack.until(r"tool (\d+)")[1]))
    stack.ready()

    os.kill(stack.pid("worker"), signal.SIGKILL)
    stack.until(r"worker died \(signal 9\); restart 1 in 0\.5 s")
    stack.until(r"tool \d+")
    first_tool_alive = alive(tool)
    eventually(lambda: stack.pid("worker"), "restart")
    os.kill(stack.pid("worker"), signal.SIGKILL)
    stack.until(r"worker died \(signal 9\); restart 2 in 1 s")
    stack.until(r"tool \d+")

    assert not first_tool_alive
    assert stack.stop() == 0


def test_killed_servers_come_back_with_their_data(start: Start, var_dir: Path) -> None:
    stack = start().ready()
    write_data(var_dir)

    os.kill(stack.pid("postgres"), signal.SIGKILL)
    os.kill(stack.pid("redis"), signal.SIGKILL)

    def back() -> bool:
        try:
            return data(var_dir) == ("row", "key")
        except (psycopg.OperationalError, redis.RedisError):
            return False

    eventually(back, "the servers' return")
    assert stack.stop() == 0


def test_after_a_killed_supervisor_nothing_runs_and_the_next_start_finds_all_data(start: Start, var_dir: Path) -> None:
    stack = start().ready()
    write_data(var_dir)
    before = addresses(var_dir)
    # The tool is in a session of its own and does not ask to die with anybody: only the next start can end it.
    everything = stack.processes()
    tools = [process for process in everything if process.name() == "sleep"]

    stack.process.kill()
    rest = [process for process in everything if process not in tools]
    eventually(lambda: not any(alive(process) for process in rest), "the end of all children")
    again = start(PORT=str(stack.port)).ready()

    assert len(tools) == 1
    assert not any(alive(process) for process in tools)
    assert addresses(var_dir) == before
    assert data(var_dir) == ("row", "key")
    assert again.stop() == 0


def test_ctrl_c_ends_everything_and_keeps_the_data(start: Start, var_dir: Path) -> None:
    stack = start().ready()
    write_data(var_dir)
    everything = stack.processes()

    assert stack.stop() == 0

    assert not any(alive(process) for process in everything)
    assert not (var_dir / "stack.json").exists()
    start().ready()
    assert data(var_dir) == ("row", "key")


def test_sigterm_is_a_clean_stop_in_reverse_order(start: Start) -> None:
    stack = start().ready()

    stack.process.terminate()

    assert stack.ended() == 0
    order = [line.split()[2] for line in stack.lines if " stopped in " in line]
    assert order == ["web", "worker", "redis", "postgres"]


def test_a_worker_that_will_not_stop_is_killed_when_its_time_is_over(start: Start) -> None:
    stack = start(MINI_WORKER="stubborn", MINI_STOP_SECONDS="0.5").ready()
    everything = stack.processes()

    assert stack.stop() == 0

    assert "worker    killed after 0." in stack.text
    assert not any(alive(process) for process in everything)


def test_a_second_ctrl_c_kills_what_would_still_have_time(start: Start) -> None:
    stack = start(MINI_WORKER="stubborn", MINI_STOP_SECONDS="1000").ready()
    everything = stack.processes()

    stack.process.send_signal(signal.SIGINT)
    stack.until(r"web +stopped")
    stack.process.send_signal(signal.SIGINT)

    assert stack.ended() == 0
    assert not any(alive(process) for process in everything)


def test_a_stop_while_starting_is_a_clean_stop_too(start: Start, var_dir: Path) -> None:
    stack = start(MINI_GATE="/nowhere")
    stack.until(r"tool \d+")

    assert stack.stop() == 0
    assert not (var_dir / "stack.json").exists()


def test_the_next_start_ends_servers_and_processes_that_outlived_their_supervisor(var_dir: Path) -> None:
    var_dir.mkdir(mode=0o711)
    server = Postgres(var_dir)
    server.prepare()
    child = Child(server.service())
    child.start()
    eventually(child.is_ready, "postgres")
    stray = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(1000)"], start_new_session=True)
    strayed = psutil.Process(stray.pid)
    StateFile(var_dir / "stack.json", url="", stack_id="gone").write(
        "ready", [ServiceRecord("worker", "running", stray.pid, birth(stray.pid))]
    )

    done = clean_up(var_dir)

    assert done == [
        "killed 1 process of an earlier run",
        f"stopped postgres (pid {child.record().pid}) of an earlier run",
    ]
    assert child.returncode == 0
    assert not alive(strayed)
    stray.wait()
    assert clean_up(var_dir) == []
    child.close_output()


def test_cleaning_up_never_touches_a_stranger_with_the_same_number(var_dir: Path) -> None:
    (var_dir / "postgres").mkdir(parents=True)
    stranger = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(1000)"], start_new_session=True)
    (var_dir / "postgres" / "postmaster.pid").write_text(f"{stranger.pid}\n")
    StateFile(var_dir / "stack.json", url="", stack_id="gone").write(
        "ready", [ServiceRecord("worker", "running", stranger.pid, "another boot:1")]
    )

    done = clean_up(var_dir)

    assert done == []
    assert stranger.poll() is None
    assert not (var_dir / "postgres" / "postmaster.pid").exists()
    stranger.kill()
    stranger.wait()


def test_the_back_off_doubles_up_to_half_a_minute_and_forgets_after_a_healthy_while() -> None:
    from rauskuclaw.stack import child as module
    from rauskuclaw.stack.child import Service

    child = Child(Service(name="x", argv=("true",), env={}))
    child._started = time.monotonic()

    delays = [child.plan_restart() for _ in range(8)]
    child._started -= module.HEALTHY_SECONDS + 1

    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert child.plan_restart() == 0.5
    assert child.restarts == 9
