"""What the processes write to their log: one chain for every record, whoever wrote it, and no secret in any of them.

Code logs as ever (`logging.getLogger(...)`). A record gets what is known where it is written (request, or job, attempt,
queue and worker), is cleaned of secrets, and becomes a line: JSON or text, as LOG_FORMAT says.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import structlog
from structlog.contextvars import bind_contextvars, clear_contextvars

from rauskuclaw import tracing
from rauskuclaw.config import Config, load

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

HIDDEN = "[redacted]"
MIN_SECRET_CHARS = 8
"""Configured secrets that are shorter are no secrets, and would blot out common words."""

MAX_REVEALED = 200
"""Secrets of the database that a process remembers to hide, the last opened ones."""

_revealed: dict[str, None] = {}

_SECRET_NAME = re.compile(
    r"(?:.*[_-])?(?:authorization|cookie|password|passwd|pwd|secret|token|api[_-]?key|private[_-]?key|credentials?)",
    re.IGNORECASE,
)
_NAMES = r"(?:[\w-]*(?:password|passwd|secret|token|api[_-]?key|private[_-]?key))"
_SECRETS = (
    # The line of a header, up to its end.
    (
        re.compile(r"\b((?:proxy-)?authorization|(?:set-)?cookie)(['\"]?\s*[:=]\s*['\"]?)[^\r\n'\"]+", re.IGNORECASE),
        r"\1\2",
    ),
    (re.compile(r"\b(Bearer|Basic)(\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), r"\1\2"),
    # scheme://user:password@host
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@]*)(:)[^\s/@]+(?=@)", re.IGNORECASE), r"\1\2"),
    # name=value, "name": "value"
    (re.compile(rf"\b({_NAMES})(['\"]?\s*[:=]\s*['\"]?)[^\s'\"&,;}})]+", re.IGNORECASE), r"\1\2"),
    (re.compile(r"([?&])(key=)[^\s&]+", re.IGNORECASE), r"\1\2"),
    # What is sealed, our own keys, those of model providers.
    (re.compile(r"\b(enc)(:)[A-Za-z0-9+/=_:.-]{8,}"), r"\1\2"),
    (re.compile(r"\b(rk_[a-z2-7]{8})(_)[A-Za-z0-9_-]{43}"), r"\1\2"),
    (re.compile(r"\b(sk|ghp|xox[abp])([-_])[A-Za-z0-9_-]{16,}"), r"\1\2"),
    (
        re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)(\s).*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL),
        r"\1\2",
    ),
)
_SUSPICIOUS = re.compile(
    r"authorization|cookie|bearer|basic|://|passw|secret|token|key|enc:|rk_|sk-|sk_|ghp_|xox", re.IGNORECASE
)
"""What a text holds that any of _SECRETS may match: one look spares most lines the others."""

_OURS = frozenset({"level", "logger", "time"})
"""Fields that no text from outside gets into."""

_RECORD_FACTS = ("job", "attempt", "queue", "worker")


def bind_request(request_id: str) -> None:
    """From now on what this thread or task logs is of this request, and of nothing else."""
    clear_contextvars()
    bind_contextvars(request_id=request_id)


def bind_attempt(*, job: str, attempt: int, queue: str, worker: str) -> None:
    """From now on what this thread or task logs is of this attempt, and of nothing else."""
    clear_contextvars()
    bind_contextvars(job=job, attempt=attempt, queue=queue, worker=worker)


def unbind() -> None:
    """What is logged from now on is of nothing in particular."""
    clear_contextvars()


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """THE processor that keeps secrets out of the log: by name, by shape, and those of the configuration by value."""
    return {name: value if name in _OURS else _clean(value, name) for name, value in event.items()}


def redacted_text(text: str) -> str:
    """The text with every secret in it replaced."""
    if _SUSPICIOUS.search(text):
        for pattern, kept in _SECRETS:
            text = pattern.sub(kept + HIDDEN, text)
    own = _any_of((*load().secret_values, *_revealed))
    return own.sub(HIDDEN, text) if own is not None else text


def hide(secret: str) -> None:
    """From now on this process shows `secret` in no text that it cleans: it was opened here."""
    if len(secret) >= MIN_SECRET_CHARS:
        _revealed.pop(secret, None)
        _revealed[secret] = None
        while len(_revealed) > MAX_REVEALED:
            _revealed.pop(next(iter(_revealed)), None)


def _clean(value: Any, name: str = "") -> Any:
    if name.startswith("_"):
        return value
    if name and value is not None and names_a_secret(name):
        return HIDDEN
    if isinstance(value, str):
        return redacted_text(value)
    if isinstance(value, Mapping):
        return {str(key): _clean(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return [_clean(inner) for inner in value]
    return value if value is None or isinstance(value, bool | int | float) else redacted_text(str(value))


@lru_cache(maxsize=16)
def _any_of(secrets: tuple[str, ...]) -> re.Pattern[str] | None:
    """Matches each of the secrets; None where there is none to look for."""
    values = [value for value in secrets if len(value) >= MIN_SECRET_CHARS]
    return re.compile("|".join(map(re.escape, sorted(values, key=len, reverse=True)))) if values else None


@lru_cache(maxsize=1024)
def names_a_secret(name: str) -> bool:
    """Whether a field of this name holds a secret."""
    return _SECRET_NAME.fullmatch(name) is not None


def _add_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """`trace_id`, where there is a trace: from a line of the log to its picture."""
    if trace_id := tracing.trace_id():
        event["trace_id"] = trace_id
    return event


def _as_text(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """`INFO jobs.tasks the message [job=… attempt=2]`, with the traceback below."""
    facts = " ".join(f"{name}={event[name]}" for name in _RECORD_FACTS if name in event)
    line = f"{event['level'].upper()} {event['logger']} {event['event']}" + (f" [{facts}]" if facts else "")
    return "\n".join([line, *(str(event[name]) for name in ("exception", "stack") if event.get(name))])


def formatter() -> logging.Formatter:
    """The formatter of every handler: the chain, and LOG_FORMAT's rendering at its end."""
    is_json = load().log_format == "json"
    known: list[Any] = [
        structlog.contextvars.merge_contextvars,
        *([_add_trace] if tracing.enabled else []),
        # A line of text shows neither these nor the time. They come first: they cannot pose as a field of ours.
        *([structlog.stdlib.ExtraAdder()] if is_json else []),
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        *([structlog.processors.TimeStamper("iso", key="time")] if is_json else []),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    render: Any = structlog.processors.JSONRenderer(ensure_ascii=False) if is_json else _as_text
    rest = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, redact, render]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=known, processors=rest)


def settings(config: Config) -> dict[str, Any]:
    """Django's LOGGING. Uvicorn's and Celery's own handlers give way to ours."""
    ours = ("rauskuclaw", "access", "chat", "jobs", "memory", "metrics", "providers", "schedules", "workspaces")
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "rauskuclaw.logs.formatter"}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["console"], "level": "WARNING"},
        "loggers": {
            **{name: {"level": config.log_level} for name in ours},
            **{name: {"handlers": [], "propagate": True} for name in ("uvicorn", "uvicorn.error", "celery")},
            # Answers are in the access log (rauskuclaw.access) already, and faults with their traceback. Uvicorn writes
            # none where nobody listens; unnamed here, its logger would be made to pass them on.
            "uvicorn.access": {"handlers": [], "propagate": False},
            "django.request": {"level": "CRITICAL"},
        },
    }
