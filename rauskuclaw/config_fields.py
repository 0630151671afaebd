"""What settings are made of: their kinds, and how one is declared. Used by `rauskuclaw.config`."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from rauskuclaw.config_sources import ApiKeyEntry, parse_key_entries


def _csv(value: object) -> object:
    if isinstance(value, str):
        value = value.split(",")
    if isinstance(value, list | tuple):
        return tuple(dict.fromkeys(str(item).strip() for item in value if str(item).strip()))
    return value


def _only_1(value: object) -> object:
    return value.strip() == "1" if isinstance(value, str) else value


def _1_true_or_yes(value: object) -> object:
    return value.strip().lower() in {"1", "true", "yes"} if isinstance(value, str) else value


def at_least(least: int) -> AfterValidator:
    """Less counts as `least`: the contract clamps these."""
    return AfterValidator(lambda value: max(least, value))


def _absolute(path: Path) -> Path:
    return path.expanduser().resolve()


def master_key(text: str) -> bytes:
    """The 32 bytes of a master key, written in base64 or in hex. Raises ValueError."""
    text = text.strip()
    try:
        key = bytes.fromhex(text) if len(text) == 64 else base64.b64decode(text, altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != 32:
        raise ValueError("it must be 32 bytes in base64, as `manage.py secrets newkey` makes them")
    return key


def _is_master_key(value: SecretStr) -> SecretStr:
    master_key(value.get_secret_value())
    return value


Directory = Annotated[Path, AfterValidator(_absolute)]
Csv = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_csv)]
Switch = Annotated[bool, BeforeValidator(_only_1)]
HandlerSwitch = Annotated[bool, BeforeValidator(_1_true_or_yes)]
MasterKey = Annotated[SecretStr, AfterValidator(_is_master_key)]
MasterKeys = Annotated[tuple[MasterKey, ...], NoDecode, BeforeValidator(_csv)]
Keys = Annotated[tuple[ApiKeyEntry, ...], NoDecode, BeforeValidator(parse_key_entries)]


def setting(default: Any, env: str, doc: str, *, cfg: str = "", renamed_by: str = "", **limits: Any) -> Any:
    """Declare a setting: its environment name, its meaning, its path in `rauskuclaw.json` and its bounds.

    renamed_by: the JSON path that may hold another name for the environment variable (contract section 15, `*`).
    """
    extra: dict[str, Any] = {"cfg": cfg, "renamed_by": renamed_by}
    kind = "default_factory" if callable(default) else "default"
    return Field(**{kind: default}, validation_alias=env, description=doc, json_schema_extra=extra, **limits)
