"""The workspace over HTTP (contract 11): each method parses, calls one verb, notes it in the audit log and answers."""

from __future__ import annotations

import base64
from contextlib import ExitStack
from typing import Any, ClassVar

from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers as fields
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access import audit
from access.principals import principal_of
from jobs import bodies
from jobs.api import serializers as job_shapes
from rauskuclaw.api.pagination import decode_cursor, encode_cursor, int_param, text_param
from rauskuclaw.config import load
from rauskuclaw.errors import bad_field
from workspaces import files
from workspaces.api import serializers as shapes
from workspaces.api.downloads import download
from workspaces.api.requests import (
    Base64Parser,
    ContentParser,
    CreateBody,
    MoveBody,
    UploadBody,
    WriteBody,
    asked_path,
    decoded,
    if_match,
    path_in,
)
from workspaces.api.uploads import FormParser, Uploaded
from workspaces.faults import Binary
from workspaces.paths import WorkspacePath, parse
from workspaces.tree import Entry, workspace

PATH = OpenApiParameter("path", OpenApiTypes.STR, required=True, description="Relative, with / between the parts.")
IF_MATCH = OpenApiParameter(
    "If-Match", OpenApiTypes.STR, OpenApiParameter.HEADER, description="`etag`: 409 unless the file is that version."
)
FILE_ANSWER = job_shapes.answer("WorkspaceFileAnswer", file=shapes.WorkspaceFile())
ERRORS = dict.fromkeys((400, 401, 403, 404, 409, 413, 415, 500), job_shapes.ErrorAnswer)


class FilesView(APIView):
    """A directory of the workspace."""

    @extend_schema(
        operation_id="workspace_list",
        tags=["workspace"],
        parameters=[
            OpenApiParameter("path", OpenApiTypes.STR, description="Directory; default: the workspace itself."),
            OpenApiParameter("limit", OpenApiTypes.INT, description="1 to 1000, default 200."),
            OpenApiParameter("cursor", OpenApiTypes.STR, description="`next_cursor` of the page before."),
        ],
        responses={
            200: job_shapes.answer(
                "WorkspaceList",
                root=fields.CharField(),
                path=fields.CharField(),
                entries=shapes.WorkspaceEntry(many=True),
                count=fields.IntegerField(help_text="Entries on this page."),
                next_cursor=fields.CharField(allow_null=True, help_text="null after the last page."),
            ),
            **ERRORS,
        },
    )
    def get(self, request: Request) -> Response:
        """List a directory: directories first, then by name, a page at a time."""
        tree = workspace()
        path = parse(request.query_params.get("path", ""), root=tree.root)
        limit = int_param(request, "limit", 200, 1000)
        cursor = text_param(request, "cursor")
        after = None if cursor is None else _place(cursor)
        found = files.listing(tree, path, limit=limit + 1, after=after)
        page = found[:limit]
        more = len(found) > limit
        return Response(
            {
                "ok": True,
                "root": str(tree.root),
                "path": str(path),
                "entries": [files.entry_json(entry) for entry in page],
                "count": len(page),
                "next_cursor": _cursor(page[-1]) if more else None,
            }
        )


