"""The pages that are made from the code, so that they cannot disagree with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from rauskuclaw.config import ROOT, SECTIONS, Config
from rauskuclaw.config_checks import expectation
from rauskuclaw.config_sources import env_name, is_secret, json_path, renamed_by
from rauskuclaw.errors import REGISTRY, Code

_MADE = "made by `manage.py docs`: change the code, then run it"

_CONFIGURATION = f"""# Configuration

<!-- {_MADE} -->

An environment variable that is not empty wins over `rauskuclaw.json`, which wins over the default. The file lies
beside `manage.py`, or where `RAUSKUCLAW_CONFIG_PATH` says; it holds one JSON object, the dots below are its nesting,
and unknown keys are refused. All problems are told at once, and nothing starts while there is one.

A **secret** may also come from a file: `API_KEY_FILE=/run/secrets/api_key` for `API_KEY`. It is never printed.

A variable with † may have a second name: the value of the key after † in the file. Its standard name wins.
"""

_ERRORS = f"""# Error codes

<!-- {_MADE} -->

Codes are stable: branch on them. Messages are for people and may change. Every fault is answered as
`{{"ok": false, "error": {{"code", "message", "details"?}}}}`; its `X-Request-ID` finds it in the server's log.
"""

_ENDS = """
## What is told of a job

These stand in `job.error.code`, or in the answers of `GET /v1/jobs/{id}/explain`. *Tried again* says whether another
attempt may follow while any is left.
"""


CONTAINERS = {
    "POSTGRES_PASSWORD": ("", "Password of its Postgres, letters and digits. Required there; keep it."),
    "REDIS_PASSWORD": ("", "Password of its Redis, letters and digits. Required there."),
    "BIND_ADDRESS": ("127.0.0.1", "Address of this machine on which the web server is reached; its port is PORT."),
    "WORKER_STOP_GRACE": ("25s", "How long a stopping worker may take: more than DRAIN_SEC."),
    "RAUSKUCLAW_TAG": ("local", "Tag of the image that is built and run."),
}
"""What `compose.yaml` reads besides settings: default and meaning."""


def pages() -> dict[Path, str]:
    """Every generated page: its file and its content."""
    return {
        ROOT / "docs" / "configuration.md": configuration(),
        ROOT / "docs" / "errors.md": errors(),
        ROOT / ".env.example": env_example(),
    }


def configuration() -> str:
    """`docs/configuration.md`."""
    lines = [_CONFIGURATION]
    for section, fields in _sections():
        lines += [f"## {section}", "", *_table("variable", "in the file", "default", "accepts", "meaning")]
        lines += [*(_row(*_setting(field)) for field in fields), ""]
    return "\n".join(lines).rstrip() + "\n"


def env_example() -> str:
    """`.env.example`: every variable, commented out, with its default."""
    lines = [
        f"# Settings of RauskuClaw, {_MADE}.",
        "# Copy to .env, uncomment what you change. Containers read it by themselves; else: set -a; . ./.env; set +a",
    ]
    for section, fields in _sections():
        lines += ["", f"# ---- {section}"]
        for field in fields:
            default = "" if callable(field.default_factory) else _default(field)
            lines += [f"# {(field.description or '').replace('`', '')}", f"#{env_name(field)}={default}"]
    lines += ["", "# ---- Containers: compose.yaml alone reads these"]
    for name, (default, meaning) in CONTAINERS.items():
        lines += [f"# {meaning}", f"#{name}={default}"]
    return "\n".join(lines) + "\n"


def errors() -> str:
    """`docs/errors.md`."""
    lines = [_ERRORS, "## Answers of the API", "", *_table("code", "status", "meaning", "what to do")]
    lines += [
        _row(f"`{code}`", str(code.status), code.meaning, code.remedy) for code in REGISTRY.values() if code.status
    ]
    lines += [_ENDS, *_table("code", "tried again", "meaning", "what to do")]
    lines += [
        _row(f"`{code}`", _tried_again(code), code.meaning, code.remedy)
        for code in REGISTRY.values()
        if not code.status
    ]
    return "\n".join(lines) + "\n"


def _sections() -> Iterator[tuple[str, list[FieldInfo]]]:
    names = list(Config.model_fields)
    starts = {section: names.index(first) for section, first in SECTIONS.items()}
    ends = [*sorted(starts.values()), len(names)]
    for section, start in starts.items():
        yield section, [Config.model_fields[name] for name in names[start : ends[ends.index(start) + 1]]]


def _setting(field: FieldInfo) -> tuple[str, ...]:
    path, rename = json_path(field), renamed_by(field)
    in_file = " ".join(filter(None, [f"`{path}`" if path else "", f"† `{rename}`" if rename else ""]))
    default = "computed" if field.default_factory else _default(field)
    return (
        f"`{env_name(field)}`",
        in_file or "–",
        f"`{default}`" if default else "–",
        ("secret, " if is_secret(field) else "") + expectation(field),
        field.description or "",
    )


def _default(field: FieldInfo) -> str:
    default: Any = field.default
    if isinstance(default, bool):
        return str(int(default))
    if isinstance(default, tuple):
        return ",".join(default)
    if isinstance(default, Path):
        return str(default.relative_to(ROOT))
    return "" if default is None else str(default)


def _tried_again(code: Code) -> str:
    return "–" if code.retryable is None else "yes" if code.retryable else "no"


def _table(*heads: str) -> tuple[str, str]:
    return _row(*heads), _row(*("-" for _ in heads))


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
