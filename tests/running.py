"""A whole stack of its own for a test: what `make up` runs, on free ports and in a folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).resolve().parents[1]
API_KEY = "key-of-the-running-test-stack"


def wait_until(condition: Callable[[], Any], *, what: str, timeout_sec: float = 60) -> Any:
    """The first true value of `condition`. Fails when it stays false."""
    deadline = time.monotonic() + timeout_sec
    while True:
        with contextlib.suppress(httpx.TransportError):
            if value := condition():
                return value
        assert time.monotonic() < deadline, f"not in {timeout_sec:.0f} s: {what}"
        time.sleep(0.05)


class RunningStack:
    """The stack, seen from outside: its HTTP API, its processes, its folder."""

    module = "rauskuclaw.stack"
    """What is run."""

    def __init__(self, **environment: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rauskuclaw-stack-"))
        self.folder.chmod(0o711)
        self.var, self.port = self.folder / "var", free_port()
        dropped = {"DATABASE_URL", "REDIS_URL", "API_KEYS_JSON"}
        self._environment = {name: value for name, value in os.environ.items() if name not in dropped} | {
            "VAR_DIR": str(self.var), "PORT": str(self.port), "API_KEY": API_KEY, "LEASE_SEC": "10",
            "WORKER_CONCURRENCY": "2", "PYTHONPATH": f"{ROOT / 'tests' / 'plugin'}", **environment,
        }  # fmt: skip
        self._log = (self.folder / "log").open("wb")
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", headers={"x-api-key": API_KEY}, timeout=30, trust_env=False
        )

    def start(self) -> None:
        """Start it and wait until it says it is ready."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", self.module], cwd=ROOT, env=self._environment, stdout=self._log,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        wait_until(lambda: "ready: " in self.log or self.process.poll() is not None, what="the stack", timeout_sec=100)
        assert self.process.poll() is None, self.log

    def stop(self) -> None:
        """Stop it as Ctrl-C does, and delete its folder."""
        self.process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(60)
        self.process.kill()
        self.process.wait()
        self.http.close()
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def log(self) -> str:
        """What the console shows."""
        return (self.folder / "log").read_text("utf-8", "replace")

    def pid_of(self, service: str) -> int:
        """The process of a service now. Raises ProcessLookupError between its death and its restart."""
        services = json.loads((self.var / "stack.json").read_text("utf-8"))["services"]
        pid = next(record["pid"] for record in services if record["name"] == service)
        if pid is None:
            raise ProcessLookupError(f"{service} is down")
        return int(pid)

    def pool_pids(self, worker: str = "worker") -> list[int]:
        """The pool processes of a job worker."""
        return [child.pid for child in psutil.Process(self.pid_of(worker)).children()]

    def address(self, name: str) -> str:
        """DATABASE_URL or REDIS_URL of the running servers."""
        lines = (self.var / "run.env").read_text("utf-8").splitlines()
        return next(line.partition("=")[2] for line in lines if line.startswith(f"{name}="))

    def make_type(self, name: str, handler: str) -> None:
        """A job type for a handler of tests/plugin."""
        answer = self.http.post("/v1/job-types", json={"name": name, "handler": handler})
        assert answer.status_code in (201, 409), answer.text

    def submit(self, type_: str, **fields: Any) -> dict[str, Any]:
        """Post one job."""
        answer = self.http.post("/v1/jobs", json={"type": type_, **fields})
        assert answer.status_code == 201, answer.text
        return dict(answer.json()["job"])

    def submit_many(self, type_: str, count: int, **fields: Any) -> list[str]:
        """Post jobs in batches; their ids."""
        ids: list[str] = []
        for start in range(0, count, 500):
            items = [{"type": type_, **fields}] * min(500, count - start)
            answer = self.http.post("/v1/jobs/batch", json={"jobs": items})
            ids += [result["job"]["id"] for result in answer.json()["results"]]
        return ids

    def job(self, job_id: str) -> dict[str, Any]:
        """The job now."""
        return dict(self.http.get(f"/v1/jobs/{job_id}").json()["job"])

    def logs(self, job_id: str) -> list[dict[str, Any]]:
        """Its log."""
        return list(self.http.get(f"/v1/jobs/{job_id}/logs").json()["logs"])

    def wait_for(self, job_id: str, *statuses: str, timeout_sec: float = 60) -> dict[str, Any]:
        """The job, once it has one of the statuses."""
        wait_until(
            lambda: self.job(job_id)["status"] in statuses,
            what=f"job {job_id} to be {statuses}",
            timeout_sec=timeout_sec,
        )
        return self.job(job_id)


@contextlib.contextmanager
def running_stack(**environment: str) -> Iterator[RunningStack]:
    """A stack for the length of the block."""
    stack = RunningStack(**environment)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


def free_port() -> int:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def processes_with(marker: str) -> list[int]:
    """Processes whose command line holds `marker`."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if marker in " ".join(process.info["cmdline"] or ()) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found
