"""`/v1/auth/*` and `/v1/keys`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast
from uuid import UUID

from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.db.models import Q
from django.http import HttpRequest
from django.middleware.csrf import get_token
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access import keys, sessions, tokens
from access.api import serializers
from access.authentication import (
    authenticate_key,
    header_key,
    refuse_foreign_page,
    refuse_when_exceeded,
)
from access.models import ApiKey
from access.permissions import RolePermission, UnrestrictedAdmin, counts_as_read
from access.principals import Principal, principal_of
from access.representation import key_json, principal_json
from rauskuclaw.api.fields import iso_ms
from rauskuclaw.api.pagination import decode_cursor, encode_cursor, int_param, text_param
from rauskuclaw.config import load
from rauskuclaw.errors import NOT_FOUND, UNAUTHORIZED, VALIDATION_ERROR, Problem

_STATES = ("live", "revoked")


class Whoami(APIView):
    """Who the caller is and what it may do."""

    @extend_schema(operation_id="whoami", tags=["auth"], responses=serializers.WhoamiAnswer)
    def get(self, request: Request) -> Response:
        """Who am I? Clients check a key with this."""
        return Response({"ok": True, "auth": principal_json(principal_of(request))})


class StreamTokens(APIView):
    """Tokens for an EventSource or a WebSocket, which cannot send a key header."""

    serializer_class = serializers.StreamTokenRequest

    @extend_schema(
        operation_id="mint_stream_token",
        tags=["auth"],
        request=serializers.StreamTokenRequest,
        responses=serializers.StreamTokenAnswer,
    )
    @counts_as_read
    def post(self, request: Request) -> Response:
        """Mint a short-lived stream token. Counts as a read."""
        body = _checked(serializers.StreamTokenRequest(data=request.data))
        token = tokens.mint(principal_of(request), job_id=body["job_id"])
        answer = {
            "ok": True,
            "token": token.text,
            "token_param": load().sse_token_param,
            "ttl_sec": token.ttl_sec,
            "expires_at": iso_ms(token.expires_at),
            "job_id": token.job_id,
        }
        return Response(answer)


class Session(APIView):
    """The browser's session: a key or a password is exchanged for an httpOnly cookie, so that no page keeps the key."""

    serializer_class = serializers.SessionRequest

    def get_authenticators(self) -> list[BaseAuthentication]:
        """None for POST, which brings its own credential and may replace a session that has gone stale."""
        return [] if self._signs_in() else super().get_authenticators()

    def check_permissions(self, request: Request) -> None:
        """Nothing to check for POST: anybody may try to sign in."""
        if not self._signs_in():
            super().check_permissions(request)

    def _signs_in(self) -> bool:
        return self.request is not None and self.request.method == "POST"

    @extend_schema(operation_id="get_session", tags=["auth"], responses=serializers.SessionAnswer)
    def get(self, request: Request) -> Response:
        """Whose session is this? Also gives its CSRF token, e.g. after a page was reloaded."""
        return _session_answer(request, principal_of(request))

    @extend_schema(
        operation_id="create_session",
        tags=["auth"],
        auth=[],
        request=serializers.SessionRequest,
        responses=serializers.SessionAnswer,
    )
    def post(self, request: Request) -> Response:
        """Sign in with a key (in the header or the body) or with the name and password of a user."""
        http = request._request
        refuse_foreign_page(http)
        body = _checked(serializers.SessionRequest(data=request.data))
        if "username" in body:
            return _session_answer(
                request, sessions.start_for_user(http, _user(http, body["username"], body["password"]))
            )
        key = body.get("key") or header_key(http)
        if not key:
            raise Problem(
                VALIDATION_ERROR, f"Send a key (header {load().api_key_header} or field key), or username and password."
            )
        return _session_answer(request, sessions.start(http, authenticate_key(http, key)))

    @extend_schema(operation_id="delete_session", tags=["auth"], request=None, responses=serializers.OkAnswer)
    @counts_as_read
    def delete(self, request: Request) -> Response:
        """Sign out."""
        sessions.end(request._request)
        return Response({"ok": True})


