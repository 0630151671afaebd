"""Who opens a WebSocket. Browsers add cookies to any page's handshake, so a cookie needs an Origin of ours."""

from __future__ import annotations

import io
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest

from access import authentication
from access.origins import is_own_origin
from access.principals import Principal
from access.sessions import session_principal
from rauskuclaw.config import load
from rauskuclaw.errors import FORBIDDEN, Problem

_HTTP_SCHEMES = {"ws": "http", "wss": "https"}


def authenticate_scope(scope: Mapping[str, Any], job_id: str | None) -> Principal:
    """Who opens the socket of `job_id` (None: of all jobs): key header → stream token → session cookie → disabled mode.

    Synchronous, as it may ask Postgres. Raises UNAUTHORIZED, AUTH_NOT_CONFIGURED, RATE_LIMITED, and FORBIDDEN for a
    foreign or missing Origin and for a principal without the right to live streams.
    """
    request = _handshake(scope)
    if key := authentication.header_key(request):
        principal = authentication.authenticate_key(request, key)
    elif token := request.GET.get(load().sse_token_param):
        principal = authentication.authenticate_token(request, token, job_id)
    elif found := session_principal(request):
        _require_own_origin(request)
        principal = found
    else:
        principal = authentication.anonymous_principal()
        if "Origin" in request.headers:
            _require_own_origin(request)
    return authentication.require_sse(principal)


def _handshake(scope: Mapping[str, Any]) -> HttpRequest:
    """The handshake as the HTTP request it is, with its session, so that one set of rules serves both."""
    scheme = _HTTP_SCHEMES.get(scope.get("scheme", "ws"), "http")
    request = ASGIRequest({**scope, "method": "GET", "scheme": scheme}, io.BytesIO())
    engine = import_module(settings.SESSION_ENGINE)
    request.session = engine.SessionStore(request.COOKIES.get(settings.SESSION_COOKIE_NAME))
    return request


def _require_own_origin(request: HttpRequest) -> None:
    try:
        allowed = is_own_origin(request, request.headers.get("Origin", ""))
    except DisallowedHost:
        allowed = False
    if not allowed:
        raise Problem(
            FORBIDDEN,
            "Pages of this origin may not use a session here: add the origin to TRUSTED_ORIGINS if they should.",
        )
