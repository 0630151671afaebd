"""`mcp.call` and `system.mcp.refresh` as an I/O worker runs them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psutil
import pytest
from django.db import connection

from jobs.models import Job, Status
from jobs.pools.io import IOPool
from jobs.processes import hunt
from jobs.slots import Why
from providers.mcp.models import McpServer
from tests.conftest import NODE, WORKER
from tests.mcp_client.conftest import TEXT, Behaviour, ready, tool
from tests.net.servers import Exchange, serving

pytestmark = pytest.mark.django_db(transaction=True)
Start = Callable[..., Future[Job]]


@pytest.fixture(scope="module")
def pool() -> IOPool:
    return IOPool(NODE, 4)


@pytest.fixture
def start(pool: IOPool, make_job: Any) -> Iterator[Start]:
    """`start(type, input)`: a job after one attempt of it, later."""
    with ThreadPoolExecutor(4) as threads:

        def run(job: Job) -> Job:
            pool.run(job.id, job.fence, worker=WORKER)
            try:
                return Job.objects.get(pk=job.pk)
            finally:
                connection.close()

        yield lambda type, given, **fields: threads.submit(run, make_job(type, input=given, **fields))


def interrupt(pool: IOPool, why: Why) -> None:
    [held] = pool.held()
    pool.interrupt(held, why)


def test_a_refresh_and_a_call_are_jobs(start: Start, server: McpServer, behaviour: Behaviour) -> None:
    refreshed = start("system.mcp.refresh", {"server": "test"}).result(60)
    ready(behaviour, tool("echo", TEXT))

    called = start("mcp.call", {"server": "test", "tool": "echo", "arguments": {"text": "hi"}}).result(60)

    found, said = dict(refreshed.result or {}), dict(called.result or {})
    assert (refreshed.status, found["added"]) == (Status.SUCCEEDED, ["echo"])
    assert (called.status, said["text"], said["untrusted"]) == (Status.SUCCEEDED, "hi", True)
    assert server.name == "test"


def test_a_failed_call_says_its_code(start: Start, over_stdio: McpServer, behaviour: Behaviour) -> None:
    ready(behaviour, tool("fail"))

    job = start("mcp.call", {"server": "test", "tool": "fail"}, max_attempts=3).result(60)

    error = dict(job.error or {})
    assert (job.status, error["code"], error["message"]) == ("failed", "MCP_TOOL_ERROR", "the disk is full")


@pytest.mark.parametrize(("why", "status"), [(Why.TIME_LIMIT, "failed"), (Why.NOT_ITS_OWN, "running")])
def test_a_command_and_its_daemons_die_with_the_attempt(
    why: Why, status: str, start: Start, pool: IOPool, over_stdio: McpServer, behaviour: Behaviour
) -> None:
    ready(behaviour, tool("hang"))
    running = start("mcp.call", {"server": "test", "tool": "hang"})
    processes = [psutil.Process(pid) for pid in behaviour.pids()]
    assert hunt.find(mark=f"{NODE}/") >= set(processes), "found by whoever buries a dead worker"

    interrupt(pool, why)
    running.result(30)  # half of what the call may take: nothing but the interrupt can have ended it

    assert not any(it.is_running() and it.status() != psutil.STATUS_ZOMBIE for it in processes)
    assert Job.objects.get(type__startswith="mcp").status == status


def test_a_cancel_closes_the_connection(start: Start, pool: IOPool, register: Any) -> None:
    asked, closed = threading.Event(), threading.Event()

    def wait_for_the_end(it: Exchange) -> None:
        it.answer(200, b"", size=1_000, content_type="text/event-stream")
        asked.set()
        with contextlib.suppress(ConnectionResetError):
            it.connection.recv(1)
        closed.set()

    with serving(wait_for_the_end) as web:
        register(
            transport="http", url=f"http://127.0.0.1:{web.port}/mcp", connect_timeout_sec=120, call_timeout_sec=120
        )
        running = start("system.mcp.refresh", {"server": "test"})
        assert asked.wait(30)

        interrupt(pool, Why.NOT_ITS_OWN)

        running.result(30)
        assert closed.wait(30)
