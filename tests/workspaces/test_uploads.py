"""Uploads (contract 11): base64 in JSON, and forms."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.apiclient import Api
from tests.workspaces.conftest import drafts, form

Configure = Callable[..., Any]


def test_base64_makes_a_file(web: Api, root: Path) -> None:
    answer = web.post("/v1/workspace/upload", {"path": "notes/a.bin", "content_base64": "AAEC"})

    assert answer.status == 201
    file = answer.json["file"]
    assert (file["path"], file["size"], file["overwritten"]) == ("notes/a.bin", 3, False)
    assert (root / "notes" / "a.bin").read_bytes() == b"\0\1\2"


@pytest.mark.parametrize("text", ["AAEC AAEC", "AAECAA", "AAECAA==", "AAEC\r\nAAEC\n", ""])
def test_base64_may_be_folded_and_unpadded(web: Api, text: str) -> None:
    assert web.post("/v1/workspace/upload", {"path": "a.bin", "content_base64": text}).status == 201


@pytest.mark.parametrize("text", ["?", "AAE*", "A", "AA=EC"])
def test_garbage_is_refused(web: Api, root: Path, text: str) -> None:
    answer = web.post("/v1/workspace/upload", {"path": "a.bin", "content_base64": text})

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert not (root / "a.bin").exists()


def test_the_whole_limit_can_be_sent_in_base64(web: Api, root: Path) -> None:
    content = os.urandom(4_194_304)
    body = {"path": "large.bin", "content_base64": base64.b64encode(content).decode()}

    assert web.post("/v1/workspace/upload", body).status == 201

    assert (root / "large.bin").read_bytes() == content


def test_more_than_the_limit_is_refused(web: Api, configure: Configure, root: Path) -> None:
    configure(WORKSPACE_UPLOAD_MAX_BYTES=1024)
    content = base64.b64encode(b"x" * 1025).decode()

    answer = web.post("/v1/workspace/upload", {"path": "a.bin", "content_base64": content})

    assert (answer.status, answer.code) == (413, "WORKSPACE_FILE_TOO_LARGE")
    assert not (root / "a.bin").exists()


def test_a_form_makes_a_file(web: Api, root: Path) -> None:
    answer = web.post("/v1/workspace/upload", **form("notes/a.bin", b"\0\1\r\n--\r\n2"))

    assert (answer.status, answer.json["file"]["path"]) == (201, "notes/a.bin")
    assert (root / "notes" / "a.bin").read_bytes() == b"\0\1\r\n--\r\n2"
    assert drafts(root) == []


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [("readme.txt", {}, 409), ("readme.txt", {"overwrite": "yes"}, 409), ("notes", {"overwrite": "true"}, 400),
     ("absent/a", {}, 400), ("", {}, 400), ("../a", {}, 400)],
    ids=["exists", "not-true", "directory", "no-parent", "no-path", "escape"],
)  # fmt: skip
def test_a_form_that_cannot_be_placed_leaves_nothing(
    web: Api, root: Path, path: str, fields: dict[str, str], status: int
) -> None:
    assert web.post("/v1/workspace/upload", **form(path, b"mine", **fields)).status == status

    assert (root / "readme.txt").read_text() == "Read me.\n"
    assert drafts(root) == []


@pytest.mark.parametrize("excess", [1, 300_000], ids=["a-byte", "much"])
def test_a_form_over_the_limit_leaves_nothing(web: Api, root: Path, configure: Configure, excess: int) -> None:
    configure(WORKSPACE_UPLOAD_MAX_BYTES=70_000)

    answer = web.post("/v1/workspace/upload", **form("a.bin", b"x" * (70_000 + excess)))

    assert (answer.status, answer.code) == (413, "WORKSPACE_FILE_TOO_LARGE")
    assert drafts(root) == []


def test_a_form_with_two_files_or_none_is_refused(web: Api, root: Path) -> None:
    twice = form("a.bin", b"one")
    part = b'--limit\r\nContent-Disposition: form-data; name="f2"; filename="b"\r\n\r\ntwo\r\n'
    none = b'--limit\r\nContent-Disposition: form-data; name="path"\r\n\r\na.bin\r\n--limit--\r\n'

    assert web.post("/v1/workspace/upload", **{**twice, "body": part + twice["body"]}).status == 400
    assert web.post("/v1/workspace/upload", **{**twice, "body": none}).status == 400
    assert drafts(root) == []


def test_no_other_kind_of_body_is_taken(web: Api) -> None:
    answer = web.post("/v1/workspace/upload", b"path=a", content_type="application/x-www-form-urlencoded")

    assert (answer.status, answer.code) == (415, "UNSUPPORTED_MEDIA_TYPE")
