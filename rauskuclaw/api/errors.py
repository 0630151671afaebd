"""One envelope for every error, wherever it arises: in a DRF view, in Django, or in a middleware."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

from django.core.exceptions import BadRequest, DisallowedHost, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import DataError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.template.loader import render_to_string
from django.utils.encoding import escape_uri_path
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from rauskuclaw import connections, errors
from rauskuclaw.errors import Code, Problem

logger = logging.getLogger("rauskuclaw.api")

DATABASE_RETRY_AFTER_SEC = 2
_API_ROOTS = ("v1", "health", "ready", "metrics")


def is_api_path(path: str) -> bool:
    """Whether a path is the API's, where even the faults of the framework are JSON."""
    return path[1:].partition("/")[0].lower() in _API_ROOTS


def request_id(request: HttpRequest) -> str:
    """The id of the request in the logs and in X-Request-ID; set by the `envelope` middleware."""
    return str(request.META.get("HTTP_X_REQUEST_ID", ""))


def shown_path(request: HttpRequest) -> str:
    """The path as logs show it: escaped, so that no client writes log lines of its own."""
    return escape_uri_path(request.path_info)


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """DRF's `EXCEPTION_HANDLER`."""
    request: HttpRequest = context["request"]._request
    problem = told(request, error)
    set_rollback()
    return Response(problem.as_envelope(), status=status_of(problem), headers=problem.headers)


def respond(request: HttpRequest, error: Exception) -> HttpResponse:
    """The answer to an error outside DRF: the envelope on the API's paths, a small page elsewhere."""
    problem = told(request, error)
    if is_api_path(request.path_info):
        body = json.dumps(problem.as_envelope(), ensure_ascii=False, separators=(",", ":"))
        return HttpResponse(body, status=status_of(problem), content_type="application/json", headers=problem.headers)
    page = {"status": status_of(problem), "title": _title(status_of(problem)), "problem": problem}
    html = render_to_string("rauskuclaw/error.html", page)
    return HttpResponse(html, status=status_of(problem), headers=problem.headers)


def told(request: HttpRequest, error: Exception) -> Problem:
    """The Problem of any exception. What is the server's own fault is logged, and nothing of it is told."""
    problem = problem_of(error)
    if problem is None:
        logger.error("%s %s failed [%s]", request.method, shown_path(request), request_id(request), exc_info=error)
        problem = Problem(
            errors.INTERNAL_ERROR,
            f"The server failed; its log has the trace under request id {request_id(request)}.",
            {"request_id": request_id(request)},
        )
    elif problem.code is errors.DATABASE_UNAVAILABLE:
        connections.note_loss()
        reason = str(error).strip().splitlines()[:1]
        logger.warning("%s %s: database unavailable: %s", request.method, shown_path(request), *reason or [""])
    elif problem.code is errors.UNAUTHORIZED:
        problem.headers.setdefault("WWW-Authenticate", "ApiKey")  # RFC 9110 §15.5.2: a 401 names its scheme
    return problem


def status_of(problem: Problem) -> int:
    """The HTTP status. A code that belongs to jobs, not to answers, is a fault of the server."""
    return problem.code.status or 500


