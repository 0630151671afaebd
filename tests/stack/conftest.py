"""Stacks that tests start, watch and kill."""

from __future__ import annotations

import contextlib
import os
import queue
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from rauskuclaw.stack.state import read_state

ROOT = Path(__file__).resolve().parents[2]
MINI = (sys.executable, "-m", "tests.stack.ministack")
PATIENCE = 90.0
"""Seconds before a test gives up waiting: many times what is needed, for busy machines."""


def free_port() -> int:
    """A port that is free now, outside the range that outgoing connections take theirs from."""
    while True:
        port = random.randint(10_000, 14_999)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


def eventually(condition: Callable[[], object], what: str = "it") -> None:
    """Wait until `condition` holds; fail when it does not."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen in {PATIENCE:.0f} s"
        time.sleep(0.02)


def others_reach(program: Path) -> bool:
    """Whether every user may walk to `program`, through all links."""
    return all(folder.stat().st_mode & 0o001 for folder in (*program.parents, *program.resolve().parents))


class Stack:
    """A supervisor process and what it prints."""

    def __init__(self, var_dir: Path, argv: tuple[str, ...] = MINI, *, user: str | None = None, **env: str) -> None:
        self.var_dir = var_dir
        self.port = int(env.setdefault("PORT", str(free_port())))
        clean = {k: v for k, v in os.environ.items() if k not in {"DATABASE_URL", "REDIS_URL"} and "PYTEST" not in k}
        mini = {"MINI_WORKER": "good", "MINI_STOP_SECONDS": "5"}
        self.process = subprocess.Popen(
            argv,
            cwd=ROOT,
            env={**clean, **mini, **env, "VAR_DIR": str(var_dir)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            user=user,
            group="nogroup" if user else None,
            extra_groups=[] if user else None,
        )
        self.lines: list[str] = []
        self._queue: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line.rstrip("\n"))
        self._queue.put("<end>")

    @property
    def text(self) -> str:
        """Everything it printed so far."""
        return "\n".join(self.lines)

    def until(self, pattern: str) -> re.Match[str]:
        """Read on until a line matches `pattern`; fail at the end of the output."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                line = self._queue.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no line like {pattern!r} in:\n{self.text}") from None
            self.lines.append(line)
            if found := re.search(pattern, line):
                return found
            assert line != "<end>", f"it ended without a line like {pattern!r}:\n{self.text}"

    def drain(self) -> list[str]:
        """All lines so far, without waiting."""
        while not self._queue.empty():
            self.lines.append(self._queue.get_nowait())
        return self.lines

    def ready(self) -> Stack:
        """Wait for the ready line."""
        self.until(r"^ready: ")
        return self

    def ended(self) -> int:
        """Wait for its end; the exit code."""
        code = self.process.wait(PATIENCE)
        self.until("<end>")
        return code

    def stop(self) -> int:
        """Ctrl-C, and wait; the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.ended()

    def pid(self, service: str) -> int:
        """Process number of a service, from stack.json."""
        records = read_state(self.var_dir / "stack.json")["services"]
        return next(int(record["pid"]) for record in records if record["name"] == service)

    def address(self, name: str) -> str:
        """DATABASE_URL or REDIS_URL of the servers, from run.env."""
        lines = (self.var_dir / "run.env").read_text("utf-8").splitlines()
        return next(line.partition("=")[2] for line in lines if line.startswith(f"{name}="))

    def processes(self) -> list[psutil.Process]:
        """The supervisor and all that descends from it."""
        head = psutil.Process(self.process.pid)
        return [head, *head.children(recursive=True)]


def alive(process: psutil.Process) -> bool:
    """Whether it still runs (a zombie does not)."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def var_dir() -> Iterator[Path]:
    """A fresh VAR_DIR that `nobody` can reach, as one outside of private folders is."""
    folder = Path(tempfile.mkdtemp(prefix="rauskuclaw-stack-"))
    folder.chmod(0o711)
    yield folder / "var"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def start(var_dir: Path) -> Iterator[Callable[..., Stack]]:
    """`start(**environment)` starts a mini stack in `var_dir`; whatever still runs at the end is killed."""
    started: list[Stack] = []

    def begin(argv: tuple[str, ...] = MINI, *, user: str | None = None, **env: str) -> Stack:
        started.append(Stack(var_dir, argv, user=user, **env))
        return started[-1]

    yield begin
    for stack in started:
        if stack.process.poll() is None:
            victims = stack.processes()
            for victim in victims:
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim.kill()
            psutil.wait_procs(victims[1:], timeout=10)
        stack.process.wait()
        assert stack.process.stdout is not None
        stack._reader.join(10)
        stack.process.stdout.close()
