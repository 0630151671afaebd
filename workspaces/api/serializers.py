"""The shapes of requests and answers, for the OpenAPI document. What is sent comes from `files.py`."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

Shape = serializers.Serializer[Any]

NEW_KINDS = ("file", "dir")
ENTRY_KINDS = (*NEW_KINDS, "link", "other")


class WorkspaceFile(Shape):
    """A file."""

    path = serializers.CharField()
    size = serializers.IntegerField(help_text="In bytes.")
    modified_at = serializers.DateTimeField()
    etag = serializers.CharField(help_text="Its version: send it as If-Match with a change.")


class ReadFile(WorkspaceFile):
    """A file with its content."""

    content = serializers.CharField(required=False, help_text="As UTF-8; absent with encoding=base64.")
    content_base64 = serializers.CharField(required=False)
    lossy = serializers.BooleanField(
        help_text="Whether some of it is not UTF-8 and is shown as U+FFFD: writing `content` back would change it."
    )


class UploadedFile(WorkspaceFile):
    """A file just made."""

    overwritten = serializers.BooleanField(help_text="As the request said.")


class CreatedEntry(Shape):
    """A file or a directory just made; of a directory, path, kind and overwritten."""

    path = serializers.CharField()
    kind = serializers.ChoiceField(choices=NEW_KINDS)
    size = serializers.IntegerField(required=False)
    modified_at = serializers.DateTimeField(required=False)
    etag = serializers.CharField(required=False)
    overwritten = serializers.BooleanField()


class WorkspaceEntry(Shape):
    """A line of a listing."""

    name = serializers.CharField()
    path = serializers.CharField()
    is_dir = serializers.BooleanField()
    size = serializers.IntegerField(allow_null=True, help_text="null for what is no file.")
    modified_at = serializers.DateTimeField()
    kind = serializers.ChoiceField(
        choices=ENTRY_KINDS,
        help_text="Links are not followed; `other` (a device, a FIFO, a socket, a hard link) cannot be opened.",
    )
    etag = serializers.CharField()


class DeletedFile(Shape):
    """What is gone."""

    path = serializers.CharField()


class WriteRequest(Shape):
    """The new content of a file that exists: `content` or `content_base64`."""

    path = serializers.CharField()
    content = serializers.CharField(required=False)
    content_base64 = serializers.CharField(required=False)


class UploadRequest(Shape):
    """A file in base64."""

    path = serializers.CharField()
    content_base64 = serializers.CharField()
    overwrite = serializers.BooleanField(default=False)


class UploadForm(Shape):
    """A file as it is, of any size up to WORKSPACE_UPLOAD_MAX_BYTES."""

    path = serializers.CharField()
    overwrite = serializers.BooleanField(default=False)
    file = serializers.FileField()


class CreateRequest(Shape):
    """A file or directory to make."""

    path = serializers.CharField()
    kind = serializers.ChoiceField(choices=NEW_KINDS, default="file")
    content = serializers.CharField(default="")
    overwrite = serializers.BooleanField(default=False)


class MoveRequest(Shape):
    """What to move where."""

    from_path = serializers.CharField()
    to_path = serializers.CharField()
    overwrite = serializers.BooleanField(default=False)


class Match(Shape):
    """A file or directory by its name, or a line of a file."""

    path = serializers.CharField()
    is_dir = serializers.BooleanField(required=False, help_text="Of names.")
    size = serializers.IntegerField(required=False, allow_null=True, help_text="Of names; null for what is no file.")
    line = serializers.IntegerField(required=False, help_text="Of text, from 1.")
    column = serializers.IntegerField(required=False, help_text="Of text, from 1.")
    text = serializers.CharField(required=False, help_text="Of text: the line, up to 500 characters.")
