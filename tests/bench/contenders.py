"""Who runs no-ops: how each one's workers start, when they are ready, and what submits to them."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from rauskuclaw.config import ROOT
from tests.bench.lab import Lab, eventually, free_port, own_python, peers_python
from tests.bench.marks import VARIABLE, Marks
from tests.bench.peers.ours import CHUNK, TYPE
from tests.bench.stack import API_KEY, Stack

PROCESSES = 2
"""Worker processes of every contender."""
ANSWER_SEC = 300
JSON = {"Content-Type": "application/json"}
PEERS = "tests.bench.peers"
PROCRASTINATE_JOBS_AT_ONCE = 10
BARE_TABLE = "CREATE TABLE bare_row (id uuid PRIMARY KEY, payload jsonb NOT NULL, created_at timestamptz DEFAULT now())"
"""The one table of the bare Django views (peers/django_app.py)."""


class Submitter:
    """A process that submits when told to (tests/bench/peers/submitting.py)."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout
        self.verbs: list[str] = self._answer()

    def tell(self, verb: str, count: int = 1) -> tuple[int, int]:
        """Submit; monotonic ns before and after the call."""
        self._stdin.write(f"{verb} {count}\n".encode())
        self._stdin.flush()
        before, after = self._answer()
        return before, after

    def _answer(self) -> Any:
        if not select.select([self._stdout], [], [], ANSWER_SEC)[0]:
            raise TimeoutError(f"the submitter has not answered in {ANSWER_SEC} s")
        line = self._stdout.readline()
        if not line:
            raise RuntimeError("the submitter died")
        return json.loads(line)


class Running(Protocol):
    """A contender with its workers up."""

    submitter: Submitter
    marks: Marks

    def wait_done(self, count: int) -> int:
        """Return once `count` jobs have ended since the last `forget`: when they had, in monotonic ns."""

    def forget(self) -> None:
        """Start counting anew."""


@dataclass
class Peer:
    """Done when the last no-op has started: what a queue without rows can say at best."""

    submitter: Submitter
    marks: Marks

    def wait_done(self, count: int) -> int:
        """All marks are there."""
        self.marks.wait_for(count)
        return max(self.marks.moments())

    def forget(self) -> None:
        """Forget the marks."""
        self.marks.clear()


@dataclass
class Ours:
    """Done when the last row is terminal, and every one of them succeeded."""

    submitter: Submitter
    marks: Marks
    stack: Stack

    def wait_done(self, count: int) -> int:
        """All marks are there, then all rows."""
        self.marks.wait_for(count)
        self.stack.wait_terminal()
        return time.monotonic_ns()

    def forget(self) -> None:
        """Check that all jobs succeeded, and delete them."""
        self.marks.clear()
        self.stack.clear_jobs()


