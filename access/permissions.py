"""What a role may do (contract 1.3). Permissions answer no; the exception handler answers FORBIDDEN with `message`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from access.principals import principal_or_none

if TYPE_CHECKING:
    from rest_framework.views import APIView  # which itself imports this module, as a default of its class

Handler = TypeVar("Handler", bound=Callable[..., Any])


def counts_as_read(handler: Handler) -> Handler:
    """Mark a view's method or action as a read although its HTTP method is not: searching, minting a stream token."""
    handler.counts_as_read = True  # type: ignore[attr-defined]
    return handler


class RolePermission(BasePermission):
    """`read` only reads; `admin` does everything. A whole view is marked with `counts_as_read = True`."""

    message = "This key only reads: use an admin key."

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Whether the caller's role allows the method."""
        principal = principal_or_none(request)
        if principal is None:
            return False
        return request.method in SAFE_METHODS or principal.can_write or _counts_as_read(request, view)


class UnrestrictedAdmin(BasePermission):
    """Only an admin without a queue allowlist, for reads too: whoever makes keys could hand itself any queue."""

    message = "Keys are managed by an admin key that may use every queue."

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Whether the caller may see and change keys."""
        principal = principal_or_none(request)
        return principal is not None and principal.can_write and principal.queue_allowlist is None


class EveryQueue(BasePermission):
    """Only keys that may use every queue."""

    message = "This tells of all queues: use a key without a queue allowlist."

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Whether the caller is not kept to some queues."""
        principal = principal_or_none(request)
        return principal is not None and principal.queue_allowlist is None


def _counts_as_read(request: Request, view: APIView) -> bool:
    name = getattr(view, "action", None) or (request.method or "").lower()
    handler = getattr(view, name, None)
    return bool(getattr(view, "counts_as_read", False) or getattr(handler, "counts_as_read", False))
