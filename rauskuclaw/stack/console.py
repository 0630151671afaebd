"""What the person at the terminal sees."""

import contextlib
import json
import os
import time
from typing import TextIO

_COLOURS = (36, 33, 32, 35, 34, 31)
_DIM, _BOLD, _RED = 2, 1, 31


class Console:
    """Progress, the services' own lines, and events; one line each.

    as_json: one object a line (`event`, `service`?, `text`, `seconds` since the start) for programs.
    Colours only on a terminal and without NO_COLOR. A reader that went away (`make up | head`) is no reason to stop.
    """

    def __init__(self, out: TextIO, *, as_json: bool = False) -> None:
        self._out = out
        self._as_json = as_json
        self._coloured = not as_json and out.isatty() and not os.environ.get("NO_COLOR")
        self._since: float | None = time.monotonic()
        self._started = time.monotonic()
        self._width = 8
        self._names: list[str] = []

    def use_clock(self, *, elapsed: bool) -> None:
        """Begin lines with the seconds from now on (starting, stopping), or with the time of day (running)."""
        self._since = time.monotonic() if elapsed else None

    def step(self, service: str, text: str) -> None:
        """One thing is done: `  0.41 s  postgres  listening on 127.0.0.1:20111`."""
        self._write("step", text, f"{self._time()}  {self._paint(service)}  {text}", service)

    def event(self, text: str, service: str = "") -> None:
        """Something to know, as a sentence: `12:03:01  worker died (signal 9); restart 1 in 0.5 s`."""
        self._write("event", text, f"{self._time()}  {self._style(text, _BOLD)}", service)

    def output(self, service: str, text: str) -> None:
        """One line that a service wrote."""
        self._write("output", text, f"{self._paint(service)} {self._style('|', _DIM)} {text}", service)

    def result(self, name: str, text: str) -> None:
        """A line for the reader to use, without ornament: `ready: http://…`."""
        self._write(name, text, f"{name.replace('_', ' ')}: {text}")

    def error(self, text: str) -> None:
        """Why the stack does not run."""
        self._write("error", text, self._style("error: ", _RED) + text)

    def _time(self) -> str:
        stamp = time.strftime("%H:%M:%S") if self._since is None else f"{time.monotonic() - self._since:6.2f} s"
        return self._style(stamp, _DIM)

    def _paint(self, service: str) -> str:
        if service not in self._names:
            self._names.append(service)
        return self._style(f"{service:<{self._width}}", _COLOURS[self._names.index(service) % len(_COLOURS)])

    def _style(self, text: str, code: int) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._coloured else text

    def _write(self, event: str, text: str, line: str, service: str = "") -> None:
        if self._as_json:
            fields = {"event": event, "service": service, "text": text}
            seconds = round(time.monotonic() - self._started, 3)
            line = json.dumps({name: value for name, value in fields.items() if value} | {"seconds": seconds})
        with contextlib.suppress(OSError, ValueError):
            self._out.write(line + "\n")
            self._out.flush()
