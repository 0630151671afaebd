"""A step of a smoke suite: it holds, it cannot be tried on this installation, or it fails and ends the suite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import httpx

from rauskuclaw.operations.text import Paint

State = Literal["passed", "skipped", "failed"]


class Failed(Exception):
    """A step does not hold. `fix`: what to do about it."""

    def __init__(self, what: str, fix: str) -> None:
        self.what, self.fix = what, fix
        super().__init__(what)


class Skipped(Exception):
    """A step cannot be tried on this installation; its text says why."""


@dataclass(frozen=True)
class Told:
    """What became of a step."""

    step: int
    title: str
    state: State
    detail: str


@dataclass
class Steps:
    """The steps of one run. Each is told as it begins and as it ends.

    total: how many the suite has. say: takes pieces of text; the pieces bring their own line breaks.
    """

    total: int
    say: Callable[[str], object]
    paint: Paint
    told: list[Told] = field(default_factory=list)
    _detail: str = ""

    @contextmanager
    def __call__(self, title: str) -> Iterator[None]:
        """One step. Skipped ends it and the suite goes on; Failed, and a server that does not answer, end the suite."""
        number = len(self.told) + 1
        self._detail = ""
        self.say(f"{number}/{self.total}  {title} … ")
        try:
            yield
        except Skipped as why:
            self._end(Told(number, title, "skipped", str(why)), "yellow")
        except Failed as failed:
            self._fail(number, title, failed)
            raise
        except httpx.HTTPError as error:
            away = Failed(
                f"the server does not answer: {error or type(error).__name__}",
                "Start it (`make up`), or name its address: --api http://HOST:PORT or API_BASE.",
            )
            self._fail(number, title, away)
            raise away from None
        except BaseException:
            self.say("\n")  # Ctrl-C: what follows begins a line
            raise
        else:
            self._end(Told(number, title, "passed", self._detail), "green")

    def note(self, detail: str) -> None:
        """What is worth knowing of the step under way."""
        self._detail = detail

    @property
    def skipped(self) -> int:
        """How many could not be tried."""
        return sum(it.state == "skipped" for it in self.told)

    def _fail(self, number: int, title: str, failed: Failed) -> None:
        self._end(Told(number, title, "failed", failed.what), "red")
        self.say(f"     → {failed.fix}\n")

    def _end(self, told: Told, colour: str) -> None:
        self.told.append(told)
        self.say(self.paint(told.state, colour) + (f": {told.detail}" if told.detail else "") + "\n")


def hold(condition: object, otherwise: str, fix: str) -> None:
    """Raises Failed unless `condition`."""
    if not condition:
        raise Failed(otherwise, fix)
