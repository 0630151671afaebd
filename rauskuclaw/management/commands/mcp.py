"""`manage.py mcp`: the API of a server, here or elsewhere, as tools over standard input and output."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import httpx
from django.core.management.base import BaseCommand

from rauskuclaw.config import load

DEFAULT_URL = "http://localhost:3001"
TIMEOUT_SEC = 60.0


class Command(BaseCommand):
    """Speaks the Model Context Protocol until its input ends. Asks the server at RAUSKUCLAW_API_URL as the key says."""

    help = "Serve the API as MCP tools over stdin and stdout; RAUSKUCLAW_API_URL and RAUSKUCLAW_API_KEY say of whom."
    requires_system_checks = ()

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Serve."""
        url, key = os.environ.get("RAUSKUCLAW_API_URL") or DEFAULT_URL, os.environ.get("RAUSKUCLAW_API_KEY", "")
        asyncio.run(_serve(url, {load().api_key_header: key} if key else {}))


async def _serve(url: str, headers: dict[str, str]) -> None:
    from mcp.server.stdio import stdio_server

    from rauskuclaw.mcp.api import Api
    from rauskuclaw.mcp.server import make_server

    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=TIMEOUT_SEC) as http:
        server = make_server(lambda _ctx: Api(http))
        async with stdio_server() as (inward, outward):
            await server.run(inward, outward, server.create_initialization_options())
