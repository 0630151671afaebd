"""Jobs that wait: COUNT fetches of SECONDS each at once in one I/O worker, of which a tenth is cancelled.

    python -m tests.bench.io [--jobs 200] [--seconds 10] [--how worker|threads|asyncio]

Starts a whole stack of its own and a slow TLS server. Prints one JSON object: the memory of the worker (RSS, idle and
with all requests open), how long after its cancel a request's connection was closed, how long all took.

`--how threads` and `--how asyncio` fetch the same without a stack, by the guard for threads and by that for coroutines:
what a worker of either kind would cost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import ssl
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psutil

from tests.net.servers import CA_FILE, SERVER_FILE
from tests.running import RunningStack, running_stack, wait_until

MIB = 2**20


class SlowServer:
    """Answers each request after `seconds`; knows how many are open, and when clients hung up (monotonic seconds)."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.open = 0
        self.hung_up: dict[str, float] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        self.open += 1
        try:
            await asyncio.wait_for(reader.read(1), self.seconds)
            self.hung_up[path] = time.monotonic()
        except ConnectionError:
            self.hung_up[path] = time.monotonic()
        except TimeoutError:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone")
        self.open -= 1
        writer.close()


@contextmanager
def slow_server(seconds: float) -> Iterator[tuple[SlowServer, int]]:
    """The server in a thread of this process, and its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(SERVER_FILE)
    server, loop = SlowServer(seconds), asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    listening = asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context, backlog=1024)
    listener = asyncio.run_coroutine_threadsafe(listening, loop).result()
    try:
        yield server, listener.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)


def run(*, quick: bool) -> dict[str, Any]:
    """Measure all three ways."""
    jobs, seconds = (50, 3.0) if quick else (200, 10.0)
    found = {"worker": in_a_worker(jobs, seconds), **{how: alone(how, jobs, seconds) for how in ("threads", "asyncio")}}
    for how, one in found.items():
        print(f"  {how}: {one['rss_peak_mib']} MiB with {jobs} open")
    return {"jobs": jobs, "seconds": seconds, "ways": found}


def in_a_worker(jobs: int, seconds: float) -> dict[str, Any]:
    """The whole way: HTTP API, Postgres, Redis, the I/O worker."""
    allowed = {"DATA_FETCH_ENABLED": "1", "DATA_FETCH_ALLOWLIST": "localhost", "SSL_CERT_FILE": str(CA_FILE)}
    with slow_server(seconds) as (server, port), running_stack(**allowed, IO_CONCURRENCY=str(jobs)) as stack:
        stack.http.patch("/v1/job-types/data.fetch", json={"enabled": True})
        worker = psutil.Process(stack.pid_of("io"))
        idle_bytes = worker.memory_info().rss
        begun = time.monotonic()
        ids = {path: _submit(stack, port, path) for path in (f"/{n}" for n in range(jobs))}
        wait_until(lambda: server.open == jobs, what="all requests to be open")
        all_open_sec = time.monotonic() - begun
        peak_bytes, connections = worker.memory_info().rss, _connections(stack, worker.pid)
        cancelled = list(ids)[:: max(1, jobs // max(1, jobs // 10))]
        asked = {}
        for path in cancelled:
            asked[path] = time.monotonic()
            stack.http.post(f"/v1/jobs/{ids[path]}/cancel")
        wait_until(lambda: len(server.hung_up) == len(cancelled), what="the cancelled ones to hang up")
        ends = {path: server.hung_up[path] - asked[path] for path in cancelled}
        for path, job_id in ids.items():
            stack.wait_for(job_id, "cancelled" if path in asked else "succeeded", timeout_sec=seconds + 60)
        return {
            "rss_idle_mib": round(idle_bytes / MIB, 1),
            "rss_peak_mib": round(max(peak_bytes, worker.memory_info().rss) / MIB, 1),
            "postgres_connections": connections,
            "all_open_after_sec": round(all_open_sec, 2),
            "all_ended_after_sec": round(time.monotonic() - begun, 2),
            "cancelled": len(cancelled),
            "cancel_to_disconnect_ms": {
                "median": round(1000 * statistics.median(ends.values())), "max": round(1000 * max(ends.values())),
            },
        }  # fmt: skip


def _submit(stack: RunningStack, port: int, path: str) -> str:
    fetch = {"url": f"https://localhost:{port}{path}", "timeout_ms": 120_000}
    return str(stack.submit("data.fetch", input=fetch)["id"])


def _connections(stack: RunningStack, pid: int) -> int:
    """Postgres connections of one process."""
    port = urlsplit(stack.address("DATABASE_URL")).port
    found = psutil.Process(pid).net_connections("tcp")
    return sum(bool(it.raddr) and it.raddr.port == port and it.status == psutil.CONN_ESTABLISHED for it in found)


def alone(how: str, jobs: int, seconds: float) -> dict[str, Any]:
    """The fetches in a process of their own, without a worker around them."""
    with slow_server(seconds) as (server, port):
        begun = time.monotonic()
        script = [sys.executable, "-m", "tests.bench.io", "--how", f"{how}-client", "--jobs", str(jobs)]
        child = subprocess.Popen(
            [*script, "--port", str(port)], stdout=subprocess.PIPE, env={**os.environ, "SSL_CERT_FILE": str(CA_FILE)}
        )
        wait_until(lambda: server.open == jobs, what="all requests to be open")
        process = psutil.Process(child.pid)
        found = {"all_open_after_sec": round(time.monotonic() - begun, 2), "threads": process.num_threads()}
        found["rss_peak_mib"] = round(process.memory_info().rss / MIB, 1)
        out, _ = child.communicate(timeout=seconds + 60)
        return {**json.loads(out), **found}


def client(how: str, jobs: int, port: int) -> dict[str, Any]:
    """What `alone` measures."""
    from rauskuclaw import netguard, netguard_async

    hosts = netguard.listed_hosts(["localhost"])
    idle_bytes = psutil.Process().memory_info().rss

    def fetch(n: int) -> None:
        url = f"https://localhost:{port}/{n}"
        with (
            netguard.guarded_client(timeout_sec=120, private_hosts=hosts) as http,
            netguard.open_url(http, url, permit=lambda _target: None) as response,
        ):
            netguard.read_capped(response, max_bytes=1000)

    async def fetch_async(n: int) -> None:
        url = f"https://localhost:{port}/{n}"
        async with (
            netguard_async.guarded_client(timeout_sec=120, private_hosts=hosts) as http,
            netguard_async.open_url(http, url, permit=lambda _target: None) as response,
        ):
            await netguard_async.read_capped(response, max_bytes=1000)

    async def fetch_all() -> None:
        await asyncio.gather(*(fetch_async(n) for n in range(jobs)))

    if how == "threads-client":
        with ThreadPoolExecutor(jobs) as threads:
            list(threads.map(fetch, range(jobs)))
    else:
        asyncio.run(fetch_all())
    return {"rss_idle_mib": round(idle_bytes / MIB, 1), "cpu_sec": round(sum(psutil.Process().cpu_times()[:2]), 2)}


def main() -> None:
    """Run it and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--how", default="worker")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    if options.how.endswith("-client"):
        print(json.dumps(client(options.how, options.jobs, options.port)))
        return
    asked = {"how": options.how, "jobs": options.jobs, "seconds": options.seconds}
    measure = in_a_worker if options.how == "worker" else lambda *given: alone(options.how, *given)
    print(json.dumps({**asked, **measure(options.jobs, options.seconds)}))


if __name__ == "__main__":
    main()
