"""A context that runs one handler outside a worker, with real processes."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest

from access import runtime_tools
from jobs import processes
from jobs.handlers.base import Child, ChildResult, Completed, Handler, Level, OnChildFailure, OnLine, Spawn


@pytest.fixture(autouse=True)
def nothing_overridden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers run here without a database that could hold overrides of their settings."""
    runtime_tools.forget()
    monkeypatch.setattr(runtime_tools, "read", dict)


@dataclass
class Context:
    """The `JobContext` of these tests: what a handler logs is in `logs`."""

    input: Any
    workspace: Path
    cookie: str
    left_sec: float = 30.0
    job_id: uuid.UUID = field(default_factory=uuid.uuid4)
    attempt: int = 1
    cancelled: bool = False
    children: Sequence[ChildResult] = ()
    state: Any = None
    deadline: datetime = field(default_factory=lambda: datetime.now(UTC) + timedelta(seconds=30))
    logs: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def log(self, message: str, level: Level = "info", **meta: Any) -> None:
        self.logs.append((message, level, meta))

    def progress(self, fraction: float, message: str = "") -> None: ...

    def emit(self, text: str) -> None: ...

    def spawn(self, children: Sequence[Child], *, on_failure: OnChildFailure = "fail", state: Any = None) -> NoReturn:
        raise Spawn(children, on_failure, state)

    def remaining_sec(self) -> float:
        return self.left_sec

    def run_process(
        self,
        argv: list[str],
        *,
        timeout_sec: float,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        max_chars: int = 256_000,
        live: bool = True,
        on_line: OnLine | None = None,
    ) -> Completed:
        return processes.run(
            argv,
            cookie=self.cookie,
            timeout_sec=timeout_sec,
            env=env,
            cwd=cwd or self.workspace,
            max_chars=max_chars,
            on_line=on_line or ((lambda stream, line: self.log(line, stream=stream)) if live else None),
        )


def left_in(directory: Path) -> list[str]:
    """The processes at work in a directory: what a test left, found without the help of what it tests."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(directory):
                found.append(process.name())
    return found


@pytest.fixture
def cookie() -> Iterator[str]:
    """A cookie of this test's own; whatever still carries it at the end is killed."""
    mine = f"{uuid.uuid4()}/job/1"
    yield mine
    processes.kill_marked(mine)


@pytest.fixture
def context(tmp_path: Path, cookie: str) -> Callable[..., Context]:
    """`context(handler, input, …)`: the context of one attempt, its input validated as a worker does."""

    def make(handler: type[Handler[Any, Any]], given: Any = None, **fields: Any) -> Context:
        return Context(input=handler.Input.model_validate(given or {}), workspace=tmp_path, cookie=cookie, **fields)

    return make
