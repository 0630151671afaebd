"""Small files of `VAR_DIR`: secrets, kept ports, and writes that are never seen half done."""

import os
import random
import secrets
import shutil
import socket
from pathlib import Path

# Below the ephemeral range of Linux (32768+) and macOS (49152+): a port taken from that range may be the local end
# of somebody's outgoing connection just when the server wants it back.
_PORTS = range(15_000, 32_000)


def write_atomically(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Replace `path` by `text`: a reader sees the old or the new content, also after a crash. Mode as given."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def keep_secret(path: Path) -> str:
    """The secret in `path` (mode 0600, folder 0700), made on first use: 192 random bits, safe in a URL."""
    try:
        if kept := path.read_text("utf-8").strip():
            return kept
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    secret = secrets.token_urlsafe(24)
    write_atomically(path, secret)
    return secret


def keep_port(path: Path) -> int:
    """The loopback port noted in `path` while it is free, else another free one, noted there.

    Keeping it lets addresses in shells and tools outlive a restart. Between this check and the server's own bind
    somebody else may take the port: then the server says so and the next start chooses another.
    """
    try:
        kept = int(path.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        kept = 0
    if kept and _is_free(kept):
        return kept
    port = next(port for port in iter(lambda: random.choice(_PORTS), None) if _is_free(port))  # noqa: S311
    write_atomically(path, f"{port}\n", mode=0o644)
    return port


def empty_folder(path: Path) -> None:
    """Make `path` a folder with nothing in it, for the owner alone."""
    if path.exists():
        shutil.rmtree(path)
    path.mkdir(mode=0o700)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
