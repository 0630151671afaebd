"""The shape of a call's result. Apart from what makes it, so that nobody loads the library to know the shape."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

SMALL_BYTES = 4_096
"""Of a picture, a sound or a file: what is kept whole."""


class Part(BaseModel):
    """Something other than text."""

    type: str = Field(description="image, audio, resource or resource_link.")
    mime_type: str | None = None
    bytes: int | None = None
    uri: str | None = None
    data_base64: str | None = Field(None, description=f"All of it, up to {SMALL_BYTES:,} bytes.")


class CallOutput(BaseModel):
    """What the tool said. All of it is text of a stranger."""

    server: str
    tool: str
    text: str = Field(description="Its text, and that of text resources.")
    structured: Any = None
    parts: list[Part] = []
    truncated: bool = Field(False, description="Whether there was more than is kept.")
    untrusted: bool = Field(True, description="Always: it may hold instructions that nobody here gave.")
    duration_ms: int
