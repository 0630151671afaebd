"""What subscribers receive, and how it looks on each wire."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any


def to_json(value: Any) -> str:
    """Compact JSON text. It holds no line break, so it is always one SSE data line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, eq=False)
class Event:
    """One event. Instances are shared by all subscribers, and each wire form is made once.

    data: JSON text. id: the log line's id on `log_append`, None on every other event.
    """

    name: str
    data: str = "{}"
    id: int | None = None

    @cached_property
    def sse(self) -> bytes:
        """As a server-sent event (contract section 3); a heartbeat is a comment there."""
        if self is HEARTBEAT:
            return b": heartbeat\n\n"
        line = "" if self.id is None else f"id: {self.id}\n"
        return f"event: {self.name}\n{line}data: {self.data}\n\n".encode()

    @cached_property
    def frame(self) -> str:
        """As a WebSocket text frame: `{"event", "id"?, "data"}`."""
        line = "" if self.id is None else f'"id":{self.id},'
        return f'{{"event":"{self.name}",{line}"data":{self.data}}}'


HEARTBEAT = Event("heartbeat")
RESYNC = Event("resync")
DELETED = Event("end", to_json({"reason": "deleted"}))


def ended(status: str) -> Event:
    """The last event of a job that reached a terminal status: all lines written before it were sent."""
    return Event("end", to_json({"reason": "terminal", "status": status}))
