"""What a worker runs its attempts in, as the worker's agent sees it: the same for processes and for coroutines."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

from jobs.slots import Held, Why
from rauskuclaw.wire import PoolName


class End(enum.Enum):
    """How an attempt ended that could not say so itself."""

    TIMED_OUT = "timed out"
    """It did not stop at its time limit."""
    LOST = "lost"
    """What ran it is gone."""
    AT_FAULT = "at fault"
    """It kept the worker's other attempts from running."""
    UNBEGUN = "unbegun"
    """Its handler never ran."""


@dataclass(frozen=True)
class Death:
    """An attempt whose row must be told by the agent how it ended."""

    held: Held
    end: End
    detail: str = ""


class Pool(Protocol):
    """All that an agent needs of a pool. Called by the agent's thread."""

    concurrency: int

    @property
    def name(self) -> PoolName:
        """Which handlers it runs."""

    def held(self) -> list[Held]:
        """The attempts that run now."""

    def runs(self, held: Held) -> bool:
        """Whether this attempt still runs."""

    def interrupt(self, held: Held, why: Why) -> None:
        """Ask the attempt's handler to stop."""

    def kill(self, held: Held) -> bool:
        """Take the attempt's place from it: it did not stop when asked. False if it runs no more."""

    def deaths(self) -> list[Death]:
        """The attempts found dead since the last call."""

    def bury(self, death: Death) -> None:
        """The row is told: clear away what the attempt left."""

    @property
    def is_broken(self) -> bool:
        """Whether the worker must be replaced once the deaths are settled: nothing runs in it any more."""
