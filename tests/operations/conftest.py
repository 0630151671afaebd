"""Running `manage.py` commands, and a world for them to look at."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.management import call_command

from jobs import reconciler
from jobs.models import Node
from rauskuclaw import __version__, redis


@dataclass(frozen=True)
class Ran:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object on stdout."""
        return json.loads(self.out)


class Tee(io.StringIO):
    """A terminal or not, as told."""

    def __init__(self, *, tty: bool = False) -> None:
        super().__init__()
        self._tty = tty

    def isatty(self) -> bool:
        """As told."""
        return self._tty


Manage = Callable[..., Ran]


@pytest.fixture
def manage() -> Manage:
    """`manage("jobs", "list")` runs the command in this process."""

    def run(*arguments: str, out: Tee | None = None) -> Ran:
        out, err, code = out or Tee(), Tee(), 0
        try:
            call_command(*arguments, stdout=out, stderr=err)
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        return Ran(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def redis_away(configure: Callable[..., object]) -> Iterator[None]:
    """An address at which no Redis listens."""
    configure(REDIS_URL="redis://127.0.0.1:1/0")
    redis.forget()
    yield
    redis.forget()


@pytest.fixture
def live_stack(db: None) -> Node:
    """A worker on the queue default, and beat, both alive."""
    reconciler.note_beat()
    return Node.objects.create(
        id=uuid.uuid4(), kind=Node.Kind.WORKER, name="w1", host="h/boot/1", pid=1, pid_created_at=0,
        queues=["default"], concurrency=2, version=__version__,
    )  # fmt: skip
