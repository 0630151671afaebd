"""The event stream in the OpenAPI document: it is no DRF view, so drf-spectacular cannot see it."""

from __future__ import annotations

from typing import Any

from rauskuclaw.config import load

PATH = "/v1/jobs/{job_id}/stream"

_DESCRIPTION = """\
Server-sent events. `job_update` comes first and whenever the job changes; `log_append` carries one log line, and its
event id is the line's; `progress` and `delta` come while the handler sends them; `end` comes after the terminal state,
then the server closes. A `delta` is `{text, offset, attempt}`, a piece of streaming text and where it belongs, in bytes
of UTF-8: whoever comes late gets what there is so far as the first one, and a new attempt starts over at 0. A comment
line comes every 20 s. To resume, send the last id you saw: each line comes once and in order.
"""


def add_stream(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """drf-spectacular's post-processing hook. Leaves documents of other parts of the API alone."""
    if "/v1/jobs/{job_id}" not in result["paths"]:
        return result
    config = load()

    def query(name: str, description: str) -> dict[str, Any]:
        return {"in": "query", "name": name, "schema": {"type": "string"}, "description": description}

    result["paths"][PATH] = {
        "get": {
            "operationId": "jobs_stream",
            "summary": "One job live",
            "description": _DESCRIPTION,
            "tags": ["jobs"],
            "security": [{"ApiKey": []}, {"Session": []}, {}],
            "parameters": [
                {"in": "path", "name": "job_id", "required": True, "schema": {"type": "string", "format": "uuid"}},
                {
                    "in": "header",
                    "name": "Last-Event-ID",
                    "schema": {"type": "integer"},
                    "description": "Resume after it.",
                },
                query("since_log_id", "The same for clients that cannot set headers; the larger one counts."),
                query(config.sse_token_param, "A stream token from POST /v1/auth/sse-token."),
                query(config.sse_api_key_param, "An API key; prefer a stream token, because addresses are logged."),
            ],
            "responses": {
                "200": {"description": "The stream.", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
                "401": {"description": "UNAUTHORIZED"},
                "403": {"description": "FORBIDDEN: this key may not stream"},
                "404": {"description": "NOT_FOUND"},
            },
        }
    }
    return result
