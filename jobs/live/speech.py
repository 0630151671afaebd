"""Streaming text: what a running attempt has said so far, for whoever comes late or has missed a piece.

Redis keeps it for an hour, because it may be lost: an answer's whole text is in the job's result. Pieces are placed by
their offset, so that one that comes twice changes nothing and one that is missing is noticed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast
from uuid import UUID

from jobs.live.events import Event, to_json
from jobs.live.hints import Delta, text_key
from rauskuclaw.redis import REDIS_ERRORS, client


@dataclass
class Speech:
    """The text of the newest attempt that anybody heard of. Offsets are bytes of UTF-8.

    base: where `text` begins; more than 0 when what was before it is lost.
    """

    fence: int = 0
    base: int = 0
    text: bytearray = field(default_factory=bytearray)
    _last: tuple[int, int, Event] | None = None

    @property
    def end(self) -> int:
        """Where the next piece belongs."""
        return self.base + len(self.text)

    def take(self, delta: Delta) -> bool:
        """Put a piece in its place. False: there is a gap before it, and it was not taken."""
        return self._place(delta.fence, delta.offset, delta.text.encode("utf-8", "replace"))

    def mend(self, fence: int, text: bytes | None, delta: Delta | None) -> None:
        """Take what Redis had of an attempt, then the piece that came after a gap. None: Redis knows nothing."""
        if text is not None and fence >= self.fence:
            self._place(fence, 0, text)
        if delta is not None and not self.take(delta):
            self.base, self.text = delta.offset, bytearray(delta.text.encode("utf-8", "replace"))

    def _place(self, fence: int, offset: int, piece: bytes) -> bool:
        if fence < self.fence:
            return True
        if fence > self.fence:
            self.fence, self.base, self.text, self._last = fence, 0, bytearray(), None
        known = self.end - offset
        if known < 0:
            return False
        self.text += piece[known:]
        return True

    def since(self, fence: int, offset: int) -> tuple[int, Event | None]:
        """What a follower that heard `offset` bytes of the attempt `fence` has yet to hear, and where it then stands.

        Followers that stand at the same place share the Event.
        """
        start = offset if fence == self.fence and offset >= self.base else self.base
        if start >= self.end:
            return self.end, None
        if self._last is None or self._last[:2] != (start, self.end):
            text = self.text[start - self.base :].decode("utf-8", "replace")
            told = {"text": text, "offset": start, "attempt": self.fence}
            self._last = (start, self.end, Event("delta", to_json(told)))
        return self.end, self._last[2]


def said_so_far(job_id: UUID, fence: int) -> bytes | None:
    """What Redis keeps of an attempt's text; None where it has nothing, or lost a part. For a thread."""
    try:
        kept = cast(bytes | None, client().get(text_key(job_id, fence)))
    except REDIS_ERRORS:
        return None
    return None if not kept or b"\0" in kept else kept
