"""What can be done with the files of the workspace. Every change is atomic: others see the old state or the new one."""

from __future__ import annotations

import heapq
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rauskuclaw import errors
from rauskuclaw.api.fields import iso_ms
from workspaces.faults import Binary, Changed, Exists, Missing, TooLarge, WrongKind
from workspaces.paths import DRAFT_PREFIX, WorkspacePath, require_new_name
from workspaces.tree import (
    Draft,
    Entry,
    Tree,
    failing,
    locked,
    look_at,
    remove_tree,
    rename,
    require_file,
)

UNLISTED = frozenset({".gitkeep", ".codex-home"})
"""Never in listings; they can be read (contract 11)."""
LOOKED_AT_BYTES = 8192
"""Where a NUL tells that a file is not text (contract 11)."""

Place = tuple[bool, str, str]
"""Where an entry stands in a listing: directories first, then by name without case."""


def place(name: str, *, is_file: bool) -> Place:
    """The place of such an entry."""
    return is_file, name.casefold(), name


def place_of(entry: Entry) -> Place:
    """Its place."""
    return place(entry.path.name, is_file=entry.kind != "dir")


@dataclass(frozen=True)
class IfMatch:
    """Which versions of a file may be changed. None: any, and none at all."""

    etags: Sequence[str] | None = None

    def check(self, path: WorkspacePath, found: Entry | None) -> None:
        """Raise Changed, with both versions, unless `found` is one of them; `*` is any that exists."""
        if self.etags is None or (found is not None and ("*" in self.etags or found.etag in self.etags)):
            return
        current = found and {"etag": found.etag, "size": found.size, "modified_at": iso_ms(found.modified_at)}
        state = "has changed meanwhile" if found else "is gone"
        raise Changed(f"{path} {state}: read it again and decide.", {"expected": list(self.etags), "current": current})


ANY = IfMatch()


def listing(tree: Tree, path: WorkspacePath, *, limit: int, after: Place | None = None) -> list[Entry]:
    """The first `limit` entries of a directory that come after a place."""
    wanted = (
        entry
        for entry in tree.entries(path)
        if entry.path.name not in UNLISTED and (after is None or place_of(entry) > after)
    )
    return heapq.nsmallest(limit, wanted, key=place_of)


def read(tree: Tree, path: WorkspacePath, *, max_bytes: int) -> tuple[Entry, bytes]:
    """A whole file. Raises TooLarge, and what `Tree.open` raises."""
    with tree.open(path) as file, failing(errors.WORKSPACE_READ_FAILED, path):
        data = file.read(max_bytes + 1)
        entry = Entry.of(path, os.fstat(file.fileno()))
    if len(data) > max_bytes:
        raise TooLarge(str(path), size=max(len(data), entry.info.st_size), max_bytes=max_bytes)
    return entry, data


def is_binary(data: bytes) -> bool:
    """Whether the beginning of a file says that it is not text."""
    return b"\0" in data[:LOOKED_AT_BYTES]


def write(
    tree: Tree, path: WorkspacePath, data: bytes, *, max_bytes: int, if_match: IfMatch = ANY, text: bool = True
) -> Entry:
    """Replace the content of a file that exists. text: refuse where what is there is not (raises Binary)."""
    require_size(data, max_bytes=max_bytes)
    with tree.open(path) as file, failing(errors.WORKSPACE_READ_FAILED, path):
        if text and is_binary(file.read(LOOKED_AT_BYTES)):
            raise Binary(path)
    return put(tree, path, data, overwrite=True, must_exist=True, if_match=if_match)


def create(
    tree: Tree, path: WorkspacePath, data: bytes, *, max_bytes: int, overwrite: bool = False, if_match: IfMatch = ANY
) -> Entry:
    """Make a file. Raises Exists unless `overwrite`, TooLarge, ParentMissing, WrongKind."""
    require_size(data, max_bytes=max_bytes)
    return put(tree, path, data, overwrite=overwrite, if_match=if_match)


def put(
    tree: Tree,
    path: WorkspacePath,
    data: bytes,
    *,
    overwrite: bool,
    must_exist: bool = False,
    make_parents: bool = False,
    if_match: IfMatch = ANY,
) -> Entry:
    """Have a file hold `data`, as `publish` does."""
    with (
        tree.parent(path, make=make_parents) as fd,
        failing(errors.WORKSPACE_WRITE_FAILED, path),
        Draft(fd) as draft,
    ):
        draft.write(data)
        return publish(tree, draft, path, overwrite=overwrite, must_exist=must_exist, if_match=if_match)


