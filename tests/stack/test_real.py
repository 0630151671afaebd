"""The real stack, as `make up` runs it."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import redis

from tests.stack.conftest import Stack, alive, eventually
from tests.stackplugin import REDIS_DATABASES

REAL = (sys.executable, "-m", "rauskuclaw.stack")


def ask(stack: Stack, path: str, **headers: str) -> tuple[int, dict[str, Any]]:
    """GET `path`: status and body; status 0 while nobody listens."""
    try:
        request = urllib.request.Request(f"http://127.0.0.1:{stack.port}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)
    except OSError:
        return 0, {}


@pytest.mark.stack
def test_the_whole_stack_comes_up_survives_kills_and_goes_down(start: Callable[..., Stack], var_dir: Path) -> None:
    stack = start(REAL).ready()
    key_file = Path(stack.until("^api key: (.+)")[1])
    assert "migrated and seeded" in stack.text

    everything = stack.processes()
    assert ask(stack, "/ready")[0] == 200
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert ask(stack, "/v1/ping", **{"x-api-key": key_file.read_text().strip()})[0] == 200
    assert key_file.read_text().strip() not in stack.text

    for name in ("web", "worker", "postgres"):
        os.kill(stack.pid(name), signal.SIGKILL)
    eventually(lambda: sum(" died (signal 9); restart 1 in 0.5 s" in line for line in stack.drain()) == 3, "restarts")
    eventually(lambda: ask(stack, "/ready")[0] == 200, "ready again")
    everything += stack.processes()

    assert stack.stop() == 0
    assert not any(alive(process) for process in everything)
    assert "Traceback" not in "\n".join(line for line in stack.lines if line.startswith(("error", "Trace")))

    again = start(REAL, PORT=str(stack.port)).ready()
    checks = ask(again, "/ready")[1]["checks"]
    assert "migrated and seeded" not in again.text
    assert {checks[name]["ok"] for name in ("worker", "beat")} == {True}

    again.process.kill()
    third = start(REAL, PORT=str(stack.port), AUTH_FAILURE_LIMIT_PER_MIN="3").ready()
    # The database remembers the killed worker and beat as seen a moment ago; ready must mean the new ones.
    with psycopg.connect(third.address("DATABASE_URL")) as connection:
        pids = {row[0] for row in connection.execute("SELECT pid FROM jobs_node")}
    assert {third.pid("worker"), third.pid("system")} <= pids
    assert not list(Path(tempfile.gettempdir()).glob("pymp-*"))

    # A client on this machine that claims another address on each try is one client all the same.
    guesses = [ask(third, "/v1/ping", **{"x-api-key": "wrong", "x-forwarded-for": f"192.0.2.{n}"}) for n in range(4)]
    assert [status for status, _ in guesses] == [401, 401, 401, 429]
    assert third.stop() == 0


@pytest.mark.stack
def test_servers_of_ones_own_replace_the_embedded_ones(start: Callable[..., Stack], var_dir: Path) -> None:
    own = {"DATABASE_URL": new_database("external"), "REDIS_URL": redis_database(REDIS_DATABASES - 1)}

    stack = start((sys.executable, "manage.py", "up", "--json"), **own, WORKER_QUEUE_ALLOWLIST="default,gpu")
    stack.until('"event": "ready"')
    key = Path(json.loads(stack.until('"event": "api_key"').string)["text"]).read_text("utf-8").strip()

    steps = [(event.get("service"), event["text"]) for event in map(json.loads, stack.lines)]
    assert steps[:2] == [("postgres", "external, from DATABASE_URL"), ("redis", "external, from REDIS_URL")]
    assert not (var_dir / "postgres").exists()
    assert not (var_dir / "redis").exists()
    with psycopg.connect(own["DATABASE_URL"]) as connection:
        assert connection.execute(
            "SELECT pool, queues FROM jobs_node WHERE kind = 'worker' ORDER BY pool"
        ).fetchall() == [("io", ["default", "gpu"]), ("process", ["default", "gpu"])]
    assert ask(stack, "/v1/ping", **{"x-api-key": key})[0] == 200
    assert stack.stop() == 0


def new_database(name: str) -> str:
    """An empty database on the tests' Postgres: its address."""
    server = os.environ["DATABASE_URL"]
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name}")
    return urlsplit(server)._replace(path=f"/{name}").geturl()


def redis_database(number: int) -> str:
    """A database of the tests' Valkey, which no test worker uses: its address."""
    url = urlsplit(os.environ["REDIS_URL"])._replace(path=f"/{number}").geturl()
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url
