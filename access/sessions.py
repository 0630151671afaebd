"""Browser sessions: a key or a password is exchanged once for an httpOnly cookie.

A session opened with a key stores the key's reference and nothing of the key; who it belongs to is looked up again on
each request, so a session ends when its key does. A user's session is Django's own, and ends when the password changes.
"""

from __future__ import annotations

from dataclasses import replace

from django.contrib.auth import get_user, login
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.middleware.csrf import rotate_token

from access.credentials import principal_for_reference, principal_for_user
from access.principals import Principal

_REFERENCE = "access_reference"


def start(request: HttpRequest, principal: Principal) -> Principal:
    """Open a session for the holder of a key. Its id is new, so one planted before is worth nothing."""
    request.session.flush()
    request.session[_REFERENCE] = principal.reference
    rotate_token(request)
    return replace(principal, source="session")


def start_for_user(request: HttpRequest, user: User) -> Principal:
    """Open a session for a Django user whose password was checked."""
    request.session.flush()
    login(request, user)
    return principal_for_user(user)


def end(request: HttpRequest) -> None:
    """Sign out: the session's row and cookie go."""
    request.session.flush()


def session_principal(request: HttpRequest) -> Principal | None:
    """Who the request's session belongs to now; None without a session, or when its key or user is gone."""
    session = getattr(request, "session", None)
    if session is None:
        return None
    if reference := session.get(_REFERENCE):
        principal = principal_for_reference(reference)
        return replace(principal, source="session") if principal else None
    user = get_user(request)
    return principal_for_user(user) if user.is_authenticated else None
