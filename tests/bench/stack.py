"""RauskuClaw on the laboratory's servers: the processes of `make up`, started from the same list of services."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg

from rauskuclaw import config
from rauskuclaw.config import ROOT
from rauskuclaw.stack.services import app_services
from tests.bench.lab import Lab, eventually, free_port, own_python

API_KEY = "key-of-the-benchmark"
DATABASE = "bench"
EVERYTHING = ("worker", "io", "system", "beat", "web")


def environment(lab: Lab, **settings: str) -> dict[str, str]:
    """What our processes see: the defaults, but for addresses, a key and `settings`."""
    plugin = os.pathsep.join([str(ROOT / "tests" / "plugin"), str(ROOT)])
    return os.environ | {
        "DJANGO_SETTINGS_MODULE": "rauskuclaw.settings", "DATABASE_URL": lab.database_url(DATABASE),
        "REDIS_URL": lab.redis_url, "VAR_DIR": str(lab.folder / "var"), "API_KEY": API_KEY,
        "PORT": str(free_port()), "PYTHONPATH": plugin, **settings,
    }  # fmt: skip


def prepare(lab: Lab) -> None:
    """A fresh, migrated and seeded database. Once a laboratory."""
    lab.fresh_database(DATABASE)
    done = subprocess.run(
        own_python("manage.py", "bootstrap"),
        cwd=ROOT,
        env=environment(lab),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"bootstrap failed:\n{done.stderr}")


class Stack:
    """Our running processes. Their order of starting is that of the supervisor."""

    def __init__(self, lab: Lab, env: dict[str, str]) -> None:
        self.env = env
        self.port = int(env["PORT"])
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._lab = lab
        self.database = psycopg.connect(lab.database_url(DATABASE), autocommit=True)

    @classmethod
    @contextlib.contextmanager
    def running(cls, lab: Lab, *, only: Sequence[str] = EVERYTHING, **settings: str) -> Iterator[Stack]:
        """The services named, ready, for the length of the block. Jobs of earlier blocks are deleted."""
        env = environment(lab, **settings)
        stack = cls(lab, env)
        try:
            stack.clear_jobs(check=False)
            stack.database.execute("TRUNCATE jobs_node")
            services = {service.name: service for service in app_services(_configured(env), env)}
            for name in only:
                service = services[name]
                stack.processes[name] = lab.start(f"rauskuclaw-{name}", service.argv, env)
            stack._wait_ready(only)
            yield stack
        finally:
            for process in reversed(stack.processes.values()):
                lab.end(process)
            stack.database.close()

    def _wait_ready(self, names: Sequence[str]) -> None:
        signs = {
            "worker": lambda: self.one("SELECT count(*) FROM jobs_node WHERE pool = 'process' AND kind = 'worker'"),
            "io": lambda: self.one("SELECT count(*) FROM jobs_node WHERE pool = 'io'"),
            "web": self._answers,
        }
        for name in names:
            process = self.processes[name]
            eventually(lambda: process.poll() is not None or signs.get(name, lambda: True)(), what=name)  # noqa: B023
            if process.returncode is not None:
                raise RuntimeError(f"{name} did not start:\n{self._lab.log_of(f'rauskuclaw-{name}')}")

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(self.call("GET", "/health"))
        return False

    def one(self, statement: str, *params: Any) -> Any:
        """The first column of the first row."""
        row = self.database.execute(statement.encode(), params).fetchone()
        return None if row is None else row[0]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the API. Raises OSError for a refusal too (urllib's HTTPError is one)."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"x-api-key": API_KEY, "content-type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def make_type(self, name: str, handler: str, **columns: Any) -> None:
        """A job type, unless it is there."""
        if not self.one("SELECT 1 FROM jobs_jobtype WHERE name = %s", name):
            self.call("POST", "/v1/job-types", {"name": name, "handler": handler, **columns})

    def wait_terminal(self, *, patience_sec: float = 300.0) -> None:
        """Return once no job is queued or running, at most some 2 ms late."""
        deadline = time.monotonic() + patience_sec
        while self.one("SELECT EXISTS (SELECT FROM jobs_job WHERE status IN ('queued', 'running'))"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"jobs have not ended in {patience_sec:.0f} s")
            time.sleep(0.002)

    def clear_jobs(self, *, check: bool = True) -> None:
        """Delete all jobs. check: whether every one must have succeeded."""
        if check:
            bad = self.one("SELECT count(*) FROM jobs_job WHERE status <> 'succeeded'")
            if bad:
                raise RuntimeError(f"{bad} jobs did not succeed")
        self.database.execute("TRUNCATE jobs_job, jobs_joblog CASCADE")


def _configured(env: dict[str, str]) -> config.Config:
    """The configuration that `env` gives. The supervisor reads its own; here there is one for each stack."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(env)
    try:
        return config.reload()
    finally:
        os.environ.clear()
        os.environ.update(before)
        config.load.cache_clear()
