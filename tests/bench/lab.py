"""The laboratory: durable servers of the project's own binaries in a temporary folder, and processes beside them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import psutil
import psycopg
import redis
from psycopg import sql

from rauskuclaw.config import ROOT
from rauskuclaw.stack.postgres import Postgres
from rauskuclaw.stack.processes import kill_tree, spawn
from rauskuclaw.stack.valkey import Valkey

PEERS_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
"""The peers' own virtual environment, made by `make bench` from requirements-bench.txt."""
PATIENCE_SEC = 120.0


def eventually(
    holds: Callable[[], Any], *, what: str, patience_sec: float = PATIENCE_SEC, every_sec: float = 0.05
) -> Any:
    """The first true value of `holds()`. Raises TimeoutError when there is none in time."""
    deadline = time.monotonic() + patience_sec
    while not (value := holds()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not in {patience_sec:.0f} s: {what}")
        time.sleep(every_sec)
    return value


class Lab:
    """One Postgres and one Valkey, durable as `make up` runs them. Everything ends and is deleted with the block.

    Start it on the main thread: the kernel ends the servers when the thread that started them ends.
    """

    def __init__(self, *, durable: bool = True) -> None:
        # BENCH_DIR: for a disk other than the one that holds the temporary files.
        self.folder = Path(tempfile.mkdtemp(prefix="rauskuclaw-bench-", dir=os.environ.get("BENCH_DIR")))
        self.folder.chmod(0o711)  # started by root, Postgres runs as nobody and must reach its data
        self.postgres = Postgres(self.folder, durable=durable)
        self.valkey = Valkey(self.folder, durable=durable)
        self.redis_url = self.valkey.url
        self.process_of: dict[str, subprocess.Popen[bytes]] = {}
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        try:
            for server in (self.postgres, self.valkey):
                server.prepare()
                service = server.service()
                process = self.start(server.name, service.argv, service.env, account=service.account)
                eventually(lambda: server.is_ready(process.pid) or process.poll() is not None, what=server.name)  # noqa: B023
                if process.returncode is not None:
                    raise RuntimeError(f"{server.name} did not start:\n{self.log_of(server.name)}")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _stop(self) -> None:
        for process in reversed(self._running):
            kill_tree(process.pid)
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    # Addresses

    def database_url(self, name: str) -> str:
        """The address of a database on this Postgres."""
        return urlsplit(self.postgres.url)._replace(path=f"/{name}").geturl()

    def fresh_database(self, name: str) -> str:
        """Make an empty database, in place of any of that name; its address."""
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.database_url(name)

    def redis(self) -> redis.Redis:
        """A client."""
        return redis.Redis.from_url(self.redis_url)

    def settle(self) -> None:
        """Before a round: an empty Redis, and no checkpoint or autovacuum of the last round's writes left to do."""
        with self.redis() as client:
            client.flushall()
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")

    # Processes

    def start(
        self, name: str, argv: Sequence[str | Path], env: Mapping[str, str], *, pipes: bool = False, **options: Any
    ) -> subprocess.Popen[bytes]:
        """Start a process whose output goes to a log of its own; with `pipes`, its stdin and stdout are ours."""
        with self._log(name).open("ab") as log:
            if pipes:
                process = subprocess.Popen(
                    [str(part) for part in argv], env=dict(env), cwd=ROOT, stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE, stderr=log, start_new_session=True,
                )  # fmt: skip
            else:
                process = spawn(argv, env=env, stdout=log.fileno(), cwd=ROOT, **options)
        self._running.append(process)
        self.process_of[name] = process
        return process

    def end(self, process: subprocess.Popen[bytes], *, patience_sec: float = 30.0) -> None:
        """End a process gently, then its tree for certain."""
        tree = _tree(process.pid)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_sec)
        kill_tree(process.pid)
        process.wait()
        for member in tree:
            with contextlib.suppress(psutil.Error):
                member.kill()
        self._running.remove(process)

    @contextlib.contextmanager
    def process(
        self, name: str, argv: Sequence[str | Path], env: Mapping[str, str], **options: Any
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A process for the length of the block."""
        process = self.start(name, argv, env, **options)
        try:
            yield process
        finally:
            self.end(process)

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def log_of(self, name: str) -> str:
        """The end of what the process wrote."""
        path = self._log(name)
        return path.read_text("utf-8", "replace")[-3000:] if path.exists() else ""

    def logs(self) -> str:
        """The ends of all logs, for the report of a failure."""
        return "\n".join(
            f"--- {path.stem}\n{path.read_text('utf-8', 'replace')[-2000:]}" for path in self.folder.glob("*.log")
        )


def _tree(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def own_python(*arguments: str) -> list[str]:
    """A command of this virtual environment."""
    return [sys.executable, *arguments]


def peers_python(*arguments: str) -> list[str]:
    """A command of the peers' virtual environment."""
    if not PEERS_PYTHON.exists():
        raise RuntimeError(f"{PEERS_PYTHON} is not there: `make bench` installs it")
    return [str(PEERS_PYTHON), *arguments]
