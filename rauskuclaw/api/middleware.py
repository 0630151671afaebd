"""What surrounds every request: its id, its log line, its headers, and an envelope for whatever goes wrong."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_plus

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from rauskuclaw import errors, logs
from rauskuclaw.api import routes
from rauskuclaw.api.errors import is_api_path, problem_of, respond, shown_path
from rauskuclaw.config import load
from rauskuclaw.errors import Problem

Handler = Callable[[HttpRequest], Any]

access_log = logging.getLogger("rauskuclaw.access")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,80}")
_SECRET_PARAMETER = re.compile(r"key|.*(?:token|api_?key).*", re.IGNORECASE)

_OURS = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# Swagger UI ships inline styles; the admin's theme evaluates Alpine.js expressions as well.
_SWAGGER = _OURS.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
_ADMIN = _SWAGGER.replace("script-src 'self'", "script-src 'self' 'unsafe-inline' 'unsafe-eval'")


@sync_and_async_middleware
def envelope(get_response: Handler) -> Handler:
    """Give the request an id and a log line, the answer its headers, and every fault of the API its JSON."""
    if iscoroutinefunction(get_response):

        async def middleware(request: HttpRequest) -> HttpResponseBase:
            started = _arrive(request)
            return _leave(request, await get_response(request), started)
    else:

        def middleware(request: HttpRequest) -> HttpResponseBase:  # type: ignore[misc]
            started = _arrive(request)
            return _leave(request, get_response(request), started)

    middleware.process_exception = _process_exception  # type: ignore[attr-defined]
    return middleware


@sync_and_async_middleware
def canonical_path(get_response: Handler) -> Handler:
    """Read paths as the v1 contract does (case and a final slash do not matter), and answer OPTIONS without auth."""
    if iscoroutinefunction(get_response):

        async def middleware(request: HttpRequest) -> HttpResponseBase:
            return _options(request) or await get_response(request)
    else:

        def middleware(request: HttpRequest) -> HttpResponseBase:  # type: ignore[misc]
            return _options(request) or get_response(request)

    return middleware


def _options(request: HttpRequest) -> HttpResponse | None:
    """Canonicalise the path; the answer when OPTIONS was asked of a path of the API."""
    path = routes.canonical(request.path_info)
    if path != request.path_info:
        request.path = request.path.removesuffix(request.path_info) + path
        request.path_info = path
    if request.method != "OPTIONS" or not is_api_path(path):
        return None
    methods = routes.allowed_methods(path)
    return None if methods is None else HttpResponse(headers={"Allow": ", ".join(methods)})


def _arrive(request: HttpRequest) -> float:
    sent = request.META.get("HTTP_X_REQUEST_ID", "")
    request.META["HTTP_X_REQUEST_ID"] = request_id = sent if _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
    logs.bind_request(request_id)
    return time.perf_counter()


def _leave(request: HttpRequest, response: HttpResponseBase, started: float) -> HttpResponseBase:
    path = request.path_info
    if is_api_path(path):
        response = _with_body(request, response)
        response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Request-ID"] = request.META["HTTP_X_REQUEST_ID"]
    if "Content-Security-Policy" not in response.headers:
        response.headers["Content-Security-Policy"] = _policy(path)
    if access_log.isEnabledFor(logging.INFO):
        access_log.info(
            "%s %s %d %.1f ms [%s]", request.method, redacted(request), response.status_code,
            (time.perf_counter() - started) * 1000, request.META["HTTP_X_REQUEST_ID"],
        )  # fmt: skip
    return response


def _with_body(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Django answers a wrong method with a bare 405; the API tells it in the envelope."""
    if response.status_code != 405 or (isinstance(response, HttpResponse) and response.content):
        return response
    allow = response.headers.get("Allow", "")
    message = f"{request.method} is not allowed here. The Allow header lists what is: {allow}."
    return respond(request, Problem(errors.METHOD_NOT_ALLOWED, message, headers={"Allow": allow}))


def _policy(path: str) -> str:
    if path.startswith("/admin/"):
        return _ADMIN
    return _SWAGGER if path == "/docs" else _OURS


def _process_exception(request: HttpRequest, error: Exception) -> HttpResponse | None:
    """Answer what a view outside DRF raised; None leaves it to Django's handlers."""
    if is_api_path(request.path_info) or problem_of(error):
        return respond(request, error)
    return None


def redacted(request: HttpRequest) -> str:
    """The path and query for the log. Values of parameters that may carry a credential are replaced."""
    path, query = shown_path(request), request.META.get("QUERY_STRING", "")
    if not query:
        return path
    own = {load().sse_api_key_param, load().sse_token_param}
    pairs = []
    for pair in query.split("&"):
        name, equals, _ = pair.partition("=")
        plain = unquote_plus(name)
        secret = equals and (plain in own or _SECRET_PARAMETER.fullmatch(plain))
        pairs.append(f"{name}=[redacted]" if secret else pair)
    return f"{path}?{'&'.join(pairs)}"
