"""A browser as the server sees it: keeps cookies, sends no key header, and must bring its CSRF token."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.test import Client


class Browser:
    """`browser.sign_in(key=…)`, then `browser.post(path, body)` with the session's CSRF token."""

    def __init__(self) -> None:
        self.client = Client(enforce_csrf_checks=True)
        self.csrf_token = ""

    def sign_in(self, *, headers: Any = None, **credentials: str) -> Any:
        """POST /v1/auth/session; remembers the CSRF token."""
        response = self.client.post("/v1/auth/session", credentials, content_type="application/json", headers=headers)
        self.csrf_token = response.json().get("csrf_token", "")
        return response

    def get(self, path: str = "/v1/auth/whoami") -> Any:
        """GET."""
        return self.client.get(path)

    def post(self, path: str, body: Any = None) -> Any:
        """POST with the CSRF token."""
        return self._send(self.client.post, path, body)

    def delete(self, path: str) -> Any:
        """DELETE with the CSRF token."""
        return self._send(self.client.delete, path, None)

    def _send(self, method: Any, path: str, body: Any) -> HttpResponse:
        headers = {"X-CSRFToken": self.csrf_token} if self.csrf_token else {}
        response: HttpResponse = method(path, body, content_type="application/json", headers=headers)
        return response
