"""Confinement: every file of the workspace is opened here, and nothing outside of it ever is.

A path is walked one name at a time, each opened relative to the directory before (`dir_fd`) and never through a link
(`O_NOFOLLOW`). So whoever swaps a directory for a link while the walk goes on gets an error, not another file. The last
step, too, is relative to the open directory. Why not `openat2`: docs/adr/0021-workspace-confinement.md.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

from rauskuclaw import errors
from rauskuclaw.config import load
from rauskuclaw.errors import Code
from workspaces.faults import Busy, Exists, Failed, Missing, ParentMissing, Refused, WrongKind
from workspaces.paths import DRAFT_PREFIX, WorkspacePath, is_presentable, require_new_name
from workspaces.renaming import rename_new

Kind = Literal["file", "dir", "link", "other"]

LOCK_PATIENCE_SEC = 5.0
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# NONBLOCK and NOCTTY: should a FIFO or a terminal take the file's place just before, opening it does no harm.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Entry:
    """What is at a path.

    kind: `other` is what cannot be opened here: a device, a FIFO, a socket, a file with a second name elsewhere.
    info: of the entry itself, never of what a link leads to.
    """

    path: WorkspacePath
    kind: Kind
    info: os.stat_result

    @classmethod
    def of(cls, path: WorkspacePath, info: os.stat_result) -> Entry:
        """What such a `stat` tells."""
        if stat.S_ISDIR(info.st_mode):
            return cls(path, "dir", info)
        if stat.S_ISLNK(info.st_mode):
            return cls(path, "link", info)
        return cls(path, "file" if stat.S_ISREG(info.st_mode) and info.st_nlink <= 1 else "other", info)

    @property
    def size(self) -> int | None:
        """In bytes; None for what is no file."""
        return self.info.st_size if self.kind == "file" else None

    @property
    def modified_at(self) -> datetime:
        """When its content changed last; aware, UTC."""
        return datetime.fromtimestamp(self.info.st_mtime, UTC)

    @property
    def etag(self) -> str:
        """Its version: another one after each change. Quoted, as in the ETag header."""
        info = self.info
        facts = f"{info.st_dev} {info.st_ino} {info.st_size} {info.st_mtime_ns} {info.st_ctime_ns}"
        return f'"{hashlib.blake2b(facts.encode(), digest_size=12).hexdigest()}"'


class Tree:
    """The workspace as a tree of open directories. Cheap to make; holds nothing open."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def directory(self, path: WorkspacePath) -> Iterator[int]:
        """The descriptor of a directory, while the block lasts. Raises Missing, WrongKind, Refused, Failed."""
        try:
            fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise Failed(errors.WORKSPACE_READ_FAILED, "the workspace cannot be opened", error) from None
        try:
            for depth, name in enumerate(path.parts, 1):
                below = _enter(fd, name, WorkspacePath(path.parts[:depth], path.asked_as))
                fd, above = below, fd
                os.close(above)
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def parent(self, path: WorkspacePath, *, make: bool = False) -> Iterator[int]:
        """The descriptor of the directory that holds `path`. make: missing ones are made, as `mkdir -p` does.

        Raises as `directory`; ParentMissing where it is missing; WrongKind for the root, which nothing holds.
        """
        if not path.parts:
            raise WrongKind(path.asked_as, "is the workspace itself")
        if make:
            self.make_directories(path.parent)
        with ExitStack() as opened:
            try:
                fd = opened.enter_context(self.directory(path.parent))
            except Missing:
                raise ParentMissing(path.asked_as, path.parent) from None
            yield fd

    def make_directories(self, path: WorkspacePath) -> None:
        """Make a directory and those above it that are missing."""
        for depth in range(1, len(path.parts) + 1):
            wanted = WorkspacePath(path.parts[:depth], path.asked_as)
            with suppress(Exists):
                self.make_directory(wanted)

    def make_directory(self, path: WorkspacePath) -> None:
        """Make one directory. Raises Exists, ParentMissing, and as `directory`."""
        require_new_name(path)
        with self.parent(path) as fd, failing(errors.WORKSPACE_WRITE_FAILED, path):
            try:
                os.mkdir(path.name, dir_fd=fd)
            except FileExistsError:
                raise Exists(path) from None
            os.fsync(fd)

    def look(self, path: WorkspacePath) -> Entry:
        """What is at `path`. Raises Missing, and as `directory`."""
        if not path.parts:
            with self.directory(path) as fd:
                return Entry.of(path, os.fstat(fd))
        with self._holding(path) as fd:
            return look_at(fd, path)

    def open(self, path: WorkspacePath) -> BinaryIO:
        """A file, open for reading; the caller closes it. Raises Missing, WrongKind, Refused, Failed."""
        with self._holding(path) as fd:
            return open_at(fd, path)

    def entries(self, path: WorkspacePath) -> Iterator[Entry]:
        """What a directory holds, in no order. Names that cannot be asked for are left out."""
        with self.directory(path) as fd, failing(errors.WORKSPACE_READ_FAILED, path), os.scandir(fd) as found:
            for item in found:
                if is_presentable(item.name):
                    with suppress(FileNotFoundError):
                        info = item.stat(follow_symlinks=False)
                        yield Entry.of(path / item.name, info)

    @contextmanager
    def _holding(self, path: WorkspacePath) -> Iterator[int]:
        """As `parent`, for something that must exist."""
        try:
            with self.parent(path) as fd:
                yield fd
        except ParentMissing:
            raise Missing(path) from None


