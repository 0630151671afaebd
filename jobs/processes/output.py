"""A command's output: bytes in, bounded text and live lines out."""

from __future__ import annotations

import codecs

from jobs.handlers.base import OnLine

LIVE_LINES = 1_000
"""Lines of one command that go out live; then one that says so, and no more: a log is for people."""
LINE_CHARS = 4_000
"""A longer line is cut here, and so is the tail kept for error reports."""


class LiveLines:
    """Passes on the first `LIVE_LINES` lines of a command, both streams together, and a last one that says so."""

    def __init__(self, on_line: OnLine) -> None:
        self._on_line = on_line
        self._left = LIVE_LINES

    @property
    def is_open(self) -> bool:
        """Whether another line would be passed on."""
        return self._left >= 0

    def __call__(self, stream: str, line: str) -> None:
        self._left -= 1
        if self._left >= 0:
            self._on_line(stream, line)
        elif self._left == -1:
            self._on_line(stream, f"… more output is not shown live: only the first {LIVE_LINES:,} lines are")


class Output:
    """One stream of a command: keeps the first `max_chars` characters and the last `LINE_CHARS`, and splits live lines.

    Bytes that are not UTF-8, and NUL, which Postgres refuses, become U+FFFD.
    """

    def __init__(self, name: str, max_chars: int, live: LiveLines | None) -> None:
        self._name, self._live, self._room = name, live, max_chars
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._parts: list[str] = []
        self._line = ""
        self._line_is_cut = False
        self.tail = ""
        """The end of the stream, at most `LINE_CHARS` characters."""
        self.truncated = False
        """Whether there was more than is kept."""

    @property
    def kept(self) -> str:
        """The beginning of the stream."""
        return "".join(self._parts)

    def feed(self, data: bytes, *, last: bool = False) -> None:
        """Take the next bytes; characters may be split between calls. `last` also ends an unfinished line."""
        text = self._decoder.decode(data, final=last).replace("\0", "\ufffd")
        if self._room and text:
            self._parts.append(text[: self._room])
        self.truncated |= len(text) > self._room
        self._room = max(0, self._room - len(text))
        self.tail = (self.tail + text)[-LINE_CHARS:]
        if self._live is not None and self._live.is_open:
            self._split(text, self._live)
            if last and self._line:
                self._live(self._name, self._line)

    def _split(self, text: str, live: LiveLines) -> None:
        *ends, rest = text.split("\n")
        for end in ends:
            self._grow(end, live)
            if not self._line_is_cut:
                live(self._name, self._line.removesuffix("\r"))
            self._line, self._line_is_cut = "", False
        self._grow(rest, live)

    def _grow(self, text: str, live: LiveLines) -> None:
        """Lengthen the current line; one that gets too long goes out at once, and its rest nowhere."""
        if self._line_is_cut:
            return
        self._line += text
        if len(self._line) > LINE_CHARS:
            live(self._name, self._line[:LINE_CHARS])
            self._line, self._line_is_cut = "", True
