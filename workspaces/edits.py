"""Changing a part of a text file, so that no change by somebody else is lost."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from workspaces import files
from workspaces.faults import BadPosition, Binary, Changed, Exists, Missing
from workspaces.files import IfMatch
from workspaces.paths import WorkspacePath
from workspaces.tree import Entry, Tree

WriteMode = Literal["replace", "append", "prepend", "insert_at", "replace_range"]
TARGETED = frozenset({"insert_at", "replace_range"})
"""Modes that need a file to change."""
MAX_FILE_BYTES = 10_485_760
"""Of a file that is changed, before and after."""
MAX_TRIES = 20
"""How often others may change the file between reading and writing it."""


@dataclass(frozen=True)
class Edit:
    """What becomes of a file. content: UTF-8. offset, start, end: in UTF-16 code units, as JavaScript counts."""

    content: bytes
    mode: WriteMode = "replace"
    offset: int = 0
    start: int = 0
    end: int = 0
    create_if_missing: bool = False
    mkdir_p: bool = False
    dry_run: bool = False
    expected_sha256: str | None = None

    def with_directories(self) -> Edit:
        """The same, making the directories that are missing."""
        return replace(self, mkdir_p=True)


@dataclass(frozen=True)
class Edited:
    """The file before (None: there was none) and after."""

    path: WorkspacePath
    before: bytes | None
    after: bytes

    @property
    def sha256_before(self) -> str | None:
        """In hex."""
        return None if self.before is None else hashlib.sha256(self.before).hexdigest()

    @property
    def sha256_after(self) -> str:
        """In hex."""
        return hashlib.sha256(self.after).hexdigest()


def apply(tree: Tree, path: WorkspacePath, edit: Edit) -> Edited:
    """Change the file; with `dry_run` only tell how.

    Raises Missing unless it may be created, ParentMissing, Changed for another `expected_sha256`, TooLarge, and Binary
    where a part is to be changed of what is no UTF-8.
    """
    for _ in range(MAX_TRIES):
        entry, before = _read(tree, path, edit)
        edited = Edited(path, before, _after(path, before, edit))
        if edit.expected_sha256 and edit.expected_sha256.lower() != edited.sha256_before:
            details = {"expected": edit.expected_sha256.lower(), "current": edited.sha256_before}
            raise Changed(f"{path} is not the version that was expected: read it again.", details)
        files.require_size(edited.after, max_bytes=MAX_FILE_BYTES)
        if edit.dry_run or edited.before == edited.after:
            return edited
        # Whoever changed it meanwhile must not be overwritten: then it is read again.
        exists = entry is not None
        if_match = files.ANY if entry is None else IfMatch([entry.etag])
        put = partial(files.put, overwrite=exists, must_exist=exists, make_parents=edit.mkdir_p, if_match=if_match)
        try:
            put(tree, path, edited.after)
        except (Changed, Exists, Missing):
            continue
        return edited
    raise Changed(f"{path} is changed by others all the time: try again.")


def _read(tree: Tree, path: WorkspacePath, edit: Edit) -> tuple[Entry | None, bytes | None]:
    try:
        return files.read(tree, path, max_bytes=MAX_FILE_BYTES)
    except Missing:
        if edit.mode in TARGETED or not edit.create_if_missing:
            raise
    if not edit.mkdir_p:
        with tree.parent(path):  # Raises ParentMissing, for a dry run, too.
            pass
    return None, None


def _after(path: WorkspacePath, before: bytes | None, edit: Edit) -> bytes:
    old = before or b""
    if edit.mode == "replace":
        return edit.content
    if edit.mode == "append":
        return old + edit.content
    if edit.mode == "prepend":
        return edit.content + old
    try:
        units = old.decode().encode("utf-16-le")
    except UnicodeDecodeError:
        raise Binary(path) from None
    start, end = (edit.offset, edit.offset) if edit.mode == "insert_at" else (edit.start, edit.end)
    try:
        # Slicing clamps to the length, as the contract does.
        head, tail = units[: 2 * start].decode("utf-16-le"), units[2 * end :].decode("utf-16-le")
    except UnicodeDecodeError:
        raise BadPosition(
            "offset" if edit.mode == "insert_at" else "start or end", "is inside of a character"
        ) from None
    return head.encode() + edit.content + tail.encode()