def workspace() -> Tree:
    """The workspace of the configuration, made on first use."""
    root = load().workspace_root
    root.mkdir(parents=True, exist_ok=True)
    return Tree(root)


class Draft:
    """A file in the making: hidden, in a directory of the workspace, and gone unless it is published.

    A context manager. What is written is on the disk (`fsync`) before it gets its name, and so is the name before
    `publish` returns: a crash leaves the old file or the new one.
    """

    def __init__(self, dir_fd: int, *, mode: int = 0o666) -> None:
        self._dir_fd = os.dup(dir_fd)
        self._name = f"{DRAFT_PREFIX}{secrets.token_hex(8)}"
        self.size = 0
        self._published = False
        try:
            self._fd = os.open(self._name, _CREATE, mode, dir_fd=self._dir_fd)
        except BaseException:
            os.close(self._dir_fd)
            raise

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
        if not self._published:
            with suppress(FileNotFoundError):
                os.unlink(self._name, dir_fd=self._dir_fd)
        os.close(self._dir_fd)

    def write(self, data: bytes) -> None:
        """Append."""
        view = memoryview(data)
        while view:
            written = os.write(self._fd, view)
            view, self.size = view[written:], self.size + written

    def like(self, info: os.stat_result) -> None:
        """Take the permissions of the file that it replaces, and its owner where that is allowed."""
        os.fchmod(self._fd, stat.S_IMODE(info.st_mode) & 0o777)
        with suppress(PermissionError):
            os.fchown(self._fd, info.st_uid, info.st_gid)

    def sync(self) -> None:
        """Have it on the disk."""
        os.fsync(self._fd)

    def publish(self, dir_fd: int, path: WorkspacePath, *, replace: bool) -> Entry:
        """Give it its name in `dir_fd`, after `sync`. Raises Exists unless `replace`."""
        try:
            rename(self._name, path, from_fd=self._dir_fd, to_fd=dir_fd, replace=replace)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            return self._publish_elsewhere(dir_fd, path, replace=replace)
        self._published = True
        os.fsync(dir_fd)
        return Entry.of(path, os.fstat(self._fd))

    def _publish_elsewhere(self, dir_fd: int, path: WorkspacePath, *, replace: bool) -> Entry:
        """Where another file system is mounted in the workspace: by way of a draft there."""
        with Draft(dir_fd) as there, os.fdopen(os.open(self._name, _READ, dir_fd=self._dir_fd), "rb") as own:
            there.like(os.fstat(self._fd))
            while piece := own.read(1 << 20):
                there.write(piece)
            there.sync()
            return there.publish(dir_fd, path, replace=replace)


def look_at(dir_fd: int, path: WorkspacePath) -> Entry:
    """What the last name of `path` is in an open directory. Raises Missing."""
    with failing(errors.WORKSPACE_READ_FAILED, path):
        try:
            info = os.stat(path.name, dir_fd=dir_fd, follow_symlinks=False)
        except FileNotFoundError:
            raise Missing(path) from None
        return Entry.of(path, info)


