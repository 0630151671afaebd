"""Which handlers are installed: those of this project's apps, and plug-ins of the group `rauskuclaw.handlers`."""

from __future__ import annotations

import logging
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any

from django.apps import apps

from jobs.handlers.base import Handler
from rauskuclaw.config import load
from rauskuclaw.wire import PoolName

ENTRY_POINT_GROUP = "rauskuclaw.handlers"
AnyHandler = Handler[Any, Any]
logger = logging.getLogger("jobs.handlers")


@cache
def installed() -> dict[str, AnyHandler]:
    """Every installed handler by id.

    Each app of this project lists its classes in `<app>.handlers.HANDLERS`. A package that cannot be loaded is logged
    and left out: one bad plug-in must not stop the others. Raises ValueError when two handlers claim one id.
    """
    classes: list[type[AnyHandler]] = []
    for app in apps.get_app_configs():
        if find_spec(f"{app.name}.handlers") is not None:
            classes += getattr(import_module(f"{app.name}.handlers"), "HANDLERS", ())
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            classes.append(entry_point.load())
        except Exception:
            logger.exception("handler plug-in %s (%s) cannot be loaded", entry_point.name, entry_point.value)
    found: dict[str, AnyHandler] = {}
    for handler_class in classes:
        if found.setdefault(handler_class.id, handler := handler_class()) is not handler:
            raise ValueError(f"two handlers claim the id {handler_class.id}")
    return found


def pool_of(handler_id: str) -> PoolName:
    """What the handler runs in. One that is not installed here may be elsewhere: its worker will say."""
    handler = get(handler_id)
    return "process" if handler is None or load().io_concurrency == 0 else handler.pool


def is_short(handler_id: str) -> bool:
    """Whether the handler says it returns at once, and runs where several jobs can share a message."""
    handler = get(handler_id)
    return handler is not None and handler.short and pool_of(handler_id) == "process"


def get(handler_id: str) -> AnyHandler | None:
    """The handler of an id, or None."""
    return installed().get(handler_id)
