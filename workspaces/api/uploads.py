"""An upload as multipart/form-data: the file goes to the disk of the workspace as it comes, and is never in memory."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Any

from django.core.files.uploadhandler import FileUploadHandler
from django.http.multipartparser import MultiPartParser
from rest_framework.parsers import BaseParser

from rauskuclaw import errors
from rauskuclaw.config import load
from rauskuclaw.errors import Problem, bad_field
from workspaces.faults import TooLarge
from workspaces.paths import ROOT
from workspaces.tree import Draft, Tree, failing

PIECE_BYTES = 262_144


@dataclass(frozen=True)
class Uploaded:
    """The fields of a form, and its file as a draft that waits for its place."""

    path: str
    overwrite: bool
    draft: Draft


class _ToDraft(FileUploadHandler):
    """Writes the form's one file to a draft."""

    chunk_size = PIECE_BYTES

    def __init__(self, draft: Draft, *, max_bytes: int) -> None:
        super().__init__()
        self._draft, self._max_bytes = draft, max_bytes
        self.files = 0

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """A part that is a file begins."""
        super().new_file(*args, **kwargs)
        self.files += 1
        if self.files > 1:
            raise bad_field("file", "is there twice: send one file at a time")

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Write it down. Raises TooLarge as soon as it is too much."""
        size = start + len(raw_data)
        if size > self._max_bytes:
            raise TooLarge("the file", size=size, max_bytes=self._max_bytes)
        with failing(errors.WORKSPACE_WRITE_FAILED, ROOT):
            self._draft.write(raw_data)

    def file_complete(self, file_size: int) -> None:
        """The part has ended. None: there is nothing that Django should keep."""


class _Counted:
    """A stream that knows how much of it was read: Django takes a body that is cut off for a whole one."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.read_bytes = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.read_bytes += len(data)
        return data


class FormParser(BaseParser):
    """Gives the form to the view as a function that takes the tree and the stack that its draft lives in."""

    media_type = "multipart/form-data"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """Nothing is read yet: first the view must know where to."""
        assert parser_context is not None
        meta = parser_context["request"].META
        return lambda tree, opened: receive(stream, meta, tree, opened)


def receive(stream: IO[bytes], meta: Mapping[str, Any], tree: Tree, opened: ExitStack) -> Uploaded:
    """Read the form: fields `path` and `overwrite`, one file of any name. The draft is gone with `opened`.

    It waits in the workspace itself, because the form may tell the path after the file.
    """
    limit = load().workspace_upload_max_bytes
    declared = int(meta.get("CONTENT_LENGTH") or 0)
    if declared > limit + PIECE_BYTES:
        raise TooLarge("the upload", size=declared, max_bytes=limit)
    with tree.directory(ROOT) as fd, failing(errors.WORKSPACE_WRITE_FAILED, ROOT):
        draft = opened.enter_context(Draft(fd))
    handler, counted = _ToDraft(draft, max_bytes=limit), _Counted(stream)
    fields, _ = MultiPartParser(dict(meta), counted, [handler], "utf-8").parse()  # type: ignore[arg-type]
    while counted.read(PIECE_BYTES):
        pass
    if counted.read_bytes < declared:
        raise Problem(
            errors.VALIDATION_ERROR,
            f"The body ended after {counted.read_bytes:,} of {declared:,} bytes: send it again.",
        )
    if not handler.files:
        raise bad_field("file", "is required: a part of the form with a file name")
    return Uploaded(fields.get("path", ""), fields.get("overwrite", "").lower() in {"1", "true"}, draft)