def open_at(dir_fd: int, path: WorkspacePath) -> BinaryIO:
    """The regular file that the last name of `path` is in an open directory."""
    # Looked at before it is opened, as opening a device may do something; and after, as it may be another by then.
    require_file(look_at(dir_fd, path))
    with failing(errors.WORKSPACE_READ_FAILED, path):
        try:
            fd = os.open(path.name, _READ, dir_fd=dir_fd)
        except FileNotFoundError:
            raise Missing(path) from None
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENXIO}:
                raise Refused(path.asked_as, "changed into something that is no file") from None
            raise
    file = os.fdopen(fd, "rb")
    try:
        require_file(Entry.of(path, os.fstat(fd)))
    except BaseException:
        file.close()
        raise
    return file


def require_file(entry: Entry) -> None:
    """Raise WrongKind for a directory, Refused for what is no plain file with one name."""
    path = entry.path
    if entry.kind == "dir":
        raise WrongKind(path.asked_as, f"is not a file: {path} is a directory")
    if entry.kind != "file":
        raise Refused(path.asked_as, f"is not a file: {path} is {_words(entry.info)}")


def rename(name: str, path: WorkspacePath, *, from_fd: int, to_fd: int, replace: bool) -> None:
    """Give `name` of one open directory the last name of `path` in another. Raises Exists unless `replace`."""
    require_new_name(path)
    if replace:
        os.rename(name, path.name, src_dir_fd=from_fd, dst_dir_fd=to_fd)
        return
    try:
        rename_new(name, path.name, from_fd=from_fd, to_fd=to_fd)
    except FileExistsError:
        raise Exists(path) from None


def remove_tree(dir_fd: int, name: str) -> None:
    """Remove a directory of an open one, with all it holds; links in it are removed, not followed."""
    shutil.rmtree(name, dir_fd=dir_fd)


@contextmanager
def locked(*dir_fds: int) -> Iterator[None]:
    """While the block lasts, nobody else who asks changes names in these directories. Raises Busy.

    On this machine; on file systems that lock no directories (NFS) there is no lock.
    """
    unique = {identity_of(fd): fd for fd in dir_fds}
    with ExitStack() as held:
        # In one order everywhere, so that two who want the same two cannot wait for each other.
        for _, fd in sorted(unique.items()):
            _lock(fd)
            held.callback(fcntl.flock, fd, fcntl.LOCK_UN)
        yield


def _lock(fd: int) -> None:
    deadline = time.monotonic() + LOCK_PATIENCE_SEC
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Busy("Another program holds the directory: try again in a moment.") from None
            time.sleep(0.01)
        except OSError:
            return
        else:
            return


def identity_of(fd: int) -> tuple[int, int]:
    """What tells an open directory or file from all others: device and inode."""
    info = os.fstat(fd)
    return info.st_dev, info.st_ino


def _enter(fd: int, name: str, path: WorkspacePath) -> int:
    """The directory `name` of an open one."""
    try:
        return os.open(name, _DIRECTORY, dir_fd=fd)
    except FileNotFoundError:
        raise Missing(path) from None
    except OSError as error:
        if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
            raise Failed(errors.WORKSPACE_READ_FAILED, f"{path} cannot be opened", error) from None
    entry = look_at(fd, path)
    if entry.kind == "link":
        raise Refused(path.asked_as, f"leads through {path}, which is a link; links are not followed")
    raise WrongKind(path.asked_as, f"is not a directory: {path}")


def _words(info: os.stat_result) -> str:
    if stat.S_ISREG(info.st_mode):
        return "a hard link: the file has another name, perhaps outside of the workspace"
    if stat.S_ISLNK(info.st_mode):
        return "a link, and links are not followed"
    return "a FIFO, a socket or a device"


@contextmanager
def failing(code: Code, path: WorkspacePath) -> Iterator[None]:
    """What the file system refuses, as Failed with `code`."""
    try:
        yield
    except OSError as error:
        raise Failed(code, f"{path}", error) from None
