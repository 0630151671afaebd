"""Subscribers of event streams: any number in one process, on uvloop and httptools, so that reading costs little.

Told on stdin (one JSON line: port, headers, paths, how many times each), it opens all streams, says `{"open": n}`, and
reads until every stream has ended. Then it says what was received: for each stream the ids in the order they came and,
of every line whose message is a number (the writer's monotonic ns), how long it took to get here.
"""

from __future__ import annotations

import array
import asyncio
import json
import re
import sys
import time
from typing import Any, cast

import httptools
import uvloop

_LINE = re.compile(rb'event: log_append\nid: (\d+)\ndata: (?:.*"message":"(\d+)")?')
PERMILLE = (500, 900, 990, 999, 1000)


class _Stream(asyncio.Protocol):
    """One subscriber: the ids it saw, in order, and how long each stamped line took."""

    def __init__(self, request: bytes, job: int) -> None:
        self.job = job
        self.ids = array.array("q")
        self.delays_ns = array.array("q")
        self.first_written = 0
        self.ended = False
        self.last_at = 0
        self._request = request
        self._rest = b""
        self._loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[int] = self._loop.create_future()
        self.closed: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._now = time.monotonic_ns()
        self._parser.feed_data(data)

    def on_headers_complete(self) -> None:
        self.opened.set_result(self._parser.get_status_code())

    def on_body(self, body: bytes) -> None:
        *blocks, self._rest = (self._rest + body).split(b"\n\n")
        for block in blocks:
            if found := _LINE.search(block):
                self.ids.append(int(found[1]))
                if found[2]:
                    self.delays_ns.append(self._now - int(found[2]))
                    self.first_written = self.first_written or int(found[2])
                    self.last_at = self._now
            elif b"event: end\n" in block:
                self.ended = True

    def on_message_complete(self) -> None:
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(exc or ConnectionError("refused"))
        if not self.closed.done():
            self.closed.set_result(None)


async def listen(spec: dict[str, Any]) -> dict[str, Any]:
    """Open, read, report."""
    loop = asyncio.get_running_loop()
    streams: list[_Stream] = []
    for _ in range(spec["each"]):
        for job, path in enumerate(spec["paths"]):
            head = {"Host": f"127.0.0.1:{spec['port']}", "Accept": "text/event-stream", **spec["headers"]}
            lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
            request = "\r\n".join(lines).encode()
            _, stream = await loop.create_connection(lambda: _Stream(request, job), "127.0.0.1", spec["port"])  # noqa: B023
            streams.append(stream)
    statuses = await asyncio.gather(*(stream.opened for stream in streams))
    print(json.dumps({"open": len(streams), "refused": sum(status != 200 for status in statuses)}), flush=True)
    cpu, began = time.process_time(), time.monotonic()
    await asyncio.wait([stream.closed for stream in streams], timeout=spec["patience_sec"])
    heard = [stream for stream in streams if stream.delays_ns]
    lasted_ns = max(stream.last_at for stream in heard) - min(stream.first_written for stream in heard) if heard else 0
    delays = sorted(delay for stream in streams for delay in stream.delays_ns)
    return {
        "seconds": round(max(lasted_ns, 1) / 1e9, 3),
        "by_stream": [[stream.job, len(stream.delays_ns)] for stream in streams],
        "out_of_order": sum(list(stream.ids) != sorted(set(stream.ids)) for stream in streams),
        "not_ended": sum(not stream.ended for stream in streams),
        "delays_ms": [
            round(delays[min(len(delays) - 1, len(delays) * percent // 1000)] / 1e6, 3) for percent in PERMILLE
        ]
        if delays
        else [],
        "cpu_share": round((time.process_time() - cpu) / (time.monotonic() - began), 3),
    }


def main() -> None:
    """Serve one specification a line."""
    for line in sys.stdin:
        print(json.dumps(uvloop.run(listen(json.loads(line)))), flush=True)


if __name__ == "__main__":
    main()
