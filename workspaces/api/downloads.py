"""Downloads: a file of any size in pieces, or a range of it (RFC 9110 §14)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.http import content_disposition_header, http_date

from rauskuclaw import errors
from rauskuclaw.api.ranges import byte_range
from workspaces.paths import WorkspacePath
from workspaces.tree import Entry, Tree, failing

PIECE_BYTES = 262_144


class _Pieces:
    """The bytes of a part of a file; closes it."""

    def __init__(self, file: BinaryIO, length: int) -> None:
        self._file, self._left = file, length

    def __iter__(self) -> Iterator[bytes]:
        while self._left and (piece := self._file.read(min(PIECE_BYTES, self._left))):
            self._left -= len(piece)
            yield piece

    def close(self) -> None:
        """Give the file back, also where nobody took a piece."""
        self._file.close()


def download(request: HttpRequest, tree: Tree, path: WorkspacePath) -> HttpResponseBase:
    """The answer: 200, 206, or 304 and 412 as the request's conditions say. Raises RANGE_NOT_SATISFIABLE."""
    file = tree.open(path)
    try:
        entry = Entry.of(path, os.fstat(file.fileno()))
        response = _unmodified(request, entry) or _whole_or_part(request, file, entry)
    except BaseException:
        file.close()
        raise
    if not response.streaming:
        file.close()
    response.headers["ETag"] = entry.etag
    response.headers["Last-Modified"] = http_date(int(entry.info.st_mtime))
    response.headers["Accept-Ranges"] = "bytes"
    # The answer may be kept, and is asked about each time: the file may change, and the key may be revoked.
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def _unmodified(request: HttpRequest, entry: Entry) -> HttpResponseBase | None:
    return get_conditional_response(request, etag=entry.etag, last_modified=int(entry.info.st_mtime))


def _whole_or_part(request: HttpRequest, file: BinaryIO, entry: Entry) -> HttpResponseBase:
    size = entry.info.st_size
    asked = byte_range(request, size_bytes=size, etag=entry.etag, what=str(entry.path))
    first, last = asked or (0, size - 1)
    length = last - first + 1
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(length),
        "Content-Disposition": content_disposition_header(True, entry.path.name) or "attachment",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    if asked:
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    status = 206 if asked else 200
    if request.method == "HEAD":
        return HttpResponse(status=status, headers=headers)
    with failing(errors.WORKSPACE_DOWNLOAD_FAILED, entry.path):
        file.seek(first)
    return StreamingHttpResponse(_Pieces(file, length), status=status, headers=headers)
