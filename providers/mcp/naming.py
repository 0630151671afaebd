"""What models call the tools of MCP servers."""

from __future__ import annotations

import hashlib
import re

PREFIX = "mcp__"
MAX_FUNCTION_CHARS = 64
SERVER_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
TOOL_NAME = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9_.-]{1,128}")
_DIGEST_CHARS = 10


def function_name(server: str, tool: str) -> str:
    """`mcp__<server>__<tool>`; where that is no name of a function, or too long, cut and with a digest of both names.

    No two servers share one, because a server's name has no underscore in it.
    """
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", tool)
    name = f"{PREFIX}{server}__{plain}"
    if plain == tool and len(name) <= MAX_FUNCTION_CHARS:
        return name
    digest = hashlib.sha256(f"{server}/{tool}".encode()).hexdigest()[:_DIGEST_CHARS]
    return f"{name[: MAX_FUNCTION_CHARS - _DIGEST_CHARS - 1]}_{digest}"
