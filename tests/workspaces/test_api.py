"""The workspace API (contract 11), and what it has beyond."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from access.models import AuditEntry
from tests.apiclient import READER, Api
from tests.workspaces.conftest import drafts, form
from workspaces import tree as tree_module
from workspaces.paths import ROOT

Configure = Callable[..., Any]


def test_a_listing_has_directories_first_and_then_names(web: Api, root: Path) -> None:
    for name in ("Zoo.txt", "apple.txt", ".env", ".gitkeep"):
        (root / name).write_text("x")
    (root / ".codex-home").mkdir()

    listed = web.get("/v1/workspace/files").json

    assert [entry["name"] for entry in listed["entries"]] == ["notes", ".env", "apple.txt", "readme.txt", "Zoo.txt"]
    assert (listed["root"], listed["path"], listed["count"]) == (str(root), ".", 5)
    directory, _, apple, *_ = listed["entries"]
    assert (directory["is_dir"], directory["size"], directory["kind"]) == (True, None, "dir")
    assert (apple["path"], apple["is_dir"], apple["size"], apple["kind"]) == ("apple.txt", False, 1, "file")
    assert apple["modified_at"].endswith("Z")


def test_a_listing_comes_in_pages(web: Api, root: Path) -> None:
    for number in range(7):
        (root / "notes" / f"n\u00a0{number}.txt").write_text("x")
    found: list[str] = []
    cursor = ""

    while True:
        page = web.get(f"/v1/workspace/files?path=notes&limit=3&cursor={cursor}").json
        found += [entry["name"] for entry in page["entries"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert found == ["deep", *(f"n\u00a0{number}.txt" for number in range(7)), "today.md"]


@pytest.mark.parametrize("cursor", ["x", "W10", "WzAsInp6Il0", "WzAsIi0iXQ"])
def test_a_foreign_cursor_is_refused(web: Api, cursor: str) -> None:
    assert web.get(f"/v1/workspace/files?cursor={cursor}").status == 400


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [("absent", 404, "NOT_FOUND"), ("readme.txt", 400, "VALIDATION_ERROR"), ("readme.txt/x", 400, "VALIDATION_ERROR")],
)
def test_what_is_no_directory_is_not_listed(web: Api, path: str, status: int, code: str) -> None:
    answer = web.get(f"/v1/workspace/files?path={path}")

    assert (answer.status, answer.code) == (status, code)


def test_a_text_is_read(web: Api) -> None:
    answer = web.get("/v1/workspace/file?path=notes/./today.md")

    file = answer.json["file"]
    assert (file["path"], file["size"], file["content"], file["lossy"]) == ("notes/today.md", 8, "# Today\n", False)
    assert answer.headers["ETag"] == file["etag"]


def test_a_text_that_is_not_quite_utf_8_says_so(web: Api, root: Path) -> None:
    (root / "latin.txt").write_bytes("Ärger".encode("latin-1"))

    file = web.get("/v1/workspace/file?path=latin.txt").json["file"]

    assert (file["content"], file["lossy"]) == ("\ufffdrger", True)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 400, "VALIDATION_ERROR"),
        ("path=", 400, "VALIDATION_ERROR"),
        ("path=notes", 400, "VALIDATION_ERROR"),
        ("path=absent", 404, "NOT_FOUND"),
        ("path=absent/deeper", 404, "NOT_FOUND"),
        ("path=binary", 415, "WORKSPACE_FILE_BINARY"),
        ("path=big.txt", 413, "WORKSPACE_FILE_TOO_LARGE"),
    ],
)
@pytest.mark.usefixtures("oddities")
def test_what_cannot_be_read_says_why(web: Api, query: str, status: int, code: str) -> None:
    answer = web.get(f"/v1/workspace/file?{query}")

    assert (answer.status, answer.code) == (status, code)


@pytest.fixture
def oddities(root: Path) -> None:
    (root / "binary").write_bytes(b"x" * 8000 + b"\0rest")
    (root / "text-with-late-nul").write_bytes(b"x" * 8192 + b"\0")
    (root / "big.txt").write_text("x" * 262_145)


@pytest.mark.usefixtures("oddities")
def test_too_large_says_how_large_and_what_may_be(web: Api) -> None:
    error = web.get("/v1/workspace/file?path=big.txt").json["error"]

    assert error["details"] == {"size": 262_145, "max_bytes": 262_144}


@pytest.mark.usefixtures("oddities")
def test_binary_files_are_read_in_base64(web: Api, root: Path) -> None:
    file = web.get("/v1/workspace/file?path=binary&encoding=base64").json["file"]

    assert base64.b64decode(file["content_base64"]) == (root / "binary").read_bytes()
    assert web.get("/v1/workspace/file?path=text-with-late-nul").status == 200


def test_a_text_is_written_and_keeps_its_permissions(web: Api, root: Path) -> None:
    (root / "notes" / "today.md").chmod(0o640)

    answer = web("PUT", "/v1/workspace/file", {"path": "notes/today.md", "content": "# Heute ä\n"})

    assert answer.json["file"]["size"] == 11
    assert (root / "notes" / "today.md").read_text() == "# Heute ä\n"
    assert (root / "notes" / "today.md").stat().st_mode & 0o777 == 0o640
    assert answer.headers["ETag"] == web.get("/v1/workspace/file?path=notes/today.md").headers["ETag"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"path": "absent", "content": "x"}, 404, "NOT_FOUND"),
        ({"path": "notes", "content": "x"}, 400, "VALIDATION_ERROR"),
        ({"path": "binary", "content": "x"}, 415, "WORKSPACE_FILE_BINARY"),
        ({"path": "readme.txt", "content": "x" * 262_145}, 413, "WORKSPACE_FILE_TOO_LARGE"),
        ({"path": "readme.txt"}, 400, "VALIDATION_ERROR"),
        ({"path": "readme.txt", "content": 5}, 400, "VALIDATION_ERROR"),
        ({"path": "readme.txt", "content": "x", "content_base64": "eA=="}, 400, "VALIDATION_ERROR"),
        ({"content": "x"}, 400, "VALIDATION_ERROR"),
        ([], 400, "VALIDATION_ERROR"),
    ],
    ids=["absent", "directory", "binary", "large", "nothing", "number", "both", "no-path", "list"],
)
@pytest.mark.usefixtures("oddities")
def test_what_cannot_be_written_says_why(web: Api, root: Path, body: Any, status: int, code: str) -> None:
    answer = web("PUT", "/v1/workspace/file", body)

    assert (answer.status, answer.code) == (status, code)
    assert (root / "readme.txt").read_text() == "Read me.\n"
    assert drafts(root) == []


@pytest.mark.usefixtures("oddities")
def test_a_binary_is_replaced_in_base64(web: Api, root: Path) -> None:
    answer = web("PUT", "/v1/workspace/file", {"path": "binary", "content_base64": "AAE="})

    assert answer.status == 200
    assert (root / "binary").read_bytes() == b"\0\1"


def test_content_of_the_limit_passes_however_it_is_escaped(web: Api, root: Path) -> None:
    body = b'{"path": "readme.txt", "content": "' + b"\\u0001" * 262_144 + b'"}'

    assert web("PUT", "/v1/workspace/file", body).status == 200

    assert (root / "readme.txt").read_bytes() == b"\1" * 262_144


class TestVersions:
    """ETag and If-Match: nobody overwrites what they have not seen."""

    def etag(self, web: Api) -> str:
        return web.get("/v1/workspace/file?path=readme.txt").headers["ETag"]

    def test_the_version_that_was_read_may_be_changed(self, web: Api, root: Path) -> None:
        body = {"path": "readme.txt", "content": "mine"}

        first = web("PUT", "/v1/workspace/file", body, If_Match=self.etag(web))
        again = web("PUT", "/v1/workspace/file", body, If_Match=f'"other", {first.json["file"]["etag"]}')
        bare = web("PUT", "/v1/workspace/file", body, If_Match=again.json["file"]["etag"].strip('"'))

        assert [answer.status for answer in (first, again, bare)] == [200, 200, 200]
        assert len({answer.headers["ETag"] for answer in (first, again, bare)}) == 3

    @pytest.mark.parametrize("how", ["put", "upload", "form", "create", "delete", "move"])
    def test_another_version_is_a_conflict_that_tells_both(self, web: Api, root: Path, how: str) -> None:
        seen = self.etag(web)
        (root / "readme.txt").write_text("theirs")
        upload = {"path": "readme.txt", "content_base64": "bWluZQ==", "overwrite": True}
        ways: dict[str, Callable[[], Any]] = {
            "put": lambda: web("PUT", "/v1/workspace/file", {"path": "readme.txt", "content": "mine"}, If_Match=seen),
            "upload": lambda: web.post("/v1/workspace/upload", upload, If_Match=seen),
            "form": lambda: web.post(
                "/v1/workspace/upload", **form("readme.txt", b"mine", overwrite="true"), If_Match=seen
            ),
            "create": lambda: web.post(
                "/v1/workspace/create", {"path": "readme.txt", "overwrite": True}, If_Match=seen
            ),
            "delete": lambda: web("DELETE", "/v1/workspace/file?path=readme.txt", If_Match=seen),
            "move": lambda: web.patch(
                "/v1/workspace/move", {"from_path": "readme.txt", "to_path": "new.txt"}, If_Match=seen
            ),
        }

        answer = ways[how]()

        assert (answer.status, answer.code) == (409, "CONFLICT")
        details = answer.json["error"]["details"]
        assert details["expected"] == [seen]
        assert (details["current"]["etag"], details["current"]["size"]) == (self.etag(web), 6)
        assert (root / "readme.txt").read_text() == "theirs"
        assert drafts(root) == []

    def test_a_file_that_is_gone_matches_nothing(self, web: Api) -> None:
        body = {"path": "new.txt", "content": "x", "overwrite": True}

        answer = web.post("/v1/workspace/create", body, If_Match="*")

        assert (answer.status, answer.json["error"]["details"]["current"]) == (409, None)

    def test_of_two_who_saw_the_same_version_one_is_refused(self, web: Api) -> None:
        seen = self.etag(web)
        body = {"path": "readme.txt", "content": "x"}

        statuses = [web("PUT", "/v1/workspace/file", body, If_Match=seen).status for _ in range(2)]

        assert statuses == [200, 409]


class TestCreate:
    def test_files_and_directories(self, web: Api, root: Path) -> None:
        directory = web.post("/v1/workspace/create", {"path": "new", "kind": "dir"})
        file = web.post("/v1/workspace/create", {"path": "new/a.md", "kind": "note", "content": "ä"})

        assert directory.json["entry"] == {"path": "new", "kind": "dir", "overwritten": False}
        entry = file.json["entry"]
        assert (file.status, entry["kind"], entry["size"], entry["overwritten"]) == (201, "file", 2, False)
        assert (root / "new" / "a.md").read_text() == "ä"

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({"path": "readme.txt"}, 409),
            ({"path": "readme.txt", "overwrite": "true"}, 409),
            ({"path": "notes", "kind": "dir"}, 409),
            ({"path": "notes", "overwrite": True}, 400),
            ({"path": "readme.txt", "kind": "dir", "overwrite": True}, 400),
            ({"path": "absent/a"}, 400),
            ({"path": "absent/a", "kind": "dir"}, 400),
            ({"path": "readme.txt/a"}, 400),
            ({"path": "a", "content": 5}, 400),
            ({"path": "a", "content": "x" * 262_145}, 413),
            ({}, 400),
        ],
        ids=[
            "exists", "not-true", "directory-exists", "file-over-directory", "directory-over-file", "no-parent",
            "no-parent-of-directory", "beneath-file", "number", "large", "no-path",
        ],
    )  # fmt: skip
    def test_what_cannot_be_made(self, web: Api, root: Path, body: Any, status: int) -> None:
        assert web.post("/v1/workspace/create", body).status == status

        assert (root / "readme.txt").read_text() == "Read me.\n"
        assert drafts(root) == []

    def test_overwriting(self, web: Api, root: Path) -> None:
        file = web.post("/v1/workspace/create", {"path": "readme.txt", "content": "new", "overwrite": True})
        directory = web.post("/v1/workspace/create", {"path": "notes", "kind": "dir", "overwrite": True})

        assert (file.status, directory.status) == (201, 201)
        assert (root / "readme.txt").read_text() == "new"
        assert (root / "notes" / "today.md").exists()


class TestMove:
    def test_files_and_directories(self, web: Api, root: Path) -> None:
        file = web.patch("/v1/workspace/move", {"from_path": "readme.txt", "to_path": "notes/r.txt"})
        directory = web.patch("/v1/workspace/move", {"from_path": "notes", "to_path": "old"})

        assert file.json == {"ok": True, "moved": True, "from_path": "readme.txt", "to_path": "notes/r.txt"}
        assert directory.json["moved"] is True
        assert (root / "old" / "r.txt").read_text() == "Read me.\n"

    def test_to_the_same_place(self, web: Api) -> None:
        answer = web.patch("/v1/workspace/move", {"from_path": "notes", "to_path": "./notes"})

        assert (answer.status, answer.json["moved"]) == (200, False)

    @pytest.mark.parametrize(
        ("source", "target", "status"),
        [
            ("absent", "a", 404),
            ("absent", "absent", 404),
            ("readme.txt", "absent/a", 400),
            ("notes", "notes/deep/notes", 400),
            ("readme.txt", "other.txt", 409),
            ("readme.txt", "notes", 409),
            ("", "a", 400),
            ("a", ".", 400),
        ],
    )
    def test_what_cannot_be_moved(self, web: Api, root: Path, source: str, target: str, status: int) -> None:
        (root / "other.txt").write_text("other")

        assert web.patch("/v1/workspace/move", {"from_path": source, "to_path": target}).status == status

        assert (root / "other.txt").read_text() == "other"

    @pytest.mark.parametrize(("source", "target"), [("readme.txt", "notes"), ("notes", "readme.txt")])
    def test_a_file_never_takes_the_place_of_a_directory(self, web: Api, root: Path, source: str, target: str) -> None:
        body = {"from_path": source, "to_path": target, "overwrite": True}

        assert web.patch("/v1/workspace/move", body).status == 400

    def test_overwriting_a_file(self, web: Api, root: Path) -> None:
        body = {"from_path": "notes/today.md", "to_path": "readme.txt", "overwrite": True}

        assert web.patch("/v1/workspace/move", body).json["moved"] is True
        assert (root / "readme.txt").read_text() == "# Today\n"

    def test_overwriting_a_directory_replaces_all_it_held(self, web: Api, root: Path) -> None:
        (root / "other" / "full").mkdir(parents=True)
        body = {"from_path": "notes", "to_path": "other", "overwrite": True}

        assert web.patch("/v1/workspace/move", body).json["moved"] is True

        assert sorted(path.name for path in (root / "other").iterdir()) == ["deep", "today.md"]
        assert drafts(root) == []


class TestDelete:
    def test_a_file(self, web: Api, root: Path) -> None:
        answer = web("DELETE", "/v1/workspace/file?path=readme.txt")

        assert answer.json == {"ok": True, "deleted": True, "file": {"path": "readme.txt"}}
        assert not (root / "readme.txt").exists()

    @pytest.mark.parametrize(("path", "status"), [("notes", 400), ("absent", 404), ("absent/a", 404), (".", 400)])
    def test_what_cannot_be_deleted(self, web: Api, root: Path, path: str, status: int) -> None:
        assert web("DELETE", f"/v1/workspace/file?path={path}").status == status

        assert (root / "notes" / "today.md").exists()

    def test_a_directory_with_all_it_holds_when_asked(self, web: Api, root: Path) -> None:
        assert web("DELETE", "/v1/workspace/file?path=notes&recursive=1").status == 200

        assert [path.name for path in root.iterdir()] == ["readme.txt"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "file"),
        ("DELETE", "file?path=readme.txt"),
        ("POST", "upload"),
        ("POST", "create"),
        ("PATCH", "move"),
    ],
)
def test_a_read_key_changes_nothing(web: Api, root: Path, method: str, path: str) -> None:
    answer = web(method, f"/v1/workspace/{path}", {"path": "readme.txt", "content": "x"}, key=READER)

    assert (answer.status, answer.code) == (403, "FORBIDDEN")
    assert web(method, f"/v1/workspace/{path}", key=None).status == 401
    assert web.get("/v1/workspace/file?path=readme.txt", key=READER).status == 200


def test_each_change_is_in_the_audit_log(web: Api) -> None:
    web.post("/v1/workspace/create", {"path": "d" * 200, "kind": "dir"})
    web.post("/v1/workspace/create", {"path": "a.md"})
    web("PUT", "/v1/workspace/file", {"path": "a.md", "content": "x"})
    web.post("/v1/workspace/upload", {"path": "b.bin", "content_base64": ""})
    web.patch("/v1/workspace/move", {"from_path": "a.md", "to_path": "c.md"})
    web("DELETE", "/v1/workspace/file?path=c.md")
    web("DELETE", "/v1/workspace/file?path=absent")

    entries = AuditEntry.objects.filter(object_type="file").order_by("id")

    assert [entry.action for entry in entries] == [
        "directory.created", "file.created", "file.written", "file.uploaded", "file.moved", "file.deleted",
    ]  # fmt: skip
    assert {entry.actor for entry in entries} == {"key:ci"}
    assert entries[0].details["path"] == "d" * 200
    assert entries[4].details == {"path": "a.md", "to_path": "c.md", "overwrite": False}


def test_a_directory_that_somebody_holds_is_busy(
    web: Api, root: Path, tree: tree_module.Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_module, "LOCK_PATIENCE_SEC", 0.0)

    with tree.directory(ROOT) as fd, tree_module.locked(fd):
        answer = web.post("/v1/workspace/create", {"path": "a.md"})

    assert (answer.status, answer.code) == (503, "WORKSPACE_BUSY")
    assert drafts(root) == []


def test_a_workspace_that_is_not_there_yet_is_made(web: Api, configure: Configure, tmp_path: Path) -> None:
    configure(WORKSPACE_ROOT=tmp_path / "new" / "workspace")

    assert web.get("/v1/workspace/files").json["entries"] == []
