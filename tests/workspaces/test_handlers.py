"""The file handlers (contract 6.5–6.8), as a worker calls them."""

from __future__ import annotations

import base64
import hashlib
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.handlers.base import AttemptFailed
from jobs.models import Job
from tests.handlers.conftest import Context
from tests.workspaces.conftest import SECRET, drafts
from workspaces.edits import Edit, apply
from workspaces.handlers.reading import FileRead
from workspaces.handlers.searching import FileSearch, FindInFiles
from workspaces.handlers.writing import WriteFile
from workspaces.paths import parse
from workspaces.tree import Tree

Run = Callable[..., Any]


@pytest.fixture
def run(configure: Callable[..., Any], root: Path) -> Run:
    """`run(handler, job_id?, **input)`; what it logged is in `run.logs`."""
    configure(DATA_FILE_READ_ENABLED=1, DATA_FILE_WRITE_ENABLED=1)

    def run_it(kind: type[Any], job_id: uuid.UUID | None = None, **given: Any) -> Any:
        context = Context(
            input=kind.Input.model_validate(given), workspace=root, cookie="", job_id=job_id or uuid.uuid4()
        )
        run_it.logs = context.logs  # type: ignore[attr-defined]
        return kind().run(context)

    return run_it


def failure(run: Run, kind: type[Any], **given: Any) -> tuple[str, str]:
    """Code and message."""
    with pytest.raises(AttemptFailed) as caught:
        run(kind, **given)
    return caught.value.code.name, caught.value.message


@pytest.mark.parametrize(
    ("kind", "given", "switch"),
    [
        (FileRead, {"path": "readme.txt"}, "DATA_FILE_READ_ENABLED=1 required for data.file_read"),
        (FileSearch, {"query": "x"}, "DATA_FILE_READ_ENABLED=1 required for tools.file_search"),
        (FindInFiles, {"query": "x"}, "DATA_FILE_READ_ENABLED=1 required for tools.find_in_files"),
        (WriteFile, {"path": "x", "content": ""}, "DATA_FILE_WRITE_ENABLED=1 required for data.write_file"),
    ],
)
def test_files_are_closed_until_an_operator_opens_them(
    run: Run, configure: Callable[..., Any], kind: type[Any], given: dict[str, Any], switch: str
) -> None:
    configure(DATA_FILE_READ_ENABLED=0, DATA_FILE_WRITE_ENABLED=0)

    assert failure(run, kind, **given) == ("HANDLER_DISABLED", switch)


class TestFileRead:
    @pytest.mark.parametrize(
        "path", ["notes/today.md", "./notes/today.md", "workspace/notes/today.md", "notes\\today.md"]
    )
    def test_a_file_is_read_by_what_people_call_it(self, run: Run, path: str) -> None:
        output = run(FileRead, path=path)

        assert output.model_dump() == {
            "ok": True, "path": "notes/today.md", "truncated": False, "bytes_read": 8, "total_bytes": 8,
            "content_text": "# Today\n",
        }  # fmt: skip
        assert run.logs[0][0] == "Reading workspace file"  # type: ignore[attr-defined]

    def test_a_path_as_it_is_comes_first(self, run: Run, root: Path) -> None:
        (root / "workspace" / "notes").mkdir(parents=True)
        (root / "workspace" / "notes" / "today.md").write_text("the other")

        assert run(FileRead, file_path="workspace/notes/today.md").content_text == "the other"

    def test_a_long_file_is_cut_between_characters(self, run: Run, root: Path) -> None:
        (root / "a.txt").write_text("ä" * 400)

        output = run(FileRead, path="a.txt", max_bytes=513)

        assert (output.truncated, output.bytes_read, output.total_bytes) == (True, 513, 800)
        assert output.content_text == "ä" * 256

    @pytest.mark.parametrize(
        ("path", "code", "text"),
        [
            ("absent.md", "WORKSPACE_FILE_MISSING", "file not found: absent.md"),
            ("absent/a.md", "WORKSPACE_FILE_MISSING", "file not found: absent"),
            ("notes", "WORKSPACE_PATH_INVALID", "is not a file"),
            ("../outside/secret.txt", "POLICY_DENIED", "`..`"),
            ("..\\outside\\secret.txt", "POLICY_DENIED", "`..`"),
            ("/etc/passwd", "POLICY_DENIED", "relative"),
            ("door", "POLICY_DENIED", "link"),
            ("second", "POLICY_DENIED", "hard link"),
        ],
    )
    def test_what_cannot_be_read(self, run: Run, root: Path, outside: Path, path: str, code: str, text: str) -> None:
        (root / "door").symlink_to(outside / "secret.txt")
        (root / "second").hardlink_to(outside / "secret.txt")

        found, message = failure(run, FileRead, path=path)

        assert found == code
        assert text in message
        assert SECRET not in message


