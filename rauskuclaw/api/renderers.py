"""How answers are written: compact JSON for programs, a page with the same JSON for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.template.loader import render_to_string
from rest_framework.exceptions import APIException
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request, override_method

from rauskuclaw.errors import Problem

if TYPE_CHECKING:  # DRF's views import this module through the settings
    from rest_framework.views import APIView

if TYPE_CHECKING:
    from rest_framework.views import APIView  # which itself imports this module, as a default of its class

_WRITES = ("POST", "PUT", "PATCH", "DELETE")

# Views hand over plain JSON values (`rauskuclaw.api.fields` makes the timestamps), so anything else is a fault to see.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class CompactJSONRenderer(BaseRenderer):
    """One line of UTF-8 JSON."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        """The bytes of the body; empty for None."""
        return b"" if data is None else _encode(data).encode()


class BrowsableRenderer(BaseRenderer):
    """The answer as a page, with a JSON form for each write that this reader may do."""

    media_type = "text/html"
    format = "api"
    charset = "utf-8"

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> str:
        """The page of a response."""
        context = renderer_context or {}
        view, request, response = context["view"], context["request"], context["response"]
        page = {
            "name": view.get_view_name(),
            "description": (type(view).__doc__ or "").strip(),
            "method": request.method,
            "path": request.get_full_path(),
            "status": f"{response.status_code} {response.status_text}",
            "failed": response.status_code >= 400,
            "headers": [(name, value) for name, value in response.items() if name != "Content-Type"],
            "body": "" if data is None else json.dumps(data, ensure_ascii=False, indent=2),
            "forms": [_form(view, method) for method in _WRITES if _may(view, request, method)],
            "principal": request.user if getattr(request.user, "is_authenticated", False) else None,
        }
        return render_to_string("rauskuclaw/browsable.html", page, request=request._request)


def _form(view: APIView, method: str) -> dict[str, str]:
    """A write and its body to start from: the view's own example where it has `examples`, by method."""
    example = getattr(view, "examples", {}).get(method, {})
    return {"method": method, "body": json.dumps(example, ensure_ascii=False, indent=2)}


def _may(view: APIView, request: Request, method: str) -> bool:
    """Whether the view has `method` and lets this principal use it."""
    if method not in view.allowed_methods or not getattr(request.user, "is_authenticated", False):
        return False
    with override_method(view, request, method) as hypothetical:
        try:
            view.check_permissions(hypothetical)
        except (Problem, APIException):
            return False
    return True
