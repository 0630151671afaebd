"""Passwords of Django users, with one limit on guessing for every door: the API's session and the admin's form."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from rauskuclaw.api.throttling import auth_failures_exceeded, note_auth_failure


class LimitedModelBackend(ModelBackend):
    """Django's own backend; too many refused credentials from an address, and no password of it is looked at."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        """The user, if the password is right and the address is not over its limit. Counts a wrong password."""
        if request is not None and auth_failures_exceeded(request) is not None:
            raise PermissionDenied  # which Django takes for "no", and asks no further backend
        user = super().authenticate(request, username=username, password=password, **kwargs)
        if user is None and request is not None:
            note_auth_failure(request)
        return user