class TestWriteFile:
    def write(self, run: Run, **given: Any) -> Any:
        return run(WriteFile, **{"path": "notes/today.md", **given})

    def test_the_whole_text_is_replaced(self, run: Run, root: Path) -> None:
        output = self.write(run, content="# Heute\n")

        assert output.model_dump() == {
            "ok": True, "path": "notes/today.md", "mode": "replace", "dry_run": False, "changed": True,
            "created": False, "bytes_before": 8, "bytes_after": 8,
            "sha256_before": hashlib.sha256(b"# Today\n").hexdigest(),
            "sha256_after": hashlib.sha256(b"# Heute\n").hexdigest(),
            "preview_before": "# Today\n", "preview_after": "# Heute\n",
        }  # fmt: skip
        assert (root / "notes" / "today.md").read_text() == "# Heute\n"
        assert run.logs[0][0] == "Writing workspace file"  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        ("given", "after"),
        [
            ({"mode": "append", "content": "!"}, "# Today\n!"),
            ({"mode": "prepend", "content": "!"}, "!# Today\n"),
            ({"mode": "insert_at", "offset": 2, "content": "Not "}, "# Not Today\n"),
            ({"mode": "insert_at", "offset": 999, "content": "end"}, "# Today\nend"),
            ({"mode": "replace_range", "start": 2, "end": 7, "content": "Tomorrow"}, "# Tomorrow\n"),
            ({"mode": "replace_range", "start": 2, "end": 999, "content": ""}, "# "),
            ({"mode": "replace", "content_base64": base64.b64encode("ä".encode()).decode()}, "ä"),
            ({"mode": "append", "content": ""}, "# Today\n"),
        ],
        ids=["append", "prepend", "insert", "clamped", "range", "clamped-range", "base64", "nothing"],
    )
    def test_the_modes(self, run: Run, root: Path, given: dict[str, Any], after: str) -> None:
        output = self.write(run, **given)

        assert (root / "notes" / "today.md").read_text() == after
        assert output.changed is (after != "# Today\n")

    def test_positions_count_as_javascript_does(self, run: Run, root: Path) -> None:
        (root / "a.txt").write_text("ä👍b")

        self.write(run, path="a.txt", mode="insert_at", offset=3, content="|")

        assert (root / "a.txt").read_text() == "ä👍|b"
        assert failure(run, WriteFile, path="a.txt", mode="insert_at", offset=2, content="|")[0] == "INPUT_INVALID"

    def test_a_dry_run_tells_and_changes_nothing(self, run: Run, root: Path) -> None:
        output = self.write(run, content="new", dry_run=True)
        created = self.write(run, path="new.md", content="new", dry_run=True, create_if_missing=True)

        assert (output.changed, output.preview_after, created.created, created.sha256_before) == (
            True,
            "new",
            True,
            None,
        )
        assert (root / "notes" / "today.md").read_text() == "# Today\n"
        assert not (root / "new.md").exists()

    def test_new_files_and_directories_are_made_when_asked(self, run: Run, root: Path) -> None:
        output = self.write(run, path="a/b/c.md", content="x", create_if_missing=True, mkdir_p=True)

        assert (output.created, output.bytes_before) == (True, 0)
        assert (root / "a" / "b" / "c.md").read_text() == "x"
        assert drafts(root) == []

    @pytest.mark.parametrize(
        ("given", "code", "text"),
        [
            ({"path": "absent.md"}, "WORKSPACE_FILE_MISSING", "file not found"),
            ({"path": "absent.md", "mode": "insert_at", "offset": 0}, "WORKSPACE_FILE_MISSING", "file not found"),
            ({"path": "notes"}, "WORKSPACE_PATH_INVALID", "is a directory"),
            ({"path": "readme.txt/a", "create_if_missing": True}, "WORKSPACE_PATH_INVALID", "not a directory"),
            ({"path": "../a.md", "create_if_missing": True}, "POLICY_DENIED", "`..`"),
            ({"path": "door/a.md", "create_if_missing": True, "mkdir_p": True}, "POLICY_DENIED", "link"),
            ({"path": "door", "create_if_missing": True}, "POLICY_DENIED", "link"),
            ({"path": "notes/u\u0308.md", "create_if_missing": True}, "POLICY_DENIED", "composed"),
            ({"expected_sha256": "0" * 64}, "WORKSPACE_FILE_CHANGED", "not the version"),
            ({"content": "x" * 513, "max_bytes": 512}, "WORKSPACE_FILE_TOO_LARGE", "513"),
            ({"path": "binary", "mode": "insert_at", "offset": 0}, "WORKSPACE_FILE_BINARY", "not text"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_written(
        self, run: Run, root: Path, outside: Path, given: dict[str, Any], code: str, text: str
    ) -> None:
        (root / "door").symlink_to(outside)
        (root / "binary").write_bytes(b"\xff\xfe")

        found, message = failure(run, WriteFile, **{"path": "notes/today.md", "content": "x", **given})

        assert found == code
        assert text in message
        assert (root / "notes" / "today.md").read_text() == "# Today\n"
        assert sorted(path.name for path in outside.iterdir()) == ["inner", "secret.txt"]

    @pytest.mark.parametrize("encoded", ["A", "/w==", "====", "w6Q=w6Q="])
    def test_content_that_is_no_text_in_base64_is_refused(self, run: Run, encoded: str) -> None:
        with pytest.raises((AttemptFailed, ValueError)):
            self.write(run, content_base64=encoded)

    def test_the_expected_version_may_be_written_in_capitals(self, run: Run) -> None:
        now = hashlib.sha256(b"# Today\n").hexdigest().upper()

        assert self.write(run, content="x", expected_sha256=now).changed

    def test_nothing_is_lost_when_many_append_at_once(self, tree: Tree, root: Path) -> None:
        path = parse("log.txt", root=root)
        together = threading.Barrier(8)

        def append(name: int) -> None:
            together.wait()
            apply(tree, path, Edit(f"{name}\n".encode(), mode="append", create_if_missing=True))

        threads = [threading.Thread(target=append, args=[number]) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted((root / "log.txt").read_text().split()) == [str(number) for number in range(8)]


class TestRetryWithDirectories:
    """Contract 4.3: a missing parent is made after all, once, by jobs of the type `data.write_file`."""

    GIVEN = {"path": "a/b.md", "content": "x", "create_if_missing": True}

    def test_the_directory_is_made_and_the_input_says_so(
        self, run: Run, make_type: Callable[..., Any], make_job: Callable[..., Job], root: Path
    ) -> None:
        make_type("data.write_file", handler="builtin:data.write_file")
        job = make_job(type="data.write_file", input=self.GIVEN)

        run(WriteFile, job.id, **self.GIVEN)

        job.refresh_from_db()
        assert job.input == {**self.GIVEN, "mkdir_p": True, "__auto_retry_mkdir_p_attempted": True}
        assert (root / "a" / "b.md").read_text() == "x"
        assert [(message, level) for message, level, _ in run.logs[1:]] == [  # type: ignore[attr-defined]
            ("Auto-retrying data.write_file with mkdir_p=true after missing parent directory error", "warn"),
            ("Job succeeded after auto-retry with mkdir_p=true", "info"),
        ]

    @pytest.mark.parametrize(
        ("type_", "more"),
        [("my.write", {}), ("data.write_file", {"__auto_retry_mkdir_p_attempted": True})],
        ids=["another-type", "tried-before"],
    )
    def test_others_fail(
        self,
        run: Run,
        make_type: Callable[..., Any],
        make_job: Callable[..., Job],
        root: Path,
        type_: str,
        more: dict[str, Any],
    ) -> None:
        make_type(type_, handler="builtin:data.write_file")
        job = make_job(type=type_, input={**self.GIVEN, **more})

        code, message = failure(run, WriteFile, job_id=job.id, **self.GIVEN)

        assert code == "WORKSPACE_PATH_INVALID"
        assert "parent directory does not exist" in message
        assert not (root / "a").exists()


def test_names_and_text_are_found(run: Run) -> None:
    names = run(FileSearch, q="TODAY", base_path="workspace/notes")
    assert run.logs[0][0] == "Searching files in workspace"  # type: ignore[attr-defined]
    text = run(FindInFiles, pattern="^# t", regex=True, files=["workspace/notes/today.md", "absent"])

    assert names.matches == [{"path": "notes/today.md", "is_dir": False, "size": 8}]
    assert text.matches == [{"path": "notes/today.md", "line": 1, "column": 1, "text": "# Today"}]
    assert (text.requested_files_count, text.skipped_missing_files) == (2, 1)
    assert run.logs[0][0] == "Searching text inside workspace files"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kind", "given", "code"),
    [
        (FileSearch, {"query": "x", "path": "../outside"}, "POLICY_DENIED"),
        (FileSearch, {"query": "x", "path": "absent"}, "WORKSPACE_FILE_MISSING"),
        (FindInFiles, {"query": "x", "path": "door"}, "WORKSPACE_FILE_MISSING"),
        (FindInFiles, {"query": "x", "path": "door/inner"}, "POLICY_DENIED"),
        (FindInFiles, {"query": "x", "files": ["../outside/secret.txt"]}, "POLICY_DENIED"),
        (FindInFiles, {"query": "(", "regex": True}, "INPUT_INVALID"),
    ],
)
def test_searches_stay_inside(run: Run, root: Path, outside: Path, kind: type[Any], given: Any, code: str) -> None:
    (root / "door").symlink_to(outside)

    assert failure(run, kind, **given)[0] == code