class FileView(APIView):
    """One file of the workspace."""

    parser_classes = [ContentParser]
    examples: ClassVar[dict[str, Any]] = {"PUT": {"path": "notes/today.md", "content": "# Today\n"}}

    @extend_schema(
        operation_id="workspace_read",
        tags=["workspace"],
        parameters=[
            PATH,
            OpenApiParameter("encoding", OpenApiTypes.STR, enum=["utf-8", "base64"], description="Default utf-8."),
        ],
        responses={200: job_shapes.answer("WorkspaceReadAnswer", file=shapes.ReadFile()), **ERRORS},
    )
    def get(self, request: Request) -> Response:
        """Read a file up to WORKSPACE_FILE_VIEW_MAX_BYTES: as text, or in base64 whatever it is."""
        tree = workspace()
        path = asked_path(tree, request)
        entry, data = files.read(tree, path, max_bytes=load().workspace_file_view_max_bytes)
        content: dict[str, Any]
        if text_param(request, "encoding") == "base64":
            content = {"content_base64": base64.b64encode(data).decode(), "lossy": False}
        elif files.is_binary(data):
            raise Binary(path)
        else:
            text = data.decode("utf-8", "replace")
            content = {"content": text, "lossy": text.encode() != data}
        return _shown({"file": files.file_json(entry) | content}, entry)

    @extend_schema(
        operation_id="workspace_write",
        tags=["workspace"],
        parameters=[IF_MATCH],
        request=shapes.WriteRequest,
        responses={200: FILE_ANSWER, **ERRORS},
    )
    def put(self, request: Request) -> Response:
        """Replace the content of a file that exists."""
        tree, body = workspace(), bodies.parse(WriteBody, request.data)
        path = path_in(tree, body.path)
        if (body.content is None) == (body.content_base64 is None):
            raise bad_field("content", "is required: send content, or content_base64")
        entry = files.write(
            tree,
            path,
            decoded(body.content_base64) if body.content_base64 is not None else (body.content or "").encode(),
            max_bytes=load().workspace_file_write_max_bytes,
            if_match=if_match(request),
            text=body.content is not None,
        )
        _note(request, "file.written", path, size=entry.info.st_size)
        return _shown({"file": files.file_json(entry)}, entry)

    @extend_schema(
        operation_id="workspace_delete",
        tags=["workspace"],
        parameters=[
            PATH,
            OpenApiParameter("recursive", OpenApiTypes.STR, description="`1`: a directory, with all it holds."),
            IF_MATCH,
        ],
        request=None,
        responses={
            200: job_shapes.answer("WorkspaceDeleted", deleted=fields.BooleanField(), file=shapes.DeletedFile()),
            **ERRORS,
        },
    )
    def delete(self, request: Request) -> Response:
        """Delete a file, or with `recursive=1` a directory. Of a link, the link goes."""
        tree = workspace()
        path = asked_path(tree, request)
        recursive = request.query_params.get("recursive", "").lower() in {"1", "true"}
        files.delete(tree, path, recursive=recursive, if_match=if_match(request))
        _note(request, "file.deleted", path, recursive=recursive)
        return Response({"ok": True, "deleted": True, "file": {"path": str(path)}})