@dataclass(frozen=True)
class Contender:
    """name: in the JSON. title: on the page. setting: how it was set up, on the page."""

    name: str
    title: str
    setting: str
    worker: Sequence[str] = ()
    workers: int = 1
    """How many of that command make PROCESSES worker processes."""
    submitter: Sequence[str] = ()
    environment: dict[str, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def running(self, lab: Lab, marks: Marks) -> Iterator[Running]:
        """Its workers and its submitter, for the length of the block."""
        env = environment(lab, marks) | self.environment
        with contextlib.ExitStack() as stack:
            for number in range(self.workers):
                stack.enter_context(lab.process(f"{self.name}-worker-{number}", self.worker, env))
            started = stack.enter_context(lab.process(f"{self.name}-submitter", self.submitter, env, pipes=True))
            peer = Peer(Submitter(started), marks)
            _warm_up(peer)
            yield peer


class OursContender(Contender):
    """The whole stack, as `make up` starts it: web, job worker, system worker and beat."""

    @contextlib.contextmanager
    def running(self, lab: Lab, marks: Marks) -> Iterator[Running]:
        """The stack and the submitter."""
        with Stack.running(lab, WORKER_CONCURRENCY=str(PROCESSES), **{VARIABLE: str(marks.path)}) as stack:
            stack.make_type(TYPE, "test:mark")
            spec = {
                "port": stack.port,
                "headers": JSON | {"x-api-key": API_KEY},
                "one": {"path": "/v1/jobs", "body": json.dumps({"type": TYPE})},
                "batch": {
                    "path": "/v1/jobs/batch", "jobs": CHUNK, "body": json.dumps({"jobs": [{"type": TYPE}] * CHUNK}),
                },
            }  # fmt: skip
            env = stack.env | {"BENCH_HTTP": json.dumps(spec)}
            with lab.process(f"{self.name}-submitter", self.submitter, env, pipes=True) as started:
                ours = Ours(Submitter(started), marks, stack)
                _warm_up(ours)
                yield ours


class CeleryOverHttp(Contender):
    """A bare Django view that enqueues a Celery task, on the same web server as ours."""

    @contextlib.contextmanager
    def running(self, lab: Lab, marks: Marks) -> Iterator[Running]:
        """Worker, web and submitter."""
        port = free_port()
        env = environment(lab, marks)
        spec = {"port": port, "headers": JSON, "one": {"path": "/enqueue", "body": json.dumps({"type": TYPE})}}
        with (
            lab.process(f"{self.name}-worker", self.worker, env),
            lab.process(f"{self.name}-web", bare_web(port), env),
            lab.process(
                f"{self.name}-submitter", self.submitter, env | {"BENCH_HTTP": json.dumps(spec)}, pipes=True
            ) as started,
        ):
            wait_for_port(port)
            peer = Peer(Submitter(started), marks)
            _warm_up(peer)
            yield peer


class OnDisk(Contender):
    """With a Redis that has what it was told on the disk before it answers, as Postgres has."""

    @contextlib.contextmanager
    def running(self, lab: Lab, marks: Marks) -> Iterator[Running]:
        """Its workers and its submitter; the others' Redis is as before."""
        with lab.redis() as client:
            usual = client.config_get("appendfsync")["appendfsync"]
            client.config_set("appendfsync", "always")
            try:
                with super().running(lab, marks) as running:
                    yield running
            finally:
                client.config_set("appendfsync", usual)


def environment(lab: Lab, marks: Marks) -> dict[str, str]:
    """What a peer's processes see."""
    return os.environ | {
        "REDIS_URL": lab.redis_url,
        "RQ_REDIS_URL": lab.redis_url,
        "BARE_URL": lab.database_url("bare"),
        "PROCRASTINATE_URL": lab.database_url("procrastinate"),
        VARIABLE: str(marks.path),
        "PYTHONPATH": str(ROOT),
    }


def bare_web(port: int, app: str = "application") -> list[str]:
    """The bare Django views on the web server that RauskuClaw has, started with the same options. app: see there."""
    return own_python(
        "-m", "uvicorn", f"{PEERS}.django_app:{app}", "--host", "127.0.0.1", "--port", str(port),
        "--lifespan", "off", "--no-access-log", "--log-level", "warning", "--no-proxy-headers",
    )  # fmt: skip


def wait_for_port(port: int) -> None:
    """Return once somebody listens there."""

    def listens() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    eventually(listens, what=f"port {port}")


def _warm_up(running: Running) -> None:
    """A few jobs through the whole path: connections open, statements prepared, the workers really there."""
    running.marks.clear()
    counts = {verb: {"bulk": CHUNK, "each": 50, "one": 1}[verb] for verb in running.submitter.verbs}
    for verb, count in counts.items():
        running.submitter.tell(verb, count)
    running.wait_done(sum(counts.values()))
    running.forget()


CELERY_WORKER = own_python(
    "-m", "celery", "-A", f"{PEERS}.celery_app", "worker", "--pool", "prefork", "--concurrency", str(PROCESSES),
    "--loglevel", "ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat", "-n", "bare@%h",
)  # fmt: skip
DRAMATIQ_WORKER = peers_python("-m", "dramatiq", f"{PEERS}.dramatiq_app", "-p", str(PROCESSES), "-t", "8")

CONTENDERS: dict[str, Contender] = {
    contender.name: contender
    for contender in (
        Contender(
            "celery", "bare Celery", "prefork, prefetch multiplier 64, no results, no events, acknowledged early;"
            " `.delay()` a task",
            worker=CELERY_WORKER, submitter=own_python("-m", f"{PEERS}.celery_app"),
        ),
        OursContender(
            "rauskuclaw", "RauskuClaw, Python API", "the whole stack of `make up`; `submit`, and `submit_batch` of 500;"
            " the handler says that it is short",
            submitter=own_python("-m", f"{PEERS}.ours"),
        ),
        CeleryOverHttp(
            "celery_http", "bare Celery behind a Django view", "as bare Celery; the view is served by uvicorn through"
            " the same bridge, 16 connections",
            worker=CELERY_WORKER, submitter=own_python("-m", f"{PEERS}.http"),
        ),
        OursContender(
            "rauskuclaw_http", "RauskuClaw over HTTP", "the whole stack of `make up`; `POST /v1/jobs` on 16"
            " connections, and `/v1/jobs/batch` of 500",
            submitter=own_python("-m", f"{PEERS}.http"),
        ),
        Contender(
            "procrastinate", "Procrastinate", f"{PROCESSES} workers, each with {PROCRASTINATE_JOBS_AT_ONCE} jobs at"
            " once, an async task, LISTEN/NOTIFY; `defer`, and `batch_defer` of 500",
            worker=peers_python("-m", "procrastinate", "--log-level", "warning", "--app",
                                f"{PEERS}.procrastinate_app.app", "worker", "-q",
                                "bench", "-c", str(PROCRASTINATE_JOBS_AT_ONCE)),
            workers=PROCESSES, submitter=peers_python("-m", f"{PEERS}.procrastinate_submit"),
        ),
        Contender(
            "rq", "RQ", "`rq worker-pool` of SimpleWorkers (no fork a job: no time limit can end a job hung in C code);"
            " `enqueue`, and `enqueue_many` of 500",
            worker=peers_python("-m", "rq.cli", "worker-pool", "bench", "-n", str(PROCESSES), "-w",
                                "rq.worker.SimpleWorker", "--quiet"),
            submitter=peers_python("-m", f"{PEERS}.rq_app"),
        ),
        Contender(
            "dramatiq", "Dramatiq", f"Redis broker, {PROCESSES} processes with 8 threads each, default middleware;"
            " `.send()` a message",
            worker=DRAMATIQ_WORKER, submitter=peers_python("-m", f"{PEERS}.dramatiq_app"),
        ),
        OnDisk(
            "dramatiq_kept", "Dramatiq that loses nothing", "as Dramatiq, with its Results middleware, on a Redis with"
            " appendfsync always: accepted is on disk and the result can be asked for, as with RauskuClaw",
            worker=DRAMATIQ_WORKER, submitter=peers_python("-m", f"{PEERS}.dramatiq_app"),
            environment={"KEEP_RESULTS": "1"},
        ),
    )
}  # fmt: skip
