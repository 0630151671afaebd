"""Downloads (contract 11): whole files, ranges, conditions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.apiclient import Api


def test_the_whole_file_as_an_attachment(web: Api, root: Path) -> None:
    (root / "Ärger.html").write_bytes(b"<script>\0")

    answer = web.get("/v1/workspace/download?path=Ärger.html", Accept="image/*")

    assert (answer.status, answer.body) == (200, b"<script>\0")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == "attachment; filename*=utf-8''%C3%84rger.html"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert web.get("/v1/workspace/download?path=readme.txt").headers["Content-Disposition"] == (
        'attachment; filename="readme.txt"'
    )


@pytest.mark.parametrize(
    ("asked", "status", "body", "shown"),
    [
        ("bytes=0-3", 206, b"Read", "bytes 0-3/9"),
        ("bytes=5-", 206, b"me.\n", "bytes 5-8/9"),
        ("bytes=-3", 206, b"e.\n"[-3:], "bytes 6-8/9"),
        ("bytes=0-999", 206, b"Read me.\n", "bytes 0-8/9"),
        ("bytes=-999", 206, b"Read me.\n", "bytes 0-8/9"),
        ("BYTES=8-8", 206, b"\n", "bytes 8-8/9"),
        ("bytes=3-1", 200, b"Read me.\n", None),
        ("bytes=-", 200, b"Read me.\n", None),
        ("bytes=0-1,3-4", 200, b"Read me.\n", None),
        ("lines=0-1", 200, b"Read me.\n", None),
        ("bytes=a-b", 200, b"Read me.\n", None),
    ],
)
def test_ranges(web: Api, asked: str, status: int, body: bytes, shown: str | None) -> None:
    answer = web.get("/v1/workspace/download?path=readme.txt", Range=asked)

    assert (answer.status, answer.body, answer.headers.get("Content-Range")) == (status, body, shown)
    assert answer.headers["Content-Length"] == str(len(body))


@pytest.mark.parametrize("asked", ["bytes=9-", "bytes=99-100", "bytes=-0"])
def test_a_range_after_the_end(web: Api, asked: str) -> None:
    answer = web.get("/v1/workspace/download?path=readme.txt", Range=asked)

    assert (answer.status, answer.code) == (416, "RANGE_NOT_SATISFIABLE")
    assert answer.headers["Content-Range"] == "bytes */9"


def test_a_download_goes_on_only_with_the_same_version(web: Api, root: Path) -> None:
    address = "/v1/workspace/download?path=readme.txt"
    etag = web.get(address).headers["ETag"]
    same = web.get(address, Range="bytes=5-", If_Range=etag)
    (root / "readme.txt").write_text("Another.\n")

    other = web.get(address, Range="bytes=5-", If_Range=etag)

    assert (same.status, same.text) == (206, "me.\n")
    assert (other.status, other.text) == (200, "Another.\n")


def test_what_is_known_is_not_sent_again(web: Api) -> None:
    address = "/v1/workspace/download?path=readme.txt"
    etag = web.get(address).headers["ETag"]

    assert web.get(address, If_None_Match=etag).status == 304
    assert web.get(address, If_Match='"other"').status == 412


def test_head_tells_the_size_and_sends_nothing(web: Api) -> None:
    answer = web("HEAD", "/v1/workspace/download?path=readme.txt")

    assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, "9", b"")


@pytest.mark.parametrize(("path", "status"), [("absent", 404), ("notes", 400), ("", 400)])
def test_what_is_no_file(web: Api, path: str, status: int) -> None:
    assert web.get(f"/v1/workspace/download?path={path}").status == status


def test_an_empty_file(web: Api, root: Path) -> None:
    (root / "empty").touch()

    assert web.get("/v1/workspace/download?path=empty").body == b""
    assert web.get("/v1/workspace/download?path=empty", Range="bytes=0-").status == 416
