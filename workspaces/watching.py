"""Watching directories: one inotify descriptor an event loop, one watch a directory, any number of subscribers.

What is told is the present state of the names that changed, a few times a second at most, so no slow subscriber and no
busy program makes a queue grow. Whenever changes may have been missed, subscribers are told to load their list again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self
from weakref import WeakKeyDictionary

from asyncinotify import Inotify, Mask, Watch

from jobs.live.events import HEARTBEAT, RESYNC, Event, to_json
from jobs.live.follow import HEARTBEAT_SEC
from jobs.live.pace import now, set_or_time
from rauskuclaw import errors
from rauskuclaw.config import load
from rauskuclaw.errors import Problem
from workspaces.faults import Missing, WorkspaceFault
from workspaces.files import UNLISTED, entry_json
from workspaces.paths import WorkspacePath, is_presentable
from workspaces.tree import Tree, identity_of, look_at

logger = logging.getLogger(__name__)

INTERVAL_SEC = 0.1
"""Between two looks at what has happened; the kernel joins what is alike in between."""
PENDING_MOST = 1000
"""Changed names kept for a subscriber; when there are more, it is told to load its listing again instead."""
SUBSCRIBERS_MOST = 1000
"""Of one web process."""
EVENTS_AT_ONCE = 256
EVENTS_MOST = 16_384
"""Taken in one go: the event loop has others to serve."""
_WATCHED = (
    Mask.CREATE
    | Mask.DELETE
    | Mask.MODIFY
    | Mask.CLOSE_WRITE
    | Mask.MOVE
    | Mask.DELETE_SELF
    | Mask.MOVE_SELF
    | Mask.ONLYDIR
)
_GONE = Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.UNMOUNT | Mask.IGNORED
_ENDED = Event("end", to_json({"reason": "gone"}))

Identity = tuple[int, int]
"""Device and inode of a directory."""


class Subscriber:
    """One who watches a directory: an asynchronous iterator of batches of `resync`, `changes`, heartbeats and `end`.

    The first event is `resync`: changes are told from here on, so load the listing now. `end` is the last one: the
    directory was deleted or moved.
    """

    def __init__(self) -> None:
        self._changes: dict[str, dict[str, Any]] = {}
        self._resync = True
        self._ended = self._over = False
        self._wake = asyncio.Event()
        self._wake.set()
        self._beat_at = now() + HEARTBEAT_SEC

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[Event, ...]:
        while not self._over:
            await set_or_time(self._wake, self._beat_at)
            self._wake.clear()
            events = [RESYNC] if self._resync else []
            if self._changes:
                events.append(Event("changes", to_json({"changes": list(self._changes.values())})))
            self._resync = False
            self._changes.clear()
            if now() >= self._beat_at:
                events.append(HEARTBEAT)
                self._beat_at = now() + HEARTBEAT_SEC
            if self._ended:
                events.append(_ENDED)
                self._over = True
            if events:
                return tuple(events)
        raise StopAsyncIteration

    def deliver(self, changes: list[dict[str, Any]]) -> None:
        """Hand over the present state of names that changed."""
        self._changes |= {change["name"]: change for change in changes}
        if len(self._changes) > PENDING_MOST:
            self.resync()
        self._wake.set()

    def resync(self) -> None:
        """Changes may have been missed."""
        self._changes.clear()
        self._resync = True
        self._wake.set()

    def end(self) -> None:
        """There is nothing more to watch."""
        self._ended = True
        self._wake.set()


class _Directory:
    """A watched directory, by the path that it was asked for."""

    def __init__(self, tree: Tree, path: WorkspacePath, identity: Identity, watch: Watch) -> None:
        self.tree, self.path, self.identity, self.watch = tree, path, identity, watch
        self.subscribers: dict[Subscriber, None] = {}
        self.changed: dict[str, None] = {}
        self.missed = self.gone = False

    def look(self) -> list[dict[str, Any]] | None:
        """What the changed names are now; None where the path leads here no more. May block."""
        try:
            with self.tree.directory(self.path) as fd:
                if identity_of(fd) != self.identity:
                    return None
                return [_change(fd, self.path / name) for name in self.changed]
        except WorkspaceFault:
            return None


class Watches:
    """All watched directories of an event loop. Only to be used on it."""

    def __init__(self) -> None:
        self._inotify: Inotify | None = None
        self._directories: dict[WorkspacePath, _Directory] = {}
        self._work = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return sum(len(directory.subscribers) for directory in self._directories.values())

    @contextmanager
    def watching(self, tree: Tree, path: WorkspacePath) -> Iterator[Subscriber]:
        """Watch a directory until the block is left. Raises WORKSPACE_WATCH_LIMIT, and as `Tree.directory`."""
        if len(self) >= SUBSCRIBERS_MOST:
            raise Problem(errors.WORKSPACE_WATCH_LIMIT, f"{SUBSCRIBERS_MOST} subscribers watch directories already.")
        directory = self._watched(tree, path)
        subscriber = Subscriber()
        directory.subscribers[subscriber] = None
        try:
            yield subscriber
        finally:
            directory.subscribers.pop(subscriber, None)
            if not directory.subscribers:
                self._forget(directory)

    def _watched(self, tree: Tree, path: WorkspacePath) -> _Directory:
        with tree.directory(path) as fd:
            identity = identity_of(fd)
            known = self._directories.get(path)
            if known is not None and known.identity == identity:
                return known
            if len(self._directories) >= load().workspace_watch_max:
                raise Problem(
                    errors.WORKSPACE_WATCH_LIMIT, f"{len(self._directories)} directories are watched already."
                )
            if known is not None:
                self._end(known)
            # By its descriptor, so that it is the directory that the walk has led to, whatever has its name by now.
            watch = self._add(f"/proc/self/fd/{fd}")
        directory = self._directories[path] = _Directory(tree, path, identity, watch)
        return directory

    def _add(self, place: str) -> Watch:
        try:
            if self._inotify is None:
                self._inotify = Inotify(cache_size=EVENTS_AT_ONCE, sync_timeout=0)
                self._reader = asyncio.create_task(self._read(self._inotify))
            return self._inotify.add_watch(place, _WATCHED)
        except OSError as error:
            raise Problem(
                errors.WORKSPACE_WATCH_LIMIT, f"The system watches no further directory: {error.strerror}."
            ) from None

    async def _read(self, inotify: Inotify) -> None:
        try:
            more = False
            while True:
                if not more:
                    await _readable(inotify.fd)
                more = self._drain(inotify)
                await self._tell()
                await asyncio.sleep(INTERVAL_SEC)
        except Exception:
            logger.exception("watching directories: a fault; subscribers must connect again")
            for directory in list(self._directories.values()):
                self._end(directory)
        finally:
            inotify.close()

    def _drain(self, inotify: Inotify) -> bool:
        """Note what has happened since the last time; True if there may be more, which no descriptor need tell."""
        by_watch: dict[int, list[_Directory]] = {}
        for directory in self._directories.values():
            by_watch.setdefault(directory.watch.wd, []).append(directory)
        for _ in range(EVENTS_MOST):
            event = inotify.sync_get()
            if event is None:
                return False
            if event.mask & Mask.Q_OVERFLOW:
                for directory in self._directories.values():
                    directory.missed = True
            if event.watch is None:
                continue
            for directory in by_watch.get(event.watch.wd, ()):
                _note(directory, event.mask, str(event.name) if event.name else "")
        return True

    async def _tell(self) -> None:
        for directory in list(self._directories.values()):
            if not (directory.changed or directory.missed or directory.gone):
                continue
            changes = await asyncio.to_thread(directory.look)
            if directory.gone or changes is None:
                self._end(directory)
            elif directory.missed:
                for subscriber in directory.subscribers:
                    subscriber.resync()
            elif changes:
                for subscriber in directory.subscribers:
                    subscriber.deliver(changes)
            directory.changed.clear()
            directory.missed = False

    def _end(self, directory: _Directory) -> None:
        for subscriber in directory.subscribers:
            subscriber.end()
        self._forget(directory)

    def _forget(self, directory: _Directory) -> None:
        if self._directories.get(directory.path) is not directory:
            return
        del self._directories[directory.path]
        is_shared = any(other.watch.wd == directory.watch.wd for other in self._directories.values())
        if self._inotify is not None and not is_shared:
            with suppress(OSError, ValueError):
                self._inotify.rm_watch(directory.watch)
        if not self._directories and self._reader is not None:
            self._reader.cancel()
            self._reader = self._inotify = None


async def _readable(fd: int) -> None:
    """Return once there is something to read. Listens no longer than that: a descriptor tells as long as it is so."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(fd, told.set)
    try:
        await told.wait()
    finally:
        loop.remove_reader(fd)


def _note(directory: _Directory, mask: Mask, name: str) -> None:
    if mask & _GONE:
        directory.gone = True
    elif name and name not in UNLISTED and is_presentable(name):
        directory.changed[name] = None
        if len(directory.changed) > PENDING_MOST:
            directory.changed.clear()
            directory.missed = True


def _change(dir_fd: int, path: WorkspacePath) -> dict[str, Any]:
    try:
        entry = entry_json(look_at(dir_fd, path))
    except Missing:
        entry = None
    return {"name": path.name, "path": str(path), "entry": entry}


_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, Watches] = WeakKeyDictionary()


def watches() -> Watches:
    """Those of the running event loop, made on first use."""
    loop = asyncio.get_running_loop()
    if loop not in _watches:
        _watches[loop] = Watches()
    return _watches[loop]
