"""`compose.yaml` as Compose reads it: merged, and with the variables of a `.env` filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from rauskuclaw.config import ROOT

PATH = ROOT / "compose.yaml"
OURS = {"migrate": "bootstrap", "web": "web", "worker": "worker", "io": "io", "system": "system", "beat": "beat"}
"""The services that run our image, and the role of each."""

_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*)|:\?(?P<complaint>[^}]*))?\}")


def variables() -> set[str]:
    """Every variable that the file takes from `.env`."""
    return {found["name"] for found in _VARIABLE.finditer(PATH.read_text("utf-8"))}


def composed(env: Mapping[str, str]) -> dict[str, Any]:
    """The file with `env` filled in. Raises KeyError for a variable that must be set."""
    filled: dict[str, Any] = _filled(yaml.safe_load(PATH.read_text("utf-8")), env)
    return filled


def _filled(value: Any, env: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(inner, env) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, env) for inner in value]
    return _VARIABLE.sub(lambda found: _value(found, env), value) if isinstance(value, str) else value


def _value(found: re.Match[str], env: Mapping[str, str]) -> str:
    if given := env.get(found["name"]):
        return given
    if found["default"] is None:
        raise KeyError(found["name"])
    return found["default"]
