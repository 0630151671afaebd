"""What clients saw, in the order they saw it: in memory for the checker, and as JSON lines for people."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Event = dict[str, Any]
"""`what`, `began` and `at` (Unix seconds), and what belongs to the kind of event:

submit    plan, key, job (None: no answer), code (HTTP status; None: no answer), unique (the key it asked for)
seen      job, status, by (`get`, `cancel`, `list`, `final`), code: the job's state in an answer; `absent`: not there
stream    job, wire, since, ids, statuses, end: one connection, from opening it to losing it
callback  job, status, delivery, signed, answer: one request at the receiver
fault     name, victim, struck
"""


class History:
    """Append only; safe from any thread."""

    def __init__(self, path: Path) -> None:
        self.events: list[Event] = []
        self._file = path.open("w", encoding="utf-8")
        self._lock = threading.Lock()
        # A wall clock that nobody steps: its differences are the monotonic clock's.
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """Unix seconds."""
        return time.monotonic() + self._offset

    def add(self, what: str, *, began: float, **fields: Any) -> None:
        """Note an event that ends now."""
        event: Event = {"what": what, "began": began, "at": self.now(), **fields}
        with self._lock:
            self.events.append(event)
            self._file.write(json.dumps(event) + "\n")

    def of(self, what: str) -> Iterator[Event]:
        """The events of one kind."""
        return (event for event in self.events if event["what"] == what)

    def close(self) -> None:
        """No more comes."""
        self._file.close()
