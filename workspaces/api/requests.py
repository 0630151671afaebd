"""What a request says: paths, versions and bodies."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from django.utils.http import parse_etags
from pydantic import BaseModel, BeforeValidator, ConfigDict
from rest_framework.request import Request

from rauskuclaw.api.parsers import StrictJSONParser
from rauskuclaw.config import load
from rauskuclaw.errors import bad_field
from workspaces.files import IfMatch
from workspaces.paths import WorkspacePath, parse
from workspaces.tree import Tree

JSON_UPLOAD_MAX_BYTES = 50_331_648
"""A file in base64 is held in memory: more than this only as multipart/form-data. 48 MiB are 64 MiB of base64."""
_REST_OF_BODY_BYTES = 65_536
"""What a body holds beside its content: the path, names, spaces."""
_MAX_ESCAPE = 6
"""Bytes of JSON for one byte of text: a control character is \\u0001."""

OnlyTrue = Annotated[bool, BeforeValidator(lambda value: value is True)]
"""`true`; anything else is false (contract 11)."""


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class WriteBody(_Body):
    """PUT /file."""

    path: str
    content: str | None = None
    content_base64: str | None = None


class UploadBody(_Body):
    """POST /upload as JSON."""

    path: str
    content_base64: str
    overwrite: OnlyTrue = False


class CreateBody(_Body):
    """POST /create. Any kind but `dir` is a file."""

    path: str
    kind: Annotated[bool, BeforeValidator(lambda value: value == "dir")] = False
    content: str | None = None
    overwrite: OnlyTrue = False

    @property
    def is_directory(self) -> bool:
        """What to make."""
        return self.kind


class MoveBody(_Body):
    """PATCH /move."""

    from_path: str
    to_path: str
    overwrite: OnlyTrue = False


class ContentParser(StrictJSONParser):
    """JSON with the text of a file in it, as large as may be written."""

    def limit_bytes(self) -> int:
        """The content's limit, however it is escaped."""
        content = _MAX_ESCAPE * load().workspace_file_write_max_bytes
        return max(load().max_body_bytes, content + _REST_OF_BODY_BYTES)


class Base64Parser(StrictJSONParser):
    """JSON with a file in base64 in it, as large as may be uploaded."""

    def limit_bytes(self) -> int:
        """The upload's limit in base64."""
        content = min(JSON_UPLOAD_MAX_BYTES, load().workspace_upload_max_bytes)
        return max(load().max_body_bytes, content * 4 // 3 + _REST_OF_BODY_BYTES)


def path_in(tree: Tree, text: str, asked_as: str = "path") -> WorkspacePath:
    """A path that must name something in the workspace, not the workspace. Raises VALIDATION_ERROR."""
    path = parse(text, root=tree.root, asked_as=asked_as)
    if not path.parts:
        raise bad_field(asked_as, "is required: name a file or directory in the workspace")
    return path


def asked_path(tree: Tree, request: Request) -> WorkspacePath:
    """The query parameter `path`, which must be there."""
    return path_in(tree, request.query_params.get("path", ""))


def if_match(request: Request) -> IfMatch:
    """The header If-Match. A version without quotes counts, too."""
    header = request.headers.get("If-Match")
    if header is None:
        return IfMatch()
    return IfMatch(parse_etags(header) or [f'"{header.strip()}"'])


def decoded(text: str) -> bytes:
    """The bytes of `content_base64`, with or without padding and line breaks. Raises VALIDATION_ERROR for garbage."""
    compact = "".join(text.split()).rstrip("=")
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise bad_field("content_base64", "is not base64") from None
