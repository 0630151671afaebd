"""Who sends an HTTP request. The first credential present decides: a wrong key never falls back to a session."""

from __future__ import annotations

from copy import copy
from typing import NoReturn

from django.http import HttpRequest
from django.http.request import HttpHeaders
from rest_framework.authentication import BaseAuthentication, CSRFCheck
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request

from access import tokens
from access.credentials import principal_for_key, principal_for_reference, principal_without_credential
from access.origins import is_own_origin
from access.principals import Principal
from access.sessions import session_principal
from rauskuclaw.api.throttling import auth_failures_exceeded, note_auth_failure
from rauskuclaw.config import load
from rauskuclaw.errors import CSRF_FAILED, FORBIDDEN, RATE_LIMITED, UNAUTHORIZED, Problem


class PrincipalAuthentication(BaseAuthentication):
    """Key header, else browser session, else disabled mode. `request.user` and `request.auth` become the Principal.

    Raises UNAUTHORIZED, AUTH_NOT_CONFIGURED, CSRF_FAILED, or RATE_LIMITED after too many refused credentials.
    """

    def authenticate(self, request: Request) -> tuple[Principal, Principal]:
        """The caller, twice: for `request.user` and for `request.auth`."""
        try:
            principal = _authenticate(request._request)
        except Problem:
            # Whoever renders the error asks for the user again, and must not meet the same exception.
            request.user = request.auth = None  # type: ignore[assignment]
            raise
        return principal, principal

    def authenticate_header(self, request: Request) -> str:
        """The scheme a 401 names. Browsers know none of this name, so they open no password box."""
        return "ApiKey"


def _authenticate(request: HttpRequest) -> Principal:
    if key := header_key(request):
        return authenticate_key(request, key)
    if principal := session_principal(request):
        _enforce_csrf(request)
        return principal
    principal = anonymous_principal()
    if request.method not in SAFE_METHODS:
        refuse_foreign_page(request)
    return principal


def authenticate_stream(request: HttpRequest, job_id: str | None) -> Principal:
    """Who opens the event stream of `job_id`: key header → stream token → query key → session (contract 1.5).

    Synchronous, as it may ask Postgres. Raises what `PrincipalAuthentication` raises, and FORBIDDEN for a principal
    without the right to live streams.
    """
    if key := header_key(request):
        principal = authenticate_key(request, key)
    elif token := request.GET.get(load().sse_token_param):
        principal = authenticate_token(request, token, job_id)
    elif query_key := request.GET.get(load().sse_api_key_param):
        principal = authenticate_key(request, query_key)
    else:
        principal = session_principal(request) or anonymous_principal()
    return require_sse(principal)


def is_still_valid(principal: Principal) -> bool:
    """Whether the credential behind `principal` still stands: for long-lived streams, to ask now and then."""
    return principal_for_reference(principal.reference) is not None


def header_key(request: HttpRequest) -> str:
    """The key of the key header, empty when there is none."""
    # `request.headers` would first gather them all.
    return str(request.META.get(HttpHeaders.to_wsgi_name(load().api_key_header), "")).strip()


def authenticate_key(request: HttpRequest, key: str) -> Principal:
    """The holder of `key`; in disabled mode anybody, as without a key."""
    return principal_for_key(key) or principal_without_credential() or refuse_credential(request)


def authenticate_token(request: HttpRequest, token: str, job_id: str | None) -> Principal:
    """Who a stream token speaks for."""
    return tokens.redeem(token, job_id=job_id) or principal_without_credential() or refuse_credential(request)


def anonymous_principal() -> Principal:
    """The principal of a request without any credential: only in disabled mode there is one."""
    if principal := principal_without_credential():
        return principal
    raise Problem(UNAUTHORIZED, f"No credential: send an API key in the header {load().api_key_header}.")


def refuse_credential(request: HttpRequest) -> NoReturn:
    """Count a refused credential against the client's address, and answer UNAUTHORIZED or RATE_LIMITED.

    The limit slows guessing, and never stands in the way of a valid key that comes from the same address.
    """
    refuse_when_exceeded(request)
    note_auth_failure(request)
    raise Problem(UNAUTHORIZED, "The credential is unknown, expired or revoked: send a valid API key.")


def refuse_when_exceeded(request: HttpRequest) -> None:
    """Raise RATE_LIMITED when the client's address had too many refused credentials."""
    retry_after_sec = auth_failures_exceeded(request)
    if retry_after_sec is not None:
        raise Problem(
            RATE_LIMITED,
            f"Too many refused credentials from this address: try again in {retry_after_sec} s.",
            headers={"Retry-After": str(retry_after_sec)},
        )


def refuse_foreign_page(request: HttpRequest) -> None:
    """Raise CSRF_FAILED when a page of another origin made the browser send this. Programs send no Origin."""
    origin = request.headers.get("Origin")
    if origin is not None and not is_own_origin(request, origin):
        raise Problem(
            CSRF_FAILED, f"Pages of {origin!r} may not do this: add the origin to TRUSTED_ORIGINS if they should."
        )


def require_sse(principal: Principal) -> Principal:
    """`principal`, or FORBIDDEN when it may not follow jobs live."""
    if not principal.sse:
        raise Problem(FORBIDDEN, "This key may not follow jobs live: use one with the `sse` right.")
    return principal


def _enforce_csrf(request: HttpRequest) -> None:
    """Raise CSRF_FAILED for an unsafe request of a session that lacks its CSRF token."""
    check = CSRFCheck(lambda _request: None)  # type: ignore[arg-type]
    # Of a POST Django would also look into the form, and so read a body that may be an upload of gigabytes.
    header_only = copy(request)
    header_only.method = "PUT" if request.method == "POST" else request.method
    check.process_request(header_only)
    if reason := check.process_view(header_only, None, (), {}):  # type: ignore[arg-type]
        raise Problem(
            CSRF_FAILED,
            f"{str(reason).rstrip('.')}: send the session's `csrf_token` (GET /v1/auth/session) as header X-CSRFToken.",
        )
