"""Django's messages, where they are shown."""

from __future__ import annotations

from django.contrib.messages.middleware import MessageMiddleware
from django.http import HttpRequest, HttpResponse


class AdminMessages(MessageMiddleware):
    """Only the admin has messages: for all other requests their storage would be made in vain, 5 % of a POST's time."""

    def process_request(self, request: HttpRequest) -> None:
        """Make the storage for a page of the admin."""
        if request.path_info.startswith("/admin/"):
            super().process_request(request)

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Store what was not shown."""
        return super().process_response(request, response) if hasattr(request, "_messages") else response
