"""What a stored key looks like, and what is kept of it.

A key is `rk_<prefix>_<secret>`: 8 base32 characters to find and name it by, then 256 random bits. It is kept as a plain
SHA-256: slow, salted hashes make guessable passwords expensive to guess, and 256 random bits cannot be guessed at any
speed, while each request would pay for the slowness.
"""

from __future__ import annotations

import hashlib
import re
import secrets

_KEY = re.compile(r"rk_([a-z2-7]{8})_[A-Za-z0-9_-]{43}")
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


def generate() -> str:
    """A new key."""
    prefix = "".join(secrets.choice(_BASE32) for _ in range(8))
    return f"rk_{prefix}_{secrets.token_urlsafe(32)}"


def digest(key: str) -> str:
    """SHA-256 of a key of any kind, in hex."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def prefix_of(key: str) -> str | None:
    """The prefix of a text that looks like a stored key, None for any other text."""
    match = _KEY.fullmatch(key)
    return match[1] if match else None