class DownloadView(APIView):
    """A file as it is."""

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Whatever the client accepts: the file is what it is, and only errors have a format."""
        return super().perform_content_negotiation(request, force=True)

    @extend_schema(
        operation_id="workspace_download",
        tags=["workspace"],
        parameters=[
            PATH,
            OpenApiParameter("Range", OpenApiTypes.STR, OpenApiParameter.HEADER, description="`bytes=0-1023`"),
        ],
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY, 206: None, 416: None, **ERRORS},
    )
    def get(self, request: Request) -> HttpResponseBase:
        """Download a file of any size, or a range of it; If-Range and If-None-Match are understood."""
        tree = workspace()
        return download(request._request, tree, asked_path(tree, request))


class UploadView(APIView):
    """Files from elsewhere."""

    parser_classes = [Base64Parser, FormParser]
    examples: ClassVar[dict[str, Any]] = {"POST": {"path": "notes/hello.txt", "content_base64": "SGVsbG8K"}}

    @extend_schema(
        operation_id="workspace_upload",
        tags=["workspace"],
        parameters=[IF_MATCH],
        request={"application/json": shapes.UploadRequest, "multipart/form-data": shapes.UploadForm},
        responses={201: job_shapes.answer("WorkspaceUploaded", file=shapes.UploadedFile()), **ERRORS},
    )
    def post(self, request: Request) -> Response:
        """Make a file, of any content: base64 in JSON, or a form, which is streamed to the disk."""
        tree = workspace()
        with ExitStack() as opened:
            sent: Any = request.data
            if callable(sent):
                form: Uploaded = sent(tree, opened)
                path, overwrite = path_in(tree, form.path), form.overwrite
                entry = files.publish(tree, form.draft, path, overwrite=overwrite, if_match=if_match(request))
            else:
                body = bodies.parse(UploadBody, sent)
                path, overwrite = path_in(tree, body.path), body.overwrite
                entry = files.create(
                    tree,
                    path,
                    decoded(body.content_base64),
                    max_bytes=load().workspace_upload_max_bytes,
                    overwrite=overwrite,
                    if_match=if_match(request),
                )
        _note(request, "file.uploaded", path, size=entry.info.st_size)
        return _shown({"file": files.file_json(entry) | {"overwritten": overwrite}}, entry, status=201)


class CreateView(APIView):
    """New files and directories."""

    parser_classes = [ContentParser]
    examples: ClassVar[dict[str, Any]] = {"POST": {"path": "notes", "kind": "dir"}}

    @extend_schema(
        operation_id="workspace_create",
        tags=["workspace"],
        request=shapes.CreateRequest,
        responses={201: job_shapes.answer("WorkspaceCreated", entry=shapes.CreatedEntry()), **ERRORS},
    )
    def post(self, request: Request) -> Response:
        """Make a directory, or a file with some text."""
        tree, body = workspace(), bodies.parse(CreateBody, request.data)
        path = path_in(tree, body.path)
        if body.is_directory:
            entry = files.create_directory(tree, path, overwrite=body.overwrite)
            shown: dict[str, Any] = {"path": str(path), "kind": "dir"}
        else:
            entry = files.create(
                tree,
                path,
                (body.content or "").encode(),
                max_bytes=load().workspace_file_write_max_bytes,
                overwrite=body.overwrite,
                if_match=if_match(request),
            )
            shown = {"path": str(path), "kind": "file"} | files.file_json(entry)
        _note(request, "directory.created" if body.is_directory else "file.created", path)
        return _shown({"entry": shown | {"overwritten": body.overwrite}}, entry, status=201)


class MoveView(APIView):
    """Other places and names."""

    examples: ClassVar[dict[str, Any]] = {"PATCH": {"from_path": "notes/a.md", "to_path": "notes/b.md"}}

    @extend_schema(
        operation_id="workspace_move",
        tags=["workspace"],
        parameters=[IF_MATCH],
        request=shapes.MoveRequest,
        responses={
            200: job_shapes.answer(
                "WorkspaceMoved",
                moved=fields.BooleanField(),
                from_path=fields.CharField(),
                to_path=fields.CharField(),
            ),
            **ERRORS,
        },
    )
    def patch(self, request: Request) -> Response:
        """Move or rename. `overwrite` replaces a file by a file, or a directory by a directory, with all it held."""
        tree, body = workspace(), bodies.parse(MoveBody, request.data)
        source, target = path_in(tree, body.from_path, "from_path"), path_in(tree, body.to_path, "to_path")
        moved = files.move(tree, source, target, overwrite=body.overwrite, if_match=if_match(request))
        if moved:
            _note(request, "file.moved", source, to_path=str(target), overwrite=body.overwrite)
        return Response({"ok": True, "moved": moved, "from_path": str(source), "to_path": str(target)})


def _shown(body: dict[str, Any], entry: Entry, *, status: int = 200) -> Response:
    return Response({"ok": True, **body}, status=status, headers={"ETag": entry.etag})


def _cursor(last: Entry) -> str:
    # In hex, because a name may hold characters that a cursor may not.
    return encode_cursor(int(last.kind != "dir"), last.path.name.encode().hex())


def _place(cursor: str) -> files.Place:
    is_file, name = decode_cursor(cursor, int, str)
    try:
        return files.place(bytes.fromhex(name).decode(), is_file=bool(is_file))
    except ValueError:
        raise bad_field("cursor", "is not one that this API gave; start again without it") from None


def _note(request: Request, action: str, path: WorkspacePath, **details: Any) -> None:
    """Tell the audit log. The file is changed by now: whatever happens to the entry, nothing is half done."""
    audit.record(
        actor=principal_of(request).actor,
        action=action,
        object_type="file",
        object_id=str(path)[-160:],
        details={"path": str(path), **details},
    )
