"""Is the process alive (`/health`), is the stack ready (`/ready`), is my key good (`/v1/ping`)?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import Any

from django.db import DatabaseError, InterfaceError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from jobs import nodes
from jobs.handlers import registry
from jobs.models import JobType, Node
from rauskuclaw import errors
from rauskuclaw.api.fields import iso_ms
from rauskuclaw.api.renderers import CompactJSONRenderer
from rauskuclaw.errors import Problem
from rauskuclaw.redis import REDIS_ERRORS, client

Check = dict[str, Any]

_OK = serializers.BooleanField()


class _AlwaysJSON(BaseContentNegotiation):
    """Probes send odd Accept headers and must not be refused for them."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


class _Open(APIView):
    authentication_classes = ()
    permission_classes = ()
    throttle_classes = ()
    renderer_classes = (CompactJSONRenderer,)
    content_negotiation_class = _AlwaysJSON


class Health(_Open):
    """The web process answers. Touches neither Postgres nor Redis."""

    @extend_schema(
        tags=["health"],
        auth=[],
        responses=inline_serializer(
            "Health", {"ok": _OK, "service": serializers.CharField(), "time": serializers.DateTimeField()}
        ),
    )
    def get(self, request: Request) -> Response:
        """Say so."""
        return Response({"ok": True, "service": "rauskuclaw-api", "time": iso_ms(timezone.now())})


class Ready(_Open):
    """Everything that a job needs is there: database, migrations, Redis, workers and beat."""

    @extend_schema(
        tags=["health"],
        auth=[],
        responses=inline_serializer("Ready", {"ok": _OK, "checks": serializers.DictField()}),
    )
    def get(self, request: Request) -> Response:
        """All checks are good, or 503 NOT_READY with the same `checks` in the details."""
        checks = check_all()
        bad = [name for name, check in checks.items() if not check["ok"]]
        if bad:
            raise Problem(errors.NOT_READY, f"Not ready: {', '.join(bad)}.", {"checks": checks})
        return Response({"ok": True, "checks": checks})


class Ping(APIView):
    """The caller's credential is good."""

    @extend_schema(tags=["health"], responses=inline_serializer("Pong", {"ok": _OK, "pong": _OK}))
    def get(self, request: Request) -> Response:
        """Say so."""
        return Response({"ok": True, "pong": True})


def check_all() -> dict[str, Check]:
    """Each part of the stack: `{"ok": bool, "detail": str}`. Details name no address and no secret."""
    checks = dict(_database_checks())
    checks["redis"] = _redis_check()
    return checks | dict(_node_checks(asked=checks["database"]["ok"]))


def _check(ok: bool, detail: str) -> Check:
    return {"ok": ok, "detail": detail}


def _database_checks() -> Iterator[tuple[str, Check]]:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        yield "database", _check(True, "answers")
        _applied()
        yield "migrations", _check(True, "all applied")
    except _MigrationsMissingError as missing:
        yield "migrations", _check(False, f"{missing} not applied: run `manage.py migrate`")
    except (DatabaseError, InterfaceError):
        yield "database", _check(False, "does not answer: see DATABASE_URL and `manage.py doctor`")
        yield "migrations", _check(False, "unknown without the database")


class _MigrationsMissingError(Exception):
    """The message is how many."""


@cache
def _applied() -> None:
    """Return once all migrations are applied, and remember that: they are never taken back under a running process."""
    executor = MigrationExecutor(connection)
    if missing := executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise _MigrationsMissingError(len(missing))


def _redis_check() -> Check:
    try:
        client().ping()
    except REDIS_ERRORS:
        return _check(False, "does not answer: see REDIS_URL and `manage.py doctor`; jobs wait and nothing is lost")
    return _check(True, "answers")


def _node_checks(*, asked: bool) -> Iterator[tuple[str, Check]]:
    """asked: whether the database answers at all."""
    alive: Counter[str] | None = None
    unneeded: set[str] = set()
    with suppress(DatabaseError, InterfaceError):
        if asked:
            alive = Counter("io" if node.pool == "io" else node.kind for node in nodes.alive(Node.objects.all()))
            unneeded = set() if alive["io"] or _io_is_needed() else {"io"}
    for part in ("worker", "io", "beat"):
        if alive is None:
            yield part, _check(False, "unknown without the database")
        elif alive[part]:
            yield part, _check(True, f"{alive[part]} alive")
        elif part in unneeded:
            yield part, _check(True, "none alive, and no enabled job type needs one")
        else:
            yield part, _check(False, "none alive: `make up` runs one")


def _io_is_needed() -> bool:
    """Whether an enabled job type's jobs wait for an I/O worker."""
    ids = [name for name in registry.installed() if registry.pool_of(name) == "io"]
    return JobType.objects.filter(enabled=True, handler__in=ids).exists()
