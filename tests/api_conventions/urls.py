"""A small API for the tests of the conventions: views that do one thing, or fail in one way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, ClassVar

from django.core.exceptions import SuspiciousOperation
from django.db import DataError, OperationalError, connection
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import include, path
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from rauskuclaw import errors
from rauskuclaw.api.awaited import AwaitedResponse
from rauskuclaw.errors import Problem
from rauskuclaw.health import Health, Ready
from rauskuclaw.pages import Home

FAULTS: dict[str, Exception] = {
    "problem": Problem(errors.CONFLICT, "Read it again.", {"status": "failed"}),
    "invalid": exceptions.ValidationError({"jobs": [{}, {"priority": ["Too high."]}], "non_field_errors": ["No."]}),
    "anonymous": exceptions.NotAuthenticated(),
    "denied": exceptions.PermissionDenied(),
    "missing": Http404(),
    "throttled": exceptions.Throttled(wait=6.2),
    "database": OperationalError("connection to server at 10.0.0.7 lost"),
    "data": DataError("value out of range"),
    "bug": ZeroDivisionError("secret-in-a-traceback"),
}


class Open(APIView):
    authentication_classes = ()
    permission_classes = ()
    throttle_classes = ()


class Echo(Open):
    """Answers what it was sent."""

    def get(self, request: Request, name: str = "") -> Response:
        return Response({"ok": True, "name": name, "query": dict(request.query_params.items())})

    def post(self, request: Request, name: str = "") -> Response:
        return Response({"ok": True, "body": request.data}, status=201)


class Fail(Open):
    def get(self, request: Request, fault: str) -> Response:
        raise FAULTS[fault]


class Store(Open):
    """Hands the body to Postgres, which refuses some texts."""

    def post(self, request: Request) -> Response:
        with connection.cursor() as cursor:
            cursor.execute("SELECT %s::text", [dict(request.data)["text"]])
        return Response({"ok": True})


def plain_fail(request: HttpRequest, fault: str) -> HttpResponse:
    raise FAULTS[fault]


async def async_fail(request: HttpRequest, fault: str) -> HttpResponse:
    raise FAULTS[fault]


def suspicious(request: HttpRequest) -> HttpResponse:
    raise SuspiciousOperation("looks odd")


def form(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(len(request.POST)))


def download(request: HttpRequest) -> HttpResponse:
    """A megabyte in many pieces."""
    return StreamingHttpResponse((b"x" * 10_000 for _ in range(100)), content_type="text/plain")  # type: ignore[return-value]


may_go_on = threading.Event()


def in_pieces(request: HttpRequest) -> HttpResponse:
    """The second piece is not made before somebody has the first."""

    def pieces() -> Iterator[bytes]:
        yield b"first "
        yield b"second" if may_go_on.wait(10) else b"nobody had the first"

    return StreamingHttpResponse(pieces(), content_type="text/plain")  # type: ignore[return-value]


class Later:
    """Is there once it is let go."""

    looked_at: ClassVar[set[Later]] = set()
    let_go = threading.Event()

    def look(self, *, hurry: bool = False) -> bytes | None:
        self.looked_at.add(self)
        return b"in a hurry" if hurry else b"at last" if self.let_go.is_set() else None

    def pause_sec(self) -> float:
        return 0.01


def later(request: HttpRequest) -> AwaitedResponse:
    return AwaitedResponse(Later(), content_type="text/plain")


v1: list[Any] = [
    path("echo", Echo.as_view()),
    path("jobs/<str:name>/logs", Echo.as_view()),
    path("jobs/<str:name>", Echo.as_view()),
    path("fail/<str:fault>", Fail.as_view()),
    path("plain-fail/<str:fault>", plain_fail),
    path("async-fail/<str:fault>", async_fail),
    path("suspicious", suspicious),
    path("store", Store.as_view()),
    path("form", form),
    path("download", download),
    path("in-pieces", in_pieces),
    path("later", later),
]

urlpatterns = [
    path("", Home.as_view()),
    path("health", Health.as_view()),
    path("ready", Ready.as_view()),
    path("v1/", include(v1)),
    path("page-fail/<str:fault>", plain_fail),
]

handler400 = "rauskuclaw.api.errors.bad_request"
handler403 = "rauskuclaw.api.errors.forbidden"
handler404 = "rauskuclaw.api.errors.not_found"
handler500 = "rauskuclaw.api.errors.server_error"
