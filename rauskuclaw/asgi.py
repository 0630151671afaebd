"""The web server's one application: WebSocket to Channels, event streams to Django's ASGI handler, the rest to WSGI."""

# ruff: noqa: E402 - the settings must be named, and the apps loaded, before anything that uses them is imported
import os
import re
from functools import cache
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rauskuclaw.settings")

from django.core.wsgi import get_wsgi_application

from rauskuclaw import tracing

tracing.instrument_web()
_django = get_wsgi_application()

from channels.routing import ProtocolTypeRouter, URLRouter

import rauskuclaw.urls  # noqa: F401 - all views: else the first request would wait for their import
from jobs import routing as jobs_routing
from jobs.api.stream import StreamHandler
from rauskuclaw import garbage
from rauskuclaw.api.bridge import StreamingBridge, WSGIBridge, declared_length
from rauskuclaw.config import load
from workspaces import routing as workspaces_routing

THREADS = 16
MCP_PATH = "/mcp"
TRANSFER_THREADS = 8
STALL_SEC = 60.0

_STREAM = re.compile(r"/v1/jobs/[^/]+/stream/?", re.IGNORECASE)

_TRANSFER = re.compile(r"/v1/workspace/(?:(download)|upload|file|create)/?", re.IGNORECASE)

_event_streams = StreamHandler()
_transfers = StreamingBridge(_django, threads=TRANSFER_THREADS, stall_sec=STALL_SEC)
_wsgi = WSGIBridge(_django, threads=THREADS, limit_bytes=load().max_body_bytes)


@cache
def _mcp() -> Any:
    # Its library takes a third of a second to import, and most servers are never asked.
    from rauskuclaw.mcp.http import McpEndpoint

    return McpEndpoint(http)


async def http(scope: Any, receive: Any, send: Any) -> None:
    """Route one HTTP request. Only reading a stream is worth the slower handler: it may stay open for hours."""
    if scope["method"] in {"GET", "HEAD"} and _STREAM.fullmatch(scope["path"]):
        await _event_streams(scope, receive, send)
    elif scope["path"].rstrip("/") == MCP_PATH:
        await _mcp()(scope, receive, send)
    elif _is_transfer(scope):
        await _transfers(scope, receive, send)
    else:
        await _wsgi(scope, receive, send)


def _is_transfer(scope: Any) -> bool:
    """Whether a request is a download, or has a body for the workspace that is larger than other bodies may be."""
    found = _TRANSFER.fullmatch(scope["path"])
    return found is not None and (found[1] is not None or (declared_length(scope) or 0) > load().max_body_bytes)


_sockets = URLRouter([*jobs_routing.websocket_urlpatterns, *workspaces_routing.websocket_urlpatterns])
application = ProtocolTypeRouter({"http": http, "websocket": _sockets})

garbage.keep_what_is_imported()