# What Django and DRF raise, what it means here, and what the client is told. The first that fits counts.
_FORESEEN: tuple[tuple[type[Exception], Code, str], ...] = (
    (Http404, errors.NOT_FOUND, "No such resource: check the path and the id; /docs lists the paths."),
    (PermissionDenied, errors.FORBIDDEN, "This credential does not allow that."),
    (OperationalError, errors.DATABASE_UNAVAILABLE, "The database does not answer; try again in a moment."),
    (InterfaceError, errors.DATABASE_UNAVAILABLE, "The database does not answer; try again in a moment."),
    (DataError, errors.VALIDATION_ERROR, "A value cannot be stored: too large, or not valid text."),
    (RequestDataTooBig, errors.PAYLOAD_TOO_LARGE, "The body is larger than MAX_BODY_BYTES; send less at a time."),
    (DisallowedHost, errors.VALIDATION_ERROR, "The server does not answer to this host: add it to ALLOWED_HOSTS."),
    (UnreadablePostError, errors.INVALID_JSON, "The body ended before its Content-Length."),
    (SuspiciousOperation, errors.VALIDATION_ERROR, "The request is malformed."),
    (BadRequest, errors.VALIDATION_ERROR, "The request is malformed."),
    (MultiPartParserError, errors.VALIDATION_ERROR, "The form is malformed."),
    (exceptions.ParseError, errors.INVALID_JSON, "{0.detail}"),
    (exceptions.NotAuthenticated, errors.UNAUTHORIZED, "{0.detail}"),
    (exceptions.AuthenticationFailed, errors.UNAUTHORIZED, "{0.detail}"),
    (exceptions.PermissionDenied, errors.FORBIDDEN, "{0.detail}"),
    (exceptions.NotFound, errors.NOT_FOUND, "{0.detail}"),
    (exceptions.MethodNotAllowed, errors.METHOD_NOT_ALLOWED, "{0.detail} The Allow header lists those that are."),
    (exceptions.NotAcceptable, errors.NOT_ACCEPTABLE, "The Accept header excludes JSON: accept application/json."),
    (
        exceptions.UnsupportedMediaType, errors.UNSUPPORTED_MEDIA_TYPE,
        "Send the body as JSON, with Content-Type: application/json.",
    ),
    (exceptions.Throttled, errors.RATE_LIMITED, "Too many requests; try again in {0.wait} s."),
)  # fmt: skip


def problem_of(error: Exception) -> Problem | None:
    """The Problem an exception stands for; None for one that nobody foresaw."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, exceptions.ValidationError):
        return _invalid(error)
    for kind, code, message in _FORESEEN:
        if isinstance(error, kind):
            return Problem(code, message.format(error), headers=_retry_after(error))
    return None


def _retry_after(error: Exception) -> dict[str, str]:
    if isinstance(error, exceptions.Throttled):
        return {"Retry-After": str(getattr(error, "wait", None) or 1)}
    if isinstance(error, OperationalError | InterfaceError):
        return {"Retry-After": str(DATABASE_RETRY_AFTER_SEC)}
    return {}


def _invalid(error: exceptions.ValidationError) -> Problem:
    faults = [{"path": path, "message": message} for path, message in _faults(error.detail)]
    sentences = [f"{fault['path']}: {fault['message']}".removeprefix(": ") for fault in faults[:3]]
    return Problem(errors.VALIDATION_ERROR, "; ".join(sentences), {"errors": faults})


def _faults(detail: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """DRF's nested details as (dotted path, message) pairs."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            yield from _faults(inner, path if name == "non_field_errors" else f"{path}.{name}".lstrip("."))
    elif isinstance(detail, list):
        for index, inner in enumerate(detail):
            yield from _faults(inner, f"{path}[{index}]" if isinstance(inner, dict) else path)
    else:
        yield path, str(detail)


def _title(status: int) -> str:
    return {400: "Bad request", 403: "Not allowed", 404: "Not here", 413: "Too large", 503: "Back in a moment"}.get(
        status, "Something broke" if status >= 500 else "That did not work"
    )


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's `handler400`."""
    return respond(request, exception)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's `handler403`."""
    return respond(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's `handler404`."""
    return respond(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's `handler500`; also reached by a lost database connection in a middleware."""
    error = sys.exc_info()[1]
    return respond(request, error if isinstance(error, Exception) else RuntimeError("an error without exception"))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django's `CSRF_FAILURE_VIEW`."""
    message = f"{reason or 'The CSRF token is missing.'} Reload the page, or send the session's token as X-CSRFToken."
    return respond(request, Problem(errors.CSRF_FAILED, message))
