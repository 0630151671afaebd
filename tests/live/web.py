"""A real web process (uvicorn serving rauskuclaw.asgi) and clients of its live addresses."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from django.conf import settings
from websockets.sync.client import ClientConnection, connect

from rauskuclaw.config import ROOT, load
from tests.live.links import Link

ADMIN, NO_SSE, ONLY_DEFAULT = "key-of-the-live-tests", "key-without-sse-right", "key-of-queue-default"
KEYS = [
    {"key": ADMIN, "name": "live"},
    {"key": NO_SSE, "name": "nosse", "sse": False},
    {"key": ONLY_DEFAULT, "name": "default", "queue_allowlist": ["default"]},
]
WAIT_SEC = 15
"""Deadline of everything that is waited for."""


class Received(NamedTuple):
    """One event as it came over either wire; a heartbeat or `retry` is none."""

    name: str
    data: Any
    id: int | None


class Stream:
    """An open event stream: headers, and events as they come."""

    def __init__(self, port: int, path: str, headers: dict[str, str]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SEC)
        self._connection.request("GET", path, headers=headers)
        self.response = self._connection.getresponse()

    def block(self) -> list[str]:
        """The lines up to the next blank one; none at the end of the stream."""
        lines: list[str] = []
        while line := self.response.readline():
            if line == b"\n":
                break
            lines.append(line.decode().rstrip("\n"))
        return lines

    def __iter__(self) -> Iterator[Received]:
        while block := self.block():
            fields = dict(line.split(": ", 1) for line in block if not line.startswith(":"))
            if "event" in fields:
                yield Received(
                    fields["event"], json.loads(fields["data"]), int(fields["id"]) if "id" in fields else None
                )

    def close(self) -> None:
        """Leave, as a closed browser tab does."""
        self.response.close()
        self._connection.close()


class Socket:
    """An open WebSocket: events as they come, until the server closes it."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def __iter__(self) -> Iterator[Received]:
        for text in self.connection:
            frame = json.loads(text)
            if frame["event"] != "heartbeat":
                yield Received(frame["event"], frame["data"], frame.get("id"))


class Web:
    """One web process. Its ways to Redis and to Postgres are links of its own."""

    def __init__(self, directory: Path) -> None:
        redis = urlsplit(load().redis_url.get_secret_value())  # type: ignore[union-attr]
        postgres = settings.DATABASES["default"]
        self.redis = Link(redis.hostname or "127.0.0.1", redis.port or 6379)
        self.postgres = Link(postgres["HOST"], int(postgres["PORT"]))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        credentials = f"{postgres['USER']}:{postgres['PASSWORD']}".rstrip(":")
        environment = os.environ | {
            "API_KEYS_JSON": json.dumps(KEYS),
            "VAR_DIR": str(directory),
            "DATABASE_URL": f"postgresql://{credentials}@127.0.0.1:{self.postgres.port}/{postgres['NAME']}",
            "REDIS_URL": f"redis://:{redis.password or ''}@127.0.0.1:{self.redis.port}{redis.path}",
            "SECRET_KEY": settings.SECRET_KEY,
        }
        command = [sys.executable, "-m", "uvicorn", "rauskuclaw.asgi:application", "--port", str(self.port)]
        self.log = directory / f"web-{self.port}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "--timeout-graceful-shutdown", "1", "--log-level", "warning"],
                env=environment, cwd=ROOT, stdout=log, stderr=log,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def stop(self) -> None:
        """End the process and its links."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self.redis.close()
        self.postgres.close()

    def wait_until_ready(self) -> None:
        """Return once it answers."""
        eventually(lambda: self._process.poll() is not None or self._answers(), seconds=100)
        assert self._process.poll() is None, self.log.read_text()

    def _answers(self) -> bool:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_SEC)) as connection:
            try:
                connection.request("GET", "/health")
                return connection.getresponse().status == 200
            except OSError:
                return False

    @contextmanager
    def stream(self, job_id: object, *, since: int = 0, key: str | None = ADMIN, query: str = "") -> Iterator[Stream]:
        """Open the event stream of a job, as an EventSource that saw line `since` last."""
        headers = {"Last-Event-ID": str(since)} if since else {}
        if key is not None:
            headers["x-api-key"] = key
        stream = Stream(self.port, f"/v1/jobs/{job_id}/stream{query}", headers)
        try:
            yield stream
        finally:
            stream.close()

    @contextmanager
    def socket(self, path: str, *, key: str | None = ADMIN) -> Iterator[Socket]:
        """Open `/ws/…`."""
        headers = {} if key is None else {"x-api-key": key}
        url = f"ws://127.0.0.1:{self.port}{path}"
        with connect(url, additional_headers=headers, open_timeout=WAIT_SEC, max_size=None) as connection:
            yield Socket(connection)


def eventually(holds: Callable[[], bool], *, seconds: float = WAIT_SEC) -> None:
    """Return once `holds()` is true; fail when it is not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def take_until(events: Iterator[Received], last: Callable[[Received], bool]) -> list[Received]:
    """The events up to and including the first for which `last` is true; it must come."""
    taken = []
    for event in events:
        taken.append(event)
        if last(event):
            return taken
    raise AssertionError(f"the stream ended after {[event.name for event in taken][-5:]}")


def is_line(message: str) -> Callable[[Received], bool]:
    """Whether an event is the log line `message`."""
    return lambda event: event.name == "log_append" and event.data["message"] == message


def messages(events: list[Received]) -> list[str]:
    """The log lines among events."""
    return [event.data["message"] for event in events if event.name == "log_append"]
