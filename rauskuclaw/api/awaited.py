"""An answer that comes later, and for which no thread waits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Protocol

from django.http import StreamingHttpResponse


class Awaited(Protocol):
    """What is waited for."""

    def look(self, *, hurry: bool = False) -> bytes | None:
        """The body, or None if it is not there yet and may still be waited for. hurry: what there is now, if little."""

    def pause_sec(self) -> float:
        """How long to wait before the next look."""


class AwaitedResponse(StreamingHttpResponse):
    """The bridge looks after each pause, in any of its threads. Whoever reads the answer otherwise waits himself."""

    def __init__(self, awaited: Awaited, **more: Any) -> None:
        self.awaited = awaited
        super().__init__(self._pieces(), **more)

    def _pieces(self) -> Iterator[bytes]:
        while (body := self.awaited.look()) is None:
            time.sleep(self.awaited.pause_sec())
        yield body
