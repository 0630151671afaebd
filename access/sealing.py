"""Sealed values: `enc:1:<key>:<nonce, ciphertext and tag>`, AES-256-GCM under SECRETS_KEY.

A value is sealed for a purpose (`secret:openai`) and opens for no other one, so that nobody who can write the database
can put one secret in another's place. The name of the key in it says which of several opens it, so that the key can be
changed while everything runs: the new one goes into SECRETS_KEY, the old one into SECRETS_OLD_KEYS, then `manage.py
secrets rotate`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from functools import cache
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rauskuclaw import logs
from rauskuclaw.config import load
from rauskuclaw.config_fields import master_key
from rauskuclaw.own_secret import own_secret

PREFIX = "enc:"
_VERSION = "1"
_NONCE_BYTES = 12


class Unsealable(Exception):
    """A sealed value that does not open: by a key that is not configured, for another purpose, or changed."""


def new_key() -> str:
    """A fresh master key, as SECRETS_KEY takes it: 256 random bits in base64."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


def is_sealed(text: str) -> bool:
    """Whether `text` claims to be a sealed value."""
    return text.startswith(PREFIX)


def seal(text: str, *, purpose: str) -> str:
    """`text` sealed under the current key."""
    key = current_key()
    nonce = secrets.token_bytes(_NONCE_BYTES)
    sealed = AESGCM(key).encrypt(nonce, text.encode(), purpose.encode())
    return f"{PREFIX}{_VERSION}:{key_name(key)}:{base64.urlsafe_b64encode(nonce + sealed).decode()}"


def unseal(sealed: str, *, purpose: str) -> str:
    """What was sealed. Raises Unsealable, in whose message nothing of it is. The log shows it from now on no more."""
    _, version, name, data = _parts(sealed)
    key = _keys().get(name)
    if version != _VERSION or key is None:
        raise Unsealable(f"it is sealed under the key {name}, which is neither SECRETS_KEY nor in SECRETS_OLD_KEYS")
    try:
        raw = base64.urlsafe_b64decode(data)
        text = AESGCM(key).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], purpose.encode()).decode()
    except (InvalidTag, ValueError, binascii.Error):
        raise Unsealable("it was changed, or sealed for another purpose") from None
    logs.hide(text)
    return text


def sealed_by(sealed: str) -> str:
    """The name of the key that sealed a value. Raises Unsealable."""
    return _parts(sealed)[2]


def key_name(key: bytes) -> str:
    """What a key is called in sealed values and messages: 8 hex digits that tell nothing of it."""
    return hashlib.sha256(b"rauskuclaw sealing key\0" + key).hexdigest()[:8]


def current_key() -> bytes:
    """The key that seals: SECRETS_KEY, else the one made once in VAR_DIR/secrets."""
    given = load().secrets_key
    return master_key(given.get_secret_value()) if given else _own_key(load().var_dir / "secrets" / "sealing")


def known_keys() -> frozenset[str]:
    """The names of all keys that open something here."""
    return frozenset(_keys())


def _keys() -> dict[str, bytes]:
    keys = [current_key(), *(master_key(old.get_secret_value()) for old in load().secrets_old_keys)]
    return {key_name(key): key for key in keys}


@cache
def _own_key(path: Path) -> bytes:
    return master_key(own_secret(path, new_key))


def _parts(sealed: str) -> list[str]:
    parts = sealed.split(":")
    if len(parts) != 4 or not is_sealed(sealed):
        raise Unsealable("it is no sealed value")
    return parts
