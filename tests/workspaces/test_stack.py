"""The workspace of a whole running stack: jobs write it, people read and watch it, operators switch tools."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.running import API_KEY, RunningStack, running_stack, wait_until

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("workspace stack")]


@pytest.fixture(scope="module")
def stack() -> Iterator[RunningStack]:
    with running_stack(DATA_FILE_READ_ENABLED="1", DATA_FILE_WRITE_ENABLED="1") as running:
        yield running


@pytest.fixture
def root(stack: RunningStack) -> Path:
    stack.http.get("/v1/workspace/files").raise_for_status()
    return stack.var / "workspace"


@contextmanager
def watching(stack: RunningStack, path: str) -> Iterator[ClientConnection]:
    """A watch that has begun."""
    url = f"ws://127.0.0.1:{stack.port}/ws/workspace?path={path}"
    with connect(url, additional_headers={"x-api-key": API_KEY}, open_timeout=30) as socket:
        assert json.loads(socket.recv(timeout=30))["event"] == "resync"
        yield socket


def changes(socket: ClientConnection, name: str) -> dict[str, object]:
    """What the watch tells of a name next."""
    while True:
        frame = json.loads(socket.recv(timeout=30))
        for change in frame["data"].get("changes", []):
            if change["name"] == name:
                return dict(change["entry"])


def test_what_a_job_writes_is_told_read_found_and_taken_back(stack: RunningStack, root: Path) -> None:
    stack.http.post("/v1/workspace/create", json={"path": "inbox", "kind": "dir"}).raise_for_status()
    with watching(stack, "inbox") as socket:
        given = {"path": "inbox/report.md", "content": "The deadline is Friday.\n", "create_if_missing": True}
        written = stack.wait_for(stack.submit("data.write_file", input=given)["id"], "succeeded")["result"]
        told = changes(socket, "report.md")

    found = stack.wait_for(
        stack.submit("tools.find_in_files", input={"query": "DEADLINE", "path": "inbox"})["id"], "succeeded"
    )["result"]
    read = stack.http.get("/v1/workspace/file", params={"path": "inbox/report.md"}).json()["file"]

    assert told["size"] == written["bytes_after"] == len(given["content"])  # type: ignore[arg-type]
    assert written["sha256_after"] == hashlib.sha256(b"The deadline is Friday.\n").hexdigest()
    assert found["matches"] == [{"path": "inbox/report.md", "line": 1, "column": 5, "text": "The deadline is Friday."}]
    assert read["content"] == given["content"]
    named = stack.submit("tools.file_search", input={"query": "report"})
    assert stack.wait_for(named["id"], "succeeded")["result"]["matches"][0]["path"] == "inbox/report.md"


def test_a_missing_directory_is_made_once_the_job_has_failed_for_it(stack: RunningStack, root: Path) -> None:
    given = {"path": "a/b/c.md", "content": "x", "create_if_missing": True}

    job = stack.wait_for(stack.submit("data.write_file", input=given)["id"], "succeeded")

    assert job["attempts"] == 1
    assert job["input"] == {**given, "mkdir_p": True, "__auto_retry_mkdir_p_attempted": True}
    messages = [line["message"] for line in stack.logs(job["id"])]
    assert [message for message in messages if "mkdir_p" in message] == [
        "Auto-retrying data.write_file with mkdir_p=true after missing parent directory error",
        "Job succeeded after auto-retry with mkdir_p=true",
    ]
    assert (root / "a" / "b" / "c.md").read_text() == "x"


def test_a_job_does_not_get_out_of_the_workspace(stack: RunningStack, root: Path) -> None:
    (root / "door").symlink_to(stack.var / "secrets")

    read = stack.submit("data.file_read", input={"path": "door/api_key"})
    written = stack.submit("data.write_file", input={"path": "door/x", "content": "x", "create_if_missing": True})

    for job in (read, written):
        error = stack.wait_for(job["id"], "failed")["error"]
        assert (error["code"], "link" in error["message"]) == ("POLICY_DENIED", True)
    assert not (stack.var / "secrets" / "x").exists()


def test_a_search_through_much_is_cancelled_at_once(stack: RunningStack, root: Path) -> None:
    (root / "much").mkdir()
    for number in range(400):
        (root / "much" / f"{number}.txt").write_text("a line of nothing\n" * 100_000)
    given = {"query": "(a|b|c|d)+x$", "regex": True, "path": "much", "max_bytes_per_file": 2_097_152}

    job = stack.submit("tools.find_in_files", input=given, timeout_sec=600)
    wait_until(
        lambda: any(line["message"].startswith("Searching text") for line in stack.logs(job["id"])),
        what="its beginning",
    )
    stack.http.post(f"/v1/jobs/{job['id']}/cancel").raise_for_status()
    after = stack.submit("report.generate", input={"title": "next"})

    assert stack.wait_for(after["id"], "succeeded", timeout_sec=30)
    assert stack.job(job["id"])["status"] == "cancelled"
    wait_until(lambda: _busy(stack) == 0, what="the worker to be free", timeout_sec=30)


def _busy(stack: RunningStack) -> int:
    return sum(worker["busy"] for worker in stack.http.get("/v1/runtime/workers").json()["workers"])


def test_tools_are_switched_on_and_off_while_workers_run(stack: RunningStack) -> None:
    stack.http.patch("/v1/job-types/tool.exec", json={"enabled": True}).raise_for_status()

    def outcome() -> tuple[str, str | None]:
        job = stack.submit("tool.exec", input={"command": "echo", "args": ["hello"]}, max_attempts=1)
        ended = stack.wait_for(job["id"], "succeeded", "failed")
        return ended["status"], (ended["error"] or {}).get("code")

    def switch(on: bool) -> None:
        tools = {"tool_exec": {"enabled": on, "allowlist": ["echo"]}}
        stack.http.put("/v1/ui-prefs?scope=runtime_tools", json={"prefs": tools}).raise_for_status()
        assert stack.http.get("/v1/runtime/handlers").json()["handlers"]["tool_exec"]["enabled"] is on

    assert outcome() == ("failed", "HANDLER_DISABLED")
    switch(True)
    wait_until(lambda: outcome() == ("succeeded", None), what="workers to go by it")
    switch(False)
    wait_until(lambda: outcome() == ("failed", "HANDLER_DISABLED"), what="workers to go by it")
