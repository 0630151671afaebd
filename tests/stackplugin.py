"""pytest plugin (`-p tests.stackplugin`): a throw-away Postgres and Valkey for the whole test run.

They start in the xdist controller, or in the only process, before Django reads its settings, and end with it. Workers
inherit the addresses through the environment; each takes a Redis database of its own, and pytest-django gives each a
Postgres database of its own. TEST_DATABASE_URL and TEST_REDIS_URL name servers to use instead.

The addresses in DATABASE_URL and REDIS_URL are never used: tests flush and drop what they find.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from rauskuclaw.stack.postgres import Postgres
from rauskuclaw.stack.processes import kill_tree, spawn, wait_until
from rauskuclaw.stack.valkey import Valkey

REDIS_DATABASES = 64

# Outlives pytest, however it ends: waits for the end of the pipe that only pytest holds, then deletes the folder. The
# servers die with pytest by themselves (PR_SET_PDEATHSIG); until they have, they may still write into it.
_JANITOR = 'cat >/dev/null; i=0; until rm -rf -- "$1" 2>/dev/null || [ $i -ge 100 ]; do i=$((i+1)); sleep 0.1; done'


class Servers:
    """The servers of one test run and the folder they live in."""

    def __init__(self) -> None:
        self.running: list[tuple[Postgres | Valkey, subprocess.Popen[bytes]]] = []
        self.seconds = 0.0
        self._janitor: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start what is not given from outside and put all addresses into the environment."""
        began = time.monotonic()
        folder = Path(tempfile.mkdtemp(prefix="rauskuclaw-test-"))
        folder.chmod(0o711)  # started by root, Postgres runs as nobody and must reach its data
        self._janitor = subprocess.Popen(
            ["/bin/sh", "-c", _JANITOR, "sh", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        given = {name: os.environ.get(f"TEST_{name}", "") for name in ("DATABASE_URL", "REDIS_URL")}
        servers: list[Postgres | Valkey] = []
        if not given["DATABASE_URL"]:
            servers.append(Postgres(folder, durable=False))
            given["DATABASE_URL"] = servers[-1].url
        if not given["REDIS_URL"]:
            servers.append(Valkey(folder, durable=False, databases=REDIS_DATABASES))
            given["REDIS_URL"] = servers[-1].url
        temporary = folder / "tmp"
        temporary.mkdir()
        temporary.chmod(0o1777)
        # What tests and the processes they kill leave in their temporary folders goes with ours.
        os.environ.update(
            given, VAR_DIR=str(folder / "var"), TMPDIR=str(temporary), PYTEST_DEBUG_TEMPROOT=str(temporary)
        )
        tempfile.tempdir = None
        try:
            for server in servers:
                self._start(server, folder / f"{server.name}.log")
            for server, process in self.running:
                _wait_for(server, process, folder / f"{server.name}.log")
        except BaseException:
            self.stop()
            raise
        self.seconds = time.monotonic() - began

    def _start(self, server: Postgres | Valkey, log: Path) -> None:
        server.prepare()
        service = server.service()
        # Into a file: nobody would read a pipe, and a full one stops the server in the middle of a test.
        with log.open("wb") as output:
            process = spawn(service.argv, env=service.env, account=service.account, stdout=output.fileno())
        self.running.append((server, process))

    def stop(self) -> None:
        """End the servers (nothing in them is worth a clean shutdown) and delete their folder."""
        for _, process in self.running:
            kill_tree(process.pid)
            process.wait()
        self.running.clear()
        if self._janitor and self._janitor.stdin:
            self._janitor.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._janitor.wait(15)
            self._janitor = None


def _wait_for(server: Postgres | Valkey, process: subprocess.Popen[bytes], log: Path) -> None:
    ready = wait_until(lambda: process.poll() is not None or server.is_ready(process.pid), seconds=30)
    if not ready or process.returncode is not None:
        raise pytest.UsageError(f"the tests' {server.name} did not start:\n{log.read_text('utf-8', 'replace')}")


def _own_redis_database(worker: str) -> None:
    """`gw0` → database 1 and so on: a worker that flushes its database must not flush its neighbour's."""
    address = urlsplit(os.environ["REDIS_URL"])
    base = int(address.path.strip("/") or 0)
    number = base + 1 + int(worker.removeprefix("gw"))
    os.environ["REDIS_URL"] = address._replace(path=f"/{number}").geturl()


_servers = Servers()


# A wrapper, because that runs before pytest-django's own hook, which loads the settings.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests() -> Generator[None]:
    """Have servers and addresses before anything imports the settings."""
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        _own_redis_database(worker)
    elif not _servers.running:
        _servers.start()
    return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """Without workers the tests would run in the parent of the servers, and some kill all its descendants."""
    if config.getoption("numprocesses", None) == 0 and _servers.running:
        raise pytest.UsageError("use -n 1 instead of -n 0: the servers are children of this process")


def pytest_report_header() -> str:
    """Say what the tests run on."""
    names = ", ".join(server.name for server, _ in _servers.running)
    return f"servers: {names or 'external'} ({_servers.seconds:.2f} s)"


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """End the servers after the last worker has ended."""
    _servers.stop()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests of an xdist_group stay together, or each worker would start the group's stack.

    pytest-xdist 3.8 adds the group to `_nodeid`; pytest 9.2 has taken a node's id from `_id` instead.
    """
    for item in items:
        grouped = vars(item).get("_nodeid")
        if grouped is not None and grouped != item.nodeid:
            item._id = type(item._id).parse(grouped)
