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

import psycopg
import pytest

from tests.stack.conftest import Stack, alive, eventually

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
