"""`/v1/ui-prefs`: what clients remember for their users, and how operators override tools (contract 2.12, 7.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access import runtime_tools, ui_prefs
from access.principals import Principal, principal_of
from access.ui_prefs import Prefs
from rauskuclaw.api.fields import iso_ms_or_none
from rauskuclaw.api.pagination import text_param
from rauskuclaw.errors import FORBIDDEN, Problem, bad_field
from rauskuclaw.patterns import QUEUE

DEFAULT_SCOPE = "default"
SCOPE = OpenApiParameter("scope", OpenApiTypes.STR, description="1 to 80 of a-z 0-9 . _ : -; default `default`.")

Body = serializers.Serializer[Any]


class UiPrefsRequest(Body):
    """All preferences of the scope; the bare object is taken, too."""

    prefs = serializers.DictField(
        help_text="At most 32,768 bytes. Texts named as secrets are sealed, and not shown again"
    )


class UiPrefsAnswer(Body):
    """The preferences of a scope."""

    ok = serializers.BooleanField(default=True)
    scope = serializers.CharField()
    prefs = serializers.DictField(help_text="For a secret `x`, `x_configured`: true")
    created_at = serializers.DateTimeField(allow_null=True)
    updated_at = serializers.DateTimeField(allow_null=True)


class UiPrefsView(APIView):
    """Preferences of clients, by scope."""

    examples: ClassVar[dict[str, Any]] = {"PUT": {"prefs": {"devMode": True}}}

    @extend_schema(operation_id="get_ui_prefs", tags=["ui-prefs"], parameters=[SCOPE], responses=UiPrefsAnswer)
    def get(self, request: Request) -> Response:
        """The preferences of a scope; `{}` where there are none."""
        return _answer(ui_prefs.get(_scope(request)))

    @extend_schema(
        operation_id="put_ui_prefs",
        tags=["ui-prefs"],
        parameters=[SCOPE],
        request=UiPrefsRequest,
        responses=UiPrefsAnswer,
    )
    def put(self, request: Request) -> Response:
        """Replace the preferences of a scope. `runtime_tools` overrides how tools are set, for all queues."""
        scope, principal = _scope(request), principal_of(request)
        _require_right(scope, principal)
        prefs = request.data
        if isinstance(prefs, Mapping) and set(prefs) == {"prefs"}:
            prefs = prefs["prefs"]
        if not isinstance(prefs, Mapping):
            raise bad_field("prefs", "must be a JSON object")
        answer = _answer(ui_prefs.replace(scope, prefs, by=principal.actor))
        runtime_tools.forget()
        return answer


def _scope(request: Request) -> str:
    scope = (text_param(request, "scope") or DEFAULT_SCOPE).lower()
    if not QUEUE.fullmatch(scope):
        raise bad_field("scope", "must be 1 to 80 characters of a-z 0-9 . _ : -")
    return scope


def _require_right(scope: str, principal: Principal) -> None:
    """Overriding tools lets commands run and addresses be fetched on every queue."""
    if scope == runtime_tools.SCOPE and principal.queue_allowlist is not None:
        raise Problem(
            FORBIDDEN,
            "Tools are overridden for all queues: use an admin key without a queue allowlist.",
            {"allowed_queues": list(principal.queue_allowlist)},
        )


def _answer(prefs: Prefs) -> Response:
    return Response(
        {
            "ok": True,
            "scope": prefs.scope,
            "prefs": prefs.value,
            "created_at": iso_ms_or_none(prefs.created_at),
            "updated_at": iso_ms_or_none(prefs.updated_at),
        }
    )
