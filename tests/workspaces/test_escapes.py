"""Ways out of the workspace, each tried with everything that the API and the handlers can do with a path."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.apiclient import Answer, Api
from tests.workspaces.conftest import SECRET, snapshot
from workspaces.faults import WorkspaceFault
from workspaces.paths import WorkspacePath, parse
from workspaces.tree import Tree

BY_NAME = {
    "parent": "../outside/secret.txt",
    "parent after a directory": "notes/../../outside/secret.txt",
    "parent at the end": "notes/..",
    "parent alone": "..",
    "many parents": "../" * 40 + "etc/passwd",
    "parent that stays inside": "notes/../readme.txt",
    "parent between dots": "./.././outside/secret.txt",
    "parent after empty parts": "notes//..//..//outside/secret.txt",
    "absolute": "/etc/passwd",
    "absolute with two slashes": "//etc/passwd",
    "absolute with three slashes": "///etc/passwd",
    "absolute through proc": "/proc/self/root/etc/passwd",
    "absolute root": "/",
    "a directory whose name begins as the root's": "{root}-evil/secret.txt",
    "beneath the root and out again": "{root}/../outside/secret.txt",
    "the root and an absolute path": "{root}//etc/passwd/../../../outside/secret.txt",
    "backslash": "..\\outside\\secret.txt",
    "backslash mixed": "notes\\../..\\outside/secret.txt",
    "drive": "C:\\Windows\\win.ini",
    "UNC": "\\\\host\\share\\file",
    "NUL at the end": "readme.txt\0",
    "NUL in the middle": "readme.txt\0/../../outside/secret.txt",
    "NUL and another ending": "../outside/secret.txt\0.md",
    "newline": "notes/to\nday.md",
    "carriage return": "notes\r/today.md",
    "escape character": "notes/\x1b[2Jtoday.md",
    "delete character": "notes/\x7f",
    "C1 control": "notes/\x85today.md",
    "fullwidth dots": "\uff0e\uff0e/outside/secret.txt",
    "one fullwidth dot": ".\uff0e/outside/secret.txt",
    "fullwidth slash": "..\uff0foutside\uff0fsecret.txt",
    "fullwidth backslash": "..\uff3coutside\uff3csecret.txt",
    "two dot leader": "\u2025/outside/secret.txt",
    "one dot leaders": "\u2024\u2024/outside/secret.txt",
    "small full stops": "\ufe52\ufe52/outside/secret.txt",
    "fraction slash": "..\u2044outside\u2044secret.txt",
    "division slash": "..\u2215outside\u2215secret.txt",
    "big solidus": "..\u29f8outside\u29f8secret.txt",
    "set minus": "..\u2216outside",
    "small reverse solidus": "..\ufe68outside",
    "account of": "notes\u2100today.md",
    "right-to-left override": "notes/\u202egpj.exe",
    "right-to-left embedding": "notes/\u202btoday.md",
    "right-to-left isolate": "notes/\u2067today.md",
    "right-to-left mark": "notes/\u200ftoday.md",
    "zero width space": "notes/to\u200bday.md",
    "byte order mark": "\ufeffnotes/today.md",
    "soft hyphen": "no\u00adtes/today.md",
    "word joiner in the parent": ".\u2060./outside/secret.txt",
    "line separator": "notes/\u2028today.md",
    "paragraph separator": "notes/\u2029today.md",
    "tag characters": "notes/\U000e0041today.md",
    "longer than a path may be": "a/" * 1001,
    "longer than a name may be": "a" * 256,
    "longer in bytes than a name may be": "ä" * 128,
    "deeper than any tree": "/".join("a" * 101),
    "an unfinished upload of somebody": ".rauskuclaw-0011223344556677",
}
"""What it is → the path."""

Plant = Callable[[Path, Path], str]


def _link(where: str, to: str) -> Plant:
    """A link in the workspace; `{outside}` and `{root}` in its target."""

    def plant(root: Path, outside: Path) -> str:
        (root / where).symlink_to(to.format(outside=outside, root=root))
        return where

    return plant


def _linked_directory(to: str, rest: str) -> Plant:
    def plant(root: Path, outside: Path) -> str:
        return f"{_link('door', to)(root, outside)}/{rest}"

    return plant


def _chain(root: Path, outside: Path) -> str:
    (root / "third").symlink_to(outside)
    (root / "second").symlink_to("third")
    (root / "first").symlink_to("second")
    return "first/secret.txt"


def _loop(root: Path, outside: Path) -> str:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    return "a"


def _hard_link(root: Path, outside: Path) -> str:
    (root / "second-name.txt").hardlink_to(outside / "secret.txt")
    return "second-name.txt"


def _deep_hard_link(root: Path, outside: Path) -> str:
    (root / "notes" / "deep" / "second-name.txt").hardlink_to(outside / "inner" / "secret.txt")
    return "notes/deep/second-name.txt"


def _fifo(root: Path, outside: Path) -> str:
    os.mkfifo(root / "pipe")
    return "pipe"


def _socket(root: Path, outside: Path) -> str:
    listener = socket.socket(socket.AF_UNIX)
    here = os.open(".", os.O_RDONLY)
    os.chdir(root)  # the path of a socket is at most 107 bytes long
    try:
        listener.bind("plug")
    finally:
        os.fchdir(here)
        os.close(here)
        listener.close()
    return "plug"


def _device(root: Path, outside: Path) -> str:
    try:
        os.mknod(root / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")
    return "null"


BY_CONTENT: dict[str, Plant] = {
    "link to a file": _link("door", "{outside}/secret.txt"),
    "relative link to a file": _link("door", "../outside/secret.txt"),
    "link in a directory": _link("notes/door", "../../outside/secret.txt"),
    "link to a file inside": _link("door", "readme.txt"),
    "link to nothing": _link("door", "{outside}/not-there"),
    "link to itself": _link("door", "door"),
    "link to the root": _link("door", "{root}"),
    "link to a device": _link("door", "/dev/null"),
    "link to a process's root": _link("door", "/proc/self/root"),
    "link to a process's memory": _link("door", "/proc/self/mem"),
    "link to a process's descriptor": _link("door", "/proc/self/fd/0"),
    "link to the environment": _link("door", "/proc/self/environ"),
    "linked directory": _linked_directory("{outside}", "secret.txt"),
    "relative linked directory": _linked_directory("../outside", "secret.txt"),
    "linked directory, deeper": _linked_directory("{outside}", "inner/secret.txt"),
    "linked parent": _linked_directory("..", "outside/secret.txt"),
    "linked root of the machine": _linked_directory("/", "etc/passwd"),
    "linked process's root": _linked_directory("/proc/self/root", "etc/passwd"),
    "linked working directory": _linked_directory("/proc/self/cwd", "README.md"),
    "linked directory inside": _linked_directory("notes", "today.md"),
    "new file in a linked directory": _linked_directory("{outside}", "new.txt"),
    "chain of links": _chain,
    "loop of links": _loop,
    "hard link": _hard_link,
    "hard link, deeper": _deep_hard_link,
    "FIFO": _fifo,
    "socket": _socket,
    "device": _device,
}
"""What it is → how it comes into the workspace, and the path to ask for."""

ESCAPES = [*((name, None) for name in BY_NAME), *BY_CONTENT.items()]


def test_the_corpus_is_large() -> None:
    assert len(ESCAPES) >= 80


@pytest.fixture(params=ESCAPES, ids=lambda escape: escape[0].replace(" ", "-"))
def escape(request: pytest.FixtureRequest, root: Path, outside: Path) -> str:
    """A path that leads out."""
    (root.parent / f"{root.name}-evil").mkdir()
    (root.parent / f"{root.name}-evil" / "secret.txt").write_text(SECRET)
    name, plant = request.param
    return BY_NAME[name].format(root=root) if plant is None else plant(root, outside)


def everything(web: Api, path: str) -> list[Answer]:
    """What the API answers to each thing that can be asked of a path; deleting and moving it away come last."""
    query = f"path={quote(path)}"
    form = (
        f'--b\r\nContent-Disposition: form-data; name="path"\r\n\r\n{path}\r\n'
        '--b\r\nContent-Disposition: form-data; name="overwrite"\r\n\r\n1\r\n'
        '--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nmine\r\n--b--\r\n'
    ).encode("utf-8", "surrogatepass")
    return [
        web.get(f"/v1/workspace/file?{query}"),
        web.get(f"/v1/workspace/file?{query}&encoding=base64"),
        web.get(f"/v1/workspace/download?{query}"),
        web.get(f"/v1/workspace/download?{query}", Range="bytes=0-3"),
        web("PUT", "/v1/workspace/file", {"path": path, "content": "mine"}),
        web.post("/v1/workspace/upload", {"path": path, "content_base64": "bWluZQ==", "overwrite": True}),
        web.post("/v1/workspace/upload", form, content_type="multipart/form-data; boundary=b"),
        web.post("/v1/workspace/create", {"path": path, "content": "mine", "overwrite": True}),
        web.post("/v1/workspace/create", {"path": f"{path}/new", "kind": "dir"}),
        web.post("/v1/workspace/create", {"path": path, "kind": "dir", "overwrite": True}),
    ]


def test_nothing_leads_out(web: Api, escape: str, root: Path, outside: Path) -> None:
    before = snapshot(outside)

    answers = everything(web, escape)
    listed = web.get(f"/v1/workspace/files?path={quote(escape)}")

    assert [answer.status for answer in [*answers, listed] if answer.status not in {400, 404}] == []
    assert SECRET not in "".join(answer.text for answer in [*answers, listed])
    assert snapshot(outside) == before


def test_what_is_moved_or_deleted_is_in_the_workspace(web: Api, escape: str, root: Path, outside: Path) -> None:
    before = {name: content for name, (_, content) in snapshot(outside).items()}

    web.patch("/v1/workspace/move", {"from_path": "readme.txt", "to_path": escape, "overwrite": True})
    web.patch("/v1/workspace/move", {"from_path": escape, "to_path": "taken", "overwrite": True})
    web("DELETE", f"/v1/workspace/file?path={quote(escape)}&recursive=1")

    assert {name: content for name, (_, content) in snapshot(outside).items()} == before
    assert web.get("/v1/workspace/file?path=taken").text.count(SECRET) == 0


def test_a_walk_opens_nothing_that_leads_out(tree: Tree, escape: str) -> None:
    with pytest.raises(WorkspaceFault), tree.open(parse(escape, root=tree.root)) as file:
        pytest.fail(f"it is open: {file.name}")


def test_listings_tell_links_from_files(web: Api, root: Path, outside: Path) -> None:
    for name in ("link to a file", "hard link", "FIFO"):
        BY_CONTENT[name](root, outside)

    entries = web.get("/v1/workspace/files").json["entries"]

    shown = {entry["name"]: (entry["kind"], entry["is_dir"], entry["size"]) for entry in entries}
    assert shown["door"] == ("link", False, None)
    assert shown["second-name.txt"] == shown["pipe"] == ("other", False, None)
    assert shown["readme.txt"] == ("file", False, 9)


def test_deleting_a_link_deletes_the_link(web: Api, root: Path, outside: Path) -> None:
    (root / "door").symlink_to(outside)

    assert web("DELETE", "/v1/workspace/file?path=door&recursive=1").status == 200

    assert not (root / "door").is_symlink()
    assert (outside / "secret.txt").read_text() == SECRET


def test_deleting_a_directory_does_not_follow_the_links_in_it(web: Api, root: Path, outside: Path) -> None:
    (root / "notes" / "door").symlink_to(outside)

    assert web("DELETE", "/v1/workspace/file?path=notes&recursive=1").status == 200

    assert not (root / "notes").exists()
    assert (outside / "secret.txt").read_text() == SECRET


@pytest.mark.parametrize(
    "name",
    [
        "½.txt",
        "Ärger.md",
        "日本語.txt",
        "👨‍👩‍👧.png",
        "می‌خواهم.txt",
        "a b.txt",
        "~",
        "...",
        "%2e%2e",
        "-rf",
        "$(id)",
        "con",
    ],
    ids=["half", "umlaut", "kanji", "family", "joiner", "space", "tilde", "dots", "percent", "dash", "shell", "con"],
)
def test_honest_names_are_names(web: Api, root: Path, name: str) -> None:
    assert web.post("/v1/workspace/create", {"path": f"notes/{name}", "content": "x"}).status == 201

    assert (root / "notes" / name).read_text() == "x"
    assert web.get(f"/v1/workspace/file?path=notes/{quote(name)}").json["file"]["content"] == "x"


def test_a_name_in_decomposed_unicode_can_be_read_and_not_be_made(web: Api, root: Path) -> None:
    name = "A\u0308rger.md"
    (root / name).write_text("from a Mac")

    assert web.get(f"/v1/workspace/file?path={quote(name)}").json["file"]["content"] == "from a Mac"
    made = web.post("/v1/workspace/create", {"path": "u\u0308ber.md", "content": "x"})
    assert (made.status, made.code) == (400, "VALIDATION_ERROR")


def test_a_name_that_is_not_text_is_not_listed(web: Api, root: Path) -> None:
    with suppress(OSError):
        Path(os.fsdecode(os.fsencode(root) + b"/\xff.txt")).write_text("x")
    (root / "to\nday.md").write_text("x")

    names = [entry["name"] for entry in web.get("/v1/workspace/files").json["entries"]]

    assert names == ["notes", "readme.txt"]


def test_an_absolute_path_beneath_the_root_is_taken(web: Api, root: Path) -> None:
    answer = web.get(f"/v1/workspace/file?path={root}/notes/today.md")

    assert answer.json["file"]["path"] == "notes/today.md"


def test_paths_know_what_is_beneath_them() -> None:
    notes = WorkspacePath(("notes",))

    assert (notes / "deep").is_beneath(notes)
    assert not WorkspacePath(("notes-old",)).is_beneath(notes)
