"""`GET /metrics`: the page for Prometheus."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from access.authentication import PrincipalAuthentication, authenticate_key
from access.permissions import EveryQueue
from access.principals import Principal
from metrics.prometheus import page
from rauskuclaw.config import load


class BearerAuthentication(PrincipalAuthentication):
    """As everywhere, or the key as a bearer token, which is what Prometheus knows to send."""

    def authenticate(self, request: Request) -> tuple[Principal, Principal]:
        """The caller, twice."""
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and key.strip():
            principal = authenticate_key(request._request, key.strip())
            return principal, principal
        return super().authenticate(request)


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """As OpenAPI describes it."""

    target_class = BearerAuthentication
    name = "Bearer"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        """An API key as a bearer token."""
        return {"type": "http", "scheme": "bearer", "description": "An API key; its usual header is as good."}


class Prometheus(APIView):
    """Every series, for Prometheus."""

    throttle_classes = ()

    def get_authenticators(self) -> list[BaseAuthentication]:
        """None where the operator has opened the page."""
        return [] if load().metrics_public else [BearerAuthentication()]

    def get_permissions(self) -> list[BasePermission]:
        """Any key that may use every queue."""
        return [] if load().metrics_public else [EveryQueue()]

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Whatever is accepted: the formats are Prometheus' own."""
        return super().perform_content_negotiation(request, force=True)

    @extend_schema(operation_id="prometheus", tags=["runtime"], responses={(200, "text/plain"): OpenApiTypes.STR})
    def get(self, request: Request) -> HttpResponse:
        """The page. The key may be sent as a bearer token; METRICS_PUBLIC=1 asks for none."""
        content, content_type = page(request.headers.get("Accept", ""))
        return HttpResponse(content, content_type=content_type)
