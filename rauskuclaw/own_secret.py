"""Secrets that the project makes for itself, once, and keeps in a file."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path


def own_secret(path: Path, make: Callable[[], str]) -> str:
    """The secret in `path` (mode 0600), made on first use. Of processes that start at once all get the same one."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text("utf-8")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(make())
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link is made whole or not at all, and never replaces what somebody else has made meanwhile.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()
    return path.read_text("utf-8")
