"""The API as a client sees it, through Django's test client: URLs, middlewares, authentication and all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.test import Client
from django.test.client import ClientHandler

ADMIN, READER, GPU_ONLY = "admin-key-for-tests", "reader-key-for-tests", "gpu-key-for-tests"
KEYS = json.dumps(
    [
        {"key": ADMIN, "name": "ci"},
        {"key": READER, "name": "dashboard", "role": "read"},
        {"key": GPU_ONLY, "name": "gpu-team", "queue_allowlist": ["gpu"]},
    ]
)
"""API_KEYS_JSON: an admin, a reader, and an admin who may use the queue `gpu` only."""


@cache
def _handler() -> ClientHandler:
    """One for all: each new one would walk every static file when it loads WhiteNoise."""
    return ClientHandler(enforce_csrf_checks=False)


@dataclass(frozen=True)
class Answer:
    """What came back. `json` is None for a body that is empty or not JSON."""

    status: int
    json: Any
    text: str
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The error's code."""
        assert self.json["ok"] is False, self.text
        return str(self.json["error"]["code"])


class Api:
    """`api("POST", "/v1/jobs", {...})` sends JSON with the admin's key; a `bytes` body is sent as it is."""

    def __init__(self) -> None:
        self._client = Client(raise_request_exception=False)
        self._client.handler = _handler()

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = ADMIN,
        content_type: str = "application/json",
        **headers: str,
    ) -> Answer:
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["x-api-key"] = key
        response = self._client.generic(method, path, raw, content_type=content_type, headers=sent)
        sent_back = response.getvalue()
        text = sent_back.decode("utf-8", "replace")
        is_json = text and response.headers.get("Content-Type", "").startswith("application/json")
        parsed = json.loads(text) if is_json else None
        return Answer(response.status_code, parsed, text, dict(response.headers), sent_back)

    def get(self, path: str, **options: Any) -> Answer:
        """GET as the admin."""
        return self("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        """POST as the admin."""
        return self("POST", path, body, **options)

    def patch(self, path: str, body: Any = None, **options: Any) -> Answer:
        """PATCH as the admin."""
        return self("PATCH", path, body, **options)
