"""`/ws/workspace` on a real web process: what changes in a directory is told at once, and nothing of any other."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosedError

from tests.live.web import ADMIN, NO_SSE, Received, Socket, Web, eventually, take_until
from workspaces.watching import PENDING_MOST, Subscriber

MOST_DIRECTORIES = 3


@pytest.fixture(scope="module")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKSPACE_WATCH_MAX", str(MOST_DIRECTORIES))
        web = Web(tmp_path_factory.mktemp("watching"))
    try:
        web.wait_until_ready()
        yield web
    finally:
        web.stop()


@pytest.fixture
def root(server: Web, transactional_db: None) -> Iterator[Path]:
    """The server's workspace: `notes/today.md`. It ends with nothing watched."""
    root = server.log.parent / "workspace"
    shutil.rmtree(root, ignore_errors=True)
    (root / "notes").mkdir(parents=True)
    (root / "notes" / "today.md").write_text("# Today\n")
    yield root
    eventually(lambda: watches(server) == 0)


def watches(server: Web) -> int:
    """What the process watches, by the kernel's own account."""
    found = 0
    for info in Path(f"/proc/{server.pid}/fdinfo").iterdir():
        try:
            found += info.read_text().count("inotify wd:")
        except FileNotFoundError:
            continue
    return found


def watching(server: Web, path: str = "notes") -> Any:
    return server.socket(f"/ws/workspace?path={path}")


def first(socket: Socket) -> Iterator[Received]:
    """The events after the first one, which asks for the listing."""
    events = iter(socket)
    assert next(events).name == "resync"
    return events


def tells_of(name: str, *, gone: bool = False) -> Callable[[Received], bool]:
    """Whether an event says that `name` is there, or gone."""
    return lambda event: (
        event.name == "changes"
        and any(change["name"] == name and (change["entry"] is None) == gone for change in event.data["changes"])
    )


def names_in(events: list[Received]) -> set[str]:
    return {change["name"] for event in events if event.name == "changes" for change in event.data["changes"]}


def test_what_is_made_changed_moved_and_deleted_is_told(server: Web, root: Path) -> None:
    with watching(server) as socket:
        events = first(socket)

        (root / "notes" / "new.md").write_text("new")
        made = take_until(
            events, lambda event: tells_of("new.md")(event) and event.data["changes"][0]["entry"]["size"] == 3
        )
        (root / "notes" / "new.md").rename(root / "notes" / "old.md")
        take_until(events, tells_of("new.md", gone=True))
        (root / "notes" / "deep").mkdir()
        take_until(events, tells_of("deep"))
        (root / "notes" / "old.md").unlink()
        take_until(events, tells_of("old.md", gone=True))

    change = made[-1].data["changes"][0]
    assert change["path"] == "notes/new.md"
    assert (change["entry"]["kind"], change["entry"]["is_dir"], change["entry"]["size"]) == ("file", False, 3)


def test_what_the_api_does_is_told_and_its_unfinished_files_are_not(server: Web, root: Path) -> None:
    address = f"http://127.0.0.1:{server.port}/v1/workspace"
    with watching(server) as socket, httpx.Client(headers={"x-api-key": ADMIN}, trust_env=False) as http:
        events = first(socket)

        written = http.put(f"{address}/file", json={"path": "notes/today.md", "content": "# Tomorrow\n"})
        told = take_until(events, tells_of("today.md"))
        http.post(f"{address}/create", json={"path": "notes/.gitkeep"}).raise_for_status()
        http.post(f"{address}/upload", files={"file": b"x"}, data={"path": "notes/last"}).raise_for_status()
        told += take_until(events, tells_of("last"))

    assert names_in(told) == {"today.md", "last"}
    etags = [
        change["entry"]["etag"] for event in told for change in event.data["changes"] if change["name"] == "today.md"
    ]
    assert etags[-1] == written.json()["file"]["etag"]


def test_many_subscribers_share_one_watch(server: Web, root: Path) -> None:
    with ExitStack() as opened:
        all_events = [first(opened.enter_context(watching(server))) for _ in range(40)]

        assert watches(server) == 1
        (root / "notes" / "new.md").write_text("new")
        for events in all_events:
            take_until(events, tells_of("new.md"))


