"""What the handlers of the workspace share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from pydantic import StringConstraints

from jobs.handlers.base import AttemptFailed, Needs
from rauskuclaw import errors
from rauskuclaw.config import load
from workspaces.faults import WorkspaceFault
from workspaces.paths import WorkspacePath, parse
from workspaces.tree import Tree

MIB = 1_048_576
FILES = Needs(files=True)

RelativePath = Annotated[str, StringConstraints(max_length=2000)]


def require_reading(job_type: str) -> None:
    """Raise HANDLER_DISABLED unless files may be read."""
    if not load().data_file_read_enabled:
        raise AttemptFailed(errors.HANDLER_DISABLED, f"DATA_FILE_READ_ENABLED=1 required for {job_type}")


def require_writing(job_type: str) -> None:
    """Raise HANDLER_DISABLED unless files may be written."""
    if not load().data_file_write_enabled:
        raise AttemptFailed(errors.HANDLER_DISABLED, f"DATA_FILE_WRITE_ENABLED=1 required for {job_type}")


@contextmanager
def failing_as_jobs_do() -> Iterator[None]:
    """A fault of the workspace as the failure of the attempt."""
    try:
        yield
    except WorkspaceFault as fault:
        raise AttemptFailed(fault.job_code, fault.message.removesuffix("."), fault.details) from None


def candidates(tree: Tree, text: str, asked_as: str = "path") -> list[WorkspacePath]:
    """What models and people mean by a path: as it is, with `/` for each backslash; and without a leading `workspace/`.

    Raises Refused.
    """
    as_given = parse(text.replace("\\", "/"), root=tree.root, asked_as=asked_as)
    if as_given.parts[:1] != ("workspace",):
        return [as_given]
    return [as_given, WorkspacePath(as_given.parts[1:], asked_as)]


def first_existing(tree: Tree, text: str, asked_as: str = "path") -> WorkspacePath:
    """The first candidate that exists; the first where none does. Raises Refused."""
    found = candidates(tree, text, asked_as)
    return next((path for path in found if _exists(tree, path)), found[0])


def _exists(tree: Tree, path: WorkspacePath) -> bool:
    try:
        tree.look(path)
    except WorkspaceFault:
        return False
    return True