class Keys(APIView):
    """Keys stored in the database."""

    permission_classes = [RolePermission, UnrestrictedAdmin]
    serializer_class = serializers.KeyRequest

    @extend_schema(
        operation_id="list_keys",
        tags=["keys"],
        parameters=[
            OpenApiParameter("state", OpenApiTypes.STR, enum=_STATES, description="Only these"),
            OpenApiParameter("limit", OpenApiTypes.INT, description="1 to 200, default 50"),
            OpenApiParameter("cursor", OpenApiTypes.STR, description="`next_cursor` of the page before"),
        ],
        responses=serializers.KeyListAnswer,
    )
    def get(self, request: Request) -> Response:
        """Keys, newest first, without their secrets."""
        rows = ApiKey.objects.order_by("-created_at", "-id")
        if (state := text_param(request, "state")) is not None:
            if state not in _STATES:
                fault = {"path": "state", "message": f"Choose one of: {', '.join(_STATES)}."}
                raise Problem(VALIDATION_ERROR, f"state: {fault['message']}", {"errors": [fault]})
            rows = rows.filter(revoked_at__isnull=state == "live")
        if cursor := text_param(request, "cursor"):
            created_at, key_id = decode_cursor(cursor, datetime, UUID)
            rows = rows.filter(Q(created_at__lt=created_at) | Q(created_at=created_at, id__lt=key_id))
        limit = int_param(request, "limit", default=50, maximum=200)
        page = list(rows[: limit + 1])
        more = len(page) > limit
        last = page[limit - 1] if more else None
        return Response(
            {
                "ok": True,
                "keys": [key_json(key) for key in page[:limit]],
                "next_cursor": encode_cursor(last.created_at, last.pk) if last else None,
            }
        )

    @extend_schema(
        operation_id="create_key",
        tags=["keys"],
        request=serializers.KeyRequest,
        responses={201: serializers.NewKeyAnswer},
    )
    def post(self, request: Request) -> Response:
        """Make a key. Only this answer ever shows it."""
        body = _checked(serializers.KeyRequest(data=request.data))
        made = keys.create(**body, by=principal_of(request).actor)
        return Response({"ok": True, "key": key_json(made.key), "secret": made.secret}, status=201)


class Key(APIView):
    """One stored key."""

    permission_classes = [RolePermission, UnrestrictedAdmin]

    @extend_schema(operation_id="get_key", tags=["keys"], responses=serializers.KeyAnswer)
    def get(self, request: Request, key_id: UUID) -> Response:
        """A key, without its secret."""
        key = ApiKey.objects.filter(pk=key_id).first()
        if key is None:
            raise Problem(NOT_FOUND, f"There is no API key with id {key_id}.")
        return Response({"ok": True, "key": key_json(key)})

    @extend_schema(operation_id="revoke_key", tags=["keys"], request=None, responses=serializers.KeyAnswer)
    def delete(self, request: Request, key_id: UUID) -> Response:
        """Revoke a key, for good. Its sessions and stream tokens end with it, everywhere within seconds."""
        return Response({"ok": True, "key": key_json(keys.revoke(key_id, by=principal_of(request).actor))})


def _checked(body: serializers.Body) -> dict[str, Any]:
    """The body's values. Raises VALIDATION_ERROR, by way of the exception handler."""
    body.is_valid(raise_exception=True)
    return cast(dict[str, Any], body.validated_data)


def _user(request: HttpRequest, username: str, password: str) -> User:
    """The user, if the password is right and the client's address is not over its limit (`access/backends.py`)."""
    refuse_when_exceeded(request)
    user = authenticate(request, username=username, password=password)
    if user is None:
        raise Problem(UNAUTHORIZED, "The name or the password is wrong, or the user is inactive.")
    return user


def _session_answer(request: Request, principal: Principal) -> Response:
    return Response({"ok": True, "auth": principal_json(principal), "csrf_token": get_token(request._request)})
