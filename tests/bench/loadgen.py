"""An HTTP load generator that costs little: uvloop and httptools (both in C), raw protocols, no request objects.

A process of its own. It reports its own CPU time, so that a run in which it was the bottleneck cannot pass unseen: one
core drives some tens of thousands of requests a second, many times what any Django view answers.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import httptools
import uvloop


@dataclass(frozen=True)
class Load:
    """What to send: the same POST over `connections` keep-alive connections, for `seconds` or `requests` in all."""

    port: int
    path: str
    body: str
    headers: dict[str, str] = field(default_factory=dict)
    connections: int = 1
    seconds: float | None = None
    requests: int | None = None

    def as_line(self) -> bytes:
        """As `main` reads it."""
        return json.dumps(asdict(self)).encode() + b"\n"

    def request(self) -> bytes:
        """The request as it goes over the wire."""
        body = self.body.encode()
        head = {"Host": f"127.0.0.1:{self.port}", "Content-Type": "application/json", "Content-Length": str(len(body))}
        lines = [f"POST {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in (head | self.headers).items())]
        return "\r\n".join([*lines, "", ""]).encode() + body


class _Tally:
    """What all connections share: how many requests are still to be sent, and how long each took."""

    def __init__(self, load: Load) -> None:
        self.request = load.request()
        self.left = load.requests if load.requests is not None else sys.maxsize
        self.ends_at = float("inf")
        self._seconds = load.seconds
        self.latencies_sec: list[float] = []
        self.refused = 0
        self.open = load.connections
        self.done = asyncio.get_running_loop().create_future()

    def start(self) -> float:
        """Start the clock."""
        started = time.perf_counter()
        if self._seconds is not None:
            self.ends_at = started + self._seconds
        return started

    def closed(self, error: Exception | None = None) -> None:
        self.open -= 1
        if not self.done.done():
            if error is not None:
                self.done.set_exception(error)
            elif self.open == 0:
                self.done.set_result(None)


class _Connection(asyncio.Protocol):
    def __init__(self, tally: _Tally) -> None:
        self._tally = tally
        self._finished = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def start(self) -> None:
        """Send the first request."""
        self._next()

    def _next(self) -> None:
        tally = self._tally
        if tally.left <= 0 or time.perf_counter() >= tally.ends_at:
            self._finished = True
            self._transport.close()
            tally.closed()
            return
        tally.left -= 1
        self._parser = httptools.HttpResponseParser(self)
        self._sent_at = time.perf_counter()
        self._transport.write(tally.request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._tally.latencies_sec.append(time.perf_counter() - self._sent_at)
        self._tally.refused += not 200 <= self._parser.get_status_code() < 300
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._finished:
            self._tally.closed(exc or ConnectionError("the server closed a connection in the middle"))


def run(load: Load) -> dict[str, Any]:
    """Send it all. Returns requests, refused (not 2xx), seconds, requests a second, latencies in ms, CPU share."""
    return uvloop.run(_run(load))


async def _run(load: Load) -> dict[str, Any]:
    tally = _Tally(load)
    loop = asyncio.get_running_loop()
    opened = [
        (await loop.create_connection(lambda: _Connection(tally), "127.0.0.1", load.port))[1]
        for _ in range(load.connections)
    ]
    started, cpu = tally.start(), time.process_time()
    for connection in opened:
        connection.start()
    async with asyncio.timeout((load.seconds or 0) + 300):
        await tally.done
    seconds = time.perf_counter() - started
    latencies = sorted(tally.latencies_sec)
    count = len(latencies)
    return {
        "requests": count,
        "refused": tally.refused,
        "seconds": round(seconds, 4),
        "per_sec": round(count / seconds, 1),
        "p50_ms": round(latencies[count // 2] * 1000, 3),
        "p99_ms": round(latencies[min(count - 1, count * 99 // 100)] * 1000, 3),
        "generator_cpu_share": round((time.process_time() - cpu) / seconds, 3),
    }


def main() -> None:
    """Read loads from stdin, one JSON object a line; answer each with its outcome."""
    for line in sys.stdin:
        print(json.dumps(run(Load(**json.loads(line)))), flush=True)


if __name__ == "__main__":
    main()
