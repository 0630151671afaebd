"""Starting: what is printed, what is refused, and who runs what."""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from rauskuclaw.stack.state import read_state
from tests.stack.conftest import Stack, eventually, others_reach

Start = Callable[..., Stack]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change users")


def addresses(var_dir: Path) -> dict[str, str]:
    """The content of run.env."""
    return dict(line.split("=", 1) for line in (var_dir / "run.env").read_text().splitlines())


def test_ready_is_printed_only_after_ready_answers_200(start: Start, var_dir: Path) -> None:
    gate = var_dir.parent / "gate"
    stack = start(MINI_GATE=str(gate))
    stack.until(r"worker +\| tool \d+")

    state_before = read_state(var_dir / "stack.json")["state"]
    gate.touch()
    stack.ready()

    assert state_before == "starting"
    assert stack.lines[-1] == f"ready: http://127.0.0.1:{stack.port}"
    eventually(lambda: read_state(var_dir / "stack.json")["state"] == "ready", "state ready")
    assert {record["state"] for record in read_state(var_dir / "stack.json")["services"]} == {"running"}


def test_the_place_of_the_key_is_printed_and_never_the_key(start: Start) -> None:
    key = "a-key-that-nobody-should-see"

    stack = start(API_KEY=key).ready()

    assert stack.until("^api key: ").string == "api key: from API_KEY"
    assert stack.stop() == 0
    assert key not in stack.text


def test_addresses_and_passwords_are_for_the_owner_alone(start: Start, var_dir: Path) -> None:
    stack = start().ready()
    found = addresses(var_dir)
    passwords = [(var_dir / "secrets" / name).read_text() for name in ("postgres", "redis")]

    private = [var_dir / "run.env", var_dir / "redis.conf", *(var_dir / "secrets").iterdir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    assert found["RAUSKUCLAW_URL"] == f"http://127.0.0.1:{stack.port}"
    commands = [" ".join(process.cmdline()) for process in stack.processes()]
    assert not [command for command in commands for password in passwords if password in command]
    for url in (found["DATABASE_URL"].replace(passwords[0], "wrong"), found["DATABASE_URL"].replace(passwords[0], "")):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(url)
    nameless = redis.Redis.from_url(found["REDIS_URL"].replace(passwords[1], ""))
    with nameless, pytest.raises(redis.AuthenticationError):
        nameless.ping()
    assert stack.stop() == 0


def test_the_servers_are_set_up_to_lose_nothing(start: Start, var_dir: Path) -> None:
    start().ready()
    found = addresses(var_dir)

    with psycopg.connect(found["DATABASE_URL"]) as connection:
        names = ("fsync", "synchronous_commit", "full_page_writes", "data_checksums", "max_connections")
        values = [connection.execute(f"SHOW {name}").fetchone() for name in names]
        connection.execute("CREATE EXTENSION vector")
    with redis.Redis.from_url(found["REDIS_URL"], decode_responses=True) as client:
        policy = {**client.config_get("appendonly", "appendfsync", "maxmemory-policy")}

    assert values == [("on",), ("on",), ("on",), ("on",), ("200",)]
    assert policy == {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}


def test_a_second_start_names_the_running_process_and_its_address(start: Start) -> None:
    first = start().ready()

    second = start()

    assert second.ended() == 1
    assert f"already running: pid {first.process.pid} at http://127.0.0.1:{first.port}" in second.text
    assert first.process.poll() is None
    assert first.stop() == 0


def test_a_taken_port_is_an_error_and_nothing_is_started(start: Start, var_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        stack = start(PORT=str(port))
        assert stack.ended() == 1

    assert f"port {port} on 127.0.0.1 cannot be used: address already in use" in stack.text
    assert not (var_dir / "postgres").exists()
    assert not (var_dir / "stack.json").exists()


def test_a_service_that_keeps_dying_ends_the_start_with_its_last_words(start: Start, var_dir: Path) -> None:
    stack = start(MINI_WORKER="broken", MINI_GATE="/nowhere")

    assert stack.ended() == 1
    assert "error: worker died 3 times (exit 1). The last lines of worker:\n    the worker's last words" in stack.text
    assert "ready:" not in stack.text
    assert not (var_dir / "stack.json").exists()


def test_data_of_another_postgres_version_is_refused_and_untouched(start: Start, var_dir: Path) -> None:
    (var_dir / "postgres").mkdir(parents=True)
    (var_dir / "postgres" / "PG_VERSION").write_text("15\n")

    stack = start()

    assert stack.ended() == 1
    assert "was made by Postgres 15, and this is Postgres 18" in stack.text
    assert [path.name for path in (var_dir / "postgres").iterdir()] == ["PG_VERSION"]


def test_a_bad_configuration_lists_its_problems_without_a_traceback(start: Start) -> None:
    stack = start((sys.executable, "-m", "rauskuclaw.stack"), HOST="0.0.0.0", API_KEY="short", WORKER_CONCURRENCY="0")

    assert stack.ended() == 2
    assert "HOST" in stack.text
    assert "WORKER_CONCURRENCY" in stack.text
    assert "Traceback" not in stack.text
    assert "short" not in stack.text.split()


@as_root
def test_root_gives_postgres_to_nobody(start: Start) -> None:
    stack = start().ready()

    assert psutil.Process(stack.pid("postgres")).username() == "nobody"


@as_root
def test_root_with_a_private_folder_widens_no_permissions(start: Start, var_dir: Path) -> None:
    var_dir.parent.chmod(0o700)

    stack = start().ready()

    assert stat.S_IMODE(var_dir.parent.stat().st_mode) == 0o700
    assert psutil.Process(stack.pid("postgres")).uids().real == 0
    assert stack.stop() == 0


@pytest.mark.skipif(
    os.geteuid() != 0 or not others_reach(Path(sys.executable)), reason="needs root and a public Python"
)
def test_an_ordinary_user_needs_no_root(start: Start, var_dir: Path) -> None:
    var_dir.mkdir()
    os.chown(var_dir, 1, 1)

    stack = start(user="daemon").ready()

    assert {process.username() for process in stack.processes()} == {"daemon"}
    assert stack.stop() == 0
