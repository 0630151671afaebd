"""Uploads and downloads through a real web process: of any size, in little memory, whole or not at all."""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.live.web import ADMIN, Web, eventually
from tests.workspaces.conftest import drafts

LIMIT_BYTES = 100 * 1024 * 1024
LARGE_BYTES = 96 * 1024 * 1024
ALLOWED_GROWTH_KB = 24 * 1024


@pytest.fixture(scope="module")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKSPACE_UPLOAD_MAX_BYTES", str(LIMIT_BYTES))
        web = Web(tmp_path_factory.mktemp("transfers"))
    try:
        web.wait_until_ready()
        yield web
    finally:
        web.stop()


@pytest.fixture
def root(server: Web, transactional_db: None) -> Path:
    (server.log.parent / "workspace").mkdir(exist_ok=True)
    return server.log.parent / "workspace"


@pytest.fixture
def web(server: Web) -> Iterator[httpx.Client]:
    address = f"http://127.0.0.1:{server.port}/v1/workspace"
    with httpx.Client(base_url=address, headers={"x-api-key": ADMIN}, timeout=60, trust_env=False) as client:
        yield client


class Noise(io.RawIOBase):
    """A file of so many bytes that is nowhere."""

    def __init__(self, size: int) -> None:
        self._left, self.sha256 = size, hashlib.sha256()
        self._piece = os.urandom(65_536)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        piece = self._piece[: min(self._left, size if size > 0 else self._left)]
        self._left -= len(piece)
        self.sha256.update(piece)
        return piece


def form_around(size: int, path: str) -> tuple[bytes, bytes, dict[str, str]]:
    """What stands before and after a file of so many bytes, and the headers."""
    before = (
        f'--limit\r\nContent-Disposition: form-data; name="path"\r\n\r\n{path}\r\n'
        '--limit\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    ).encode()
    after = b"\r\n--limit--\r\n"
    length = len(before) + size + len(after)
    return before, after, {"content-type": "multipart/form-data; boundary=limit", "content-length": str(length)}


def pieces(before: bytes, noise: Noise, after: bytes) -> Iterator[bytes]:
    yield before
    while piece := noise.read(65_536):
        yield piece
    yield after


def peak_kb(server: Web) -> int:
    """The most memory that the process ever had."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{server.pid}/status").read_text())
    assert found is not None
    return int(found[1])


def test_a_large_file_goes_up_and_down_in_little_memory(server: Web, web: httpx.Client, root: Path) -> None:
    noise = Noise(LARGE_BYTES)
    before, after, headers = form_around(LARGE_BYTES, "large.bin")
    # What the first requests of any kind load is not counted.
    web.post("/upload", files={"file": b"small"}, data={"path": "small.bin"}).raise_for_status()
    web.get("/download", params={"path": "small.bin"}).raise_for_status()
    at_rest = peak_kb(server)

    uploaded = web.post("/upload", content=pieces(before, noise, after), headers=headers)
    down = hashlib.sha256()
    with web.stream("GET", "/download", params={"path": "large.bin"}) as download:
        for piece in download.iter_bytes():
            down.update(piece)

    assert uploaded.status_code == 201, uploaded.text
    assert uploaded.json()["file"]["size"] == LARGE_BYTES
    assert down.digest() == noise.sha256.digest()
    assert peak_kb(server) - at_rest < ALLOWED_GROWTH_KB
    assert drafts(root) == []


def begun_upload(server: Web, path: str, size: int, *, key: str | None = ADMIN) -> socket.socket:
    """A connection that has sent all of an upload but the file."""
    before, _, headers = form_around(size, path)
    headers |= {"host": "localhost"} | ({} if key is None else {"x-api-key": key})
    lines = [f"{name}: {value}" for name, value in headers.items()]
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    raw.sendall("\r\n".join(["POST /v1/workspace/upload HTTP/1.1", *lines, "", ""]).encode() + before)
    return raw


def answer_of(raw: socket.socket) -> tuple[int, str]:
    """Its status and body, though the request has not ended."""
    response = http.client.HTTPResponse(raw)
    response.begin()
    return response.status, response.read().decode()


def test_more_than_the_limit_is_refused_before_it_is_read(server: Web, root: Path) -> None:
    with begun_upload(server, "huge.bin", LIMIT_BYTES * 4) as raw:
        status, body = answer_of(raw)

    assert status == 413
    assert "WORKSPACE_FILE_TOO_LARGE" in body
    eventually(lambda: drafts(root) == [])


def test_nobody_unknown_gets_a_byte_onto_the_disk(server: Web, root: Path) -> None:
    with begun_upload(server, "foreign.bin", LARGE_BYTES, key=None) as raw:
        status, _ = answer_of(raw)

    assert status == 401
    assert drafts(root) == []


def test_an_upload_that_is_cut_off_leaves_nothing(server: Web, root: Path) -> None:
    with begun_upload(server, "cut.bin", LARGE_BYTES) as raw:
        raw.sendall(os.urandom(2_000_000))
        eventually(lambda: drafts(root) != [])

    eventually(lambda: drafts(root) == [])
    assert not (root / "cut.bin").exists()


def test_a_download_that_nobody_takes_gives_its_file_back(server: Web, web: httpx.Client, root: Path) -> None:
    (root / "long.bin").write_bytes(b"x" * 50_000_000)
    with web.stream("GET", "/download", params={"path": "long.bin"}) as download:
        next(download.iter_raw(1000))

    def still_open() -> list[str]:
        files = [str(link.readlink()) for link in Path(f"/proc/{server.pid}/fd").iterdir() if link.is_symlink()]
        return [name for name in files if name.endswith("long.bin")]

    eventually(lambda: still_open() == [])


def test_while_transfers_are_slow_everything_else_is_answered(server: Web, web: httpx.Client, root: Path) -> None:
    slow = [begun_upload(server, f"slow-{number}.bin", LARGE_BYTES) for number in range(24)]
    try:
        eventually(lambda: len(drafts(root)) == 8)

        assert web.get("/files").status_code == 200
        assert web.post("/create", json={"path": "meanwhile.txt", "overwrite": True}).status_code == 201
    finally:
        for one in slow:
            one.close()
    eventually(lambda: drafts(root) == [])


def test_base64_above_the_limit_of_other_bodies_passes(web: httpx.Client, root: Path) -> None:
    content = "eHh4" * 1_000_000

    answer = web.post("/upload", json={"path": "b64.bin", "content_base64": content, "overwrite": True})

    assert answer.status_code == 201, answer.text
    assert (root / "b64.bin").stat().st_size == 3_000_000