def test_no_more_directories_are_watched_than_may_be(server: Web, root: Path) -> None:
    for number in range(MOST_DIRECTORIES + 1):
        (root / str(number)).mkdir()
    with ExitStack() as opened:
        for number in range(MOST_DIRECTORIES):
            first(opened.enter_context(watching(server, str(number))))

        with watching(server, str(MOST_DIRECTORIES)) as refused, pytest.raises(ConnectionClosedError) as closed:
            refused.connection.recv(timeout=15)
        first(opened.enter_context(watching(server, "0")))

    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4503, "WORKSPACE_WATCH_LIMIT")


@pytest.mark.parametrize("how", ["deleted", "moved", "parent moved", "swapped for a link"])
def test_the_end_of_the_directory_ends_the_watch(server: Web, root: Path, tmp_path: Path, how: str) -> None:
    (root / "notes" / "deep").mkdir()
    with watching(server, "notes/deep") as socket:
        events = first(socket)

        if how == "deleted":
            (root / "notes" / "deep").rmdir()
        elif how == "moved":
            (root / "notes" / "deep").rename(root / "elsewhere")
        elif how == "parent moved":
            (root / "notes").rename(tmp_path / "outside")
            (tmp_path / "outside" / "deep" / "secret.txt").write_text("secret")
        else:
            (root / "notes" / "deep").rename(tmp_path / "outside")
            (root / "notes" / "deep").symlink_to(tmp_path / "outside")
            (tmp_path / "outside" / "secret.txt").write_text("secret")
        rest = list(events)

    assert [event.name for event in rest] == ["end"]
    assert socket.connection.close_code == 1000


def test_in_a_flood_of_changes_none_is_lost(server: Web, root: Path) -> None:
    with watching(server) as socket:
        events = first(socket)

        for number in range(2000):
            (root / "notes" / f"{number}.txt").touch()
        (root / "notes" / "end").touch()
        told = take_until(events, lambda event: event.name == "resync" or tells_of("end")(event))

    asked_again = told[-1].name == "resync"
    assert asked_again or names_in(told) == {"end", *(f"{number}.txt" for number in range(2000))}


def test_a_subscriber_that_takes_nothing_is_asked_to_load_the_listing_again() -> None:
    async def slow() -> list[str]:
        subscriber = Subscriber()
        await anext(subscriber)
        for number in range(PENDING_MOST):
            subscriber.deliver([{"name": str(number)}])
        kept = await anext(subscriber)
        for number in range(PENDING_MOST + 1):
            subscriber.deliver([{"name": str(number)}])
        return [event.name for event in (*kept, *await anext(subscriber))]

    assert asyncio.run(slow()) == ["changes", "resync"]


def test_a_program_that_writes_all_the_time_makes_few_frames(server: Web, root: Path) -> None:
    with watching(server) as socket, (root / "notes" / "log.txt").open("w", buffering=1) as log:
        events = first(socket)

        for number in range(20_000):
            log.write(f"{number}\n")
        log.close()
        (root / "notes" / "end").touch()
        told = take_until(events, tells_of("end"))

    assert len(told) < 100
    assert names_in(told) == {"log.txt", "end"}


@pytest.mark.parametrize(
    ("path", "key", "code"),
    [
        ("notes", None, 4401),
        ("notes", "wrong-key-wrong-key", 4401),
        ("notes", NO_SSE, 4403),
        ("absent", ADMIN, 4404),
        ("notes/today.md", ADMIN, 4400),
        ("..", ADMIN, 4400),
        ("door", ADMIN, 4400),
        ("/etc", ADMIN, 4400),
    ],
)
def test_refusals_are_close_codes_a_browser_can_see(
    server: Web, root: Path, path: str, key: str | None, code: int
) -> None:
    (root / "door").symlink_to("/etc")

    with server.socket(f"/ws/workspace?path={path}", key=key) as socket, pytest.raises(ConnectionClosedError) as closed:
        json.loads(socket.connection.recv(timeout=15))

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == code
