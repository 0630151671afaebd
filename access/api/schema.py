"""The credentials as OpenAPI security schemes."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema

from rauskuclaw.config import load


class PrincipalScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Either of the two: a key in a header, or a browser session."""

    target_class = "access.authentication.PrincipalAuthentication"
    name = ["ApiKey", "Session"]

    def get_security_definition(self, auto_schema: AutoSchema) -> list[dict[str, Any]]:
        """The definitions, in the order of `name`."""
        return [
            {"type": "apiKey", "in": "header", "name": load().api_key_header},
            {
                "type": "apiKey",
                "in": "cookie",
                "name": settings.SESSION_COOKIE_NAME,
                "description": "From POST /v1/auth/session. Writes also need its `csrf_token` as header X-CSRFToken.",
            },
        ]