def publish(
    tree: Tree,
    draft: Draft,
    path: WorkspacePath,
    *,
    overwrite: bool,
    must_exist: bool = False,
    if_match: IfMatch = ANY,
) -> Entry:
    """Publish a draft at `path`. What it replaces must be a plain file, whose permissions it takes."""
    draft.sync()
    with tree.parent(path) as fd, locked(fd), failing(errors.WORKSPACE_WRITE_FAILED, path):
        found = _look(fd, path)
        if found is None and must_exist:
            raise Missing(path)
        if found is not None:
            require_file(found)
            if not overwrite:
                raise Exists(path)
            draft.like(found.info)
        if_match.check(path, found)
        return draft.publish(fd, path, replace=found is not None)


def create_directory(tree: Tree, path: WorkspacePath, *, overwrite: bool = False) -> Entry:
    """Make a directory; with `overwrite` it may exist. Raises Exists, ParentMissing, WrongKind."""
    try:
        tree.make_directory(path)
    except Exists:
        found = tree.look(path)
        if found.kind != "dir":
            raise WrongKind(path.asked_as, f"is not a directory: {path}") from None
        if not overwrite:
            raise
        return found
    return tree.look(path)


def delete(tree: Tree, path: WorkspacePath, *, recursive: bool = False, if_match: IfMatch = ANY) -> None:
    """Delete what is no directory; with `recursive` also one with all it holds. A link goes, not what it leads to."""
    with tree.directory(path.parent) if path.parts else tree.parent(path) as fd, locked(fd):
        found = look_at(fd, path)
        if_match.check(path, found)
        if found.kind == "dir" and not recursive:
            raise WrongKind(path.asked_as, f"is not a file: {path} is a directory (send recursive=1 to delete it)")
        with failing(errors.WORKSPACE_DELETE_FAILED, path):
            if found.kind != "dir":
                os.unlink(path.name, dir_fd=fd)
            else:
                remove_tree(fd, _put_aside(fd, path))
            os.fsync(fd)


def move(
    tree: Tree, source: WorkspacePath, target: WorkspacePath, *, overwrite: bool = False, if_match: IfMatch = ANY
) -> bool:
    """Move or rename; False if both are the same. if_match: of the source.

    Raises Missing, ParentMissing, Exists, Changed; WrongKind for a directory into itself, or a file over a directory.
    """
    moved = tree.look(source)
    if source == target:
        if_match.check(source, moved)
        return False
    require_new_name(target)
    if moved.kind == "dir" and target.is_beneath(source):
        raise WrongKind(target.asked_as, "is inside of what is to be moved")
    with tree.parent(source) as from_fd, tree.parent(target) as to_fd, locked(from_fd, to_fd):
        moved, there = look_at(from_fd, source), _look(to_fd, target)
        if_match.check(source, moved)
        if there is not None and not overwrite:
            raise Exists(target)
        if there is not None and (there.kind == "dir") != (moved.kind == "dir"):
            raise WrongKind(target.asked_as, f"is a {there.kind}, and {source} is a {moved.kind}")
        with failing(errors.WORKSPACE_MOVE_FAILED, source):
            if there is not None and there.kind == "dir":
                _replace_directory(source, target, from_fd=from_fd, to_fd=to_fd)
            else:
                rename(source.name, target, from_fd=from_fd, to_fd=to_fd, replace=there is not None)
            os.fsync(to_fd)
            os.fsync(from_fd)
    return True


def _replace_directory(source: WorkspacePath, target: WorkspacePath, *, from_fd: int, to_fd: int) -> None:
    aside = _put_aside(to_fd, target)
    try:
        rename(source.name, target, from_fd=from_fd, to_fd=to_fd, replace=False)
    except BaseException:
        os.rename(aside, target.name, src_dir_fd=to_fd, dst_dir_fd=to_fd)
        raise
    remove_tree(to_fd, aside)


def require_size(data: bytes, *, max_bytes: int) -> None:
    """Raise TooLarge."""
    if len(data) > max_bytes:
        raise TooLarge("the content", size=len(data), max_bytes=max_bytes)


def file_json(entry: Entry) -> dict[str, Any]:
    """A file as the API shows it."""
    return {
        "path": str(entry.path),
        "size": entry.info.st_size,
        "modified_at": iso_ms(entry.modified_at),
        "etag": entry.etag,
    }


def entry_json(entry: Entry) -> dict[str, Any]:
    """A line of a listing."""
    return {
        "name": entry.path.name,
        "path": str(entry.path),
        "is_dir": entry.kind == "dir",
        "size": entry.size,
        "modified_at": iso_ms(entry.modified_at),
        "kind": entry.kind,
        "etag": entry.etag,
    }


def _look(dir_fd: int, path: WorkspacePath) -> Entry | None:
    with suppress(Missing):
        return look_at(dir_fd, path)
    return None


def _put_aside(dir_fd: int, path: WorkspacePath) -> str:
    """Hide a directory at once, so that nobody sees it half deleted; its hidden name."""
    aside = f"{DRAFT_PREFIX}{secrets.token_hex(8)}"
    os.rename(path.name, aside, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    return aside
