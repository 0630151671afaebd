"""`manage.py mcp_servers`: look at MCP servers, register and refresh them, accept their tools."""

from __future__ import annotations

import asyncio
import getpass
import sys
from typing import Any

from django.core.management.base import CommandParser

from jobs import bodies
from jobs.handlers.base import AttemptFailed
from providers.mcp import servers
from providers.mcp.models import Approval, McpServer, McpTool
from providers.mcp.representation import server_json, tool_json
from providers.mcp.requests import NewServer, ServerChange, ToolChange
from rauskuclaw.api.fields import iso_ms_or_none
from rauskuclaw.errors import Problem
from rauskuclaw.operations.command import Answer, OperatorCommand, command_actor
from rauskuclaw.operations.text import Cell, count, table

MOST_SEC = 300.0


class Command(OperatorCommand):
    """The operator's way to the verbs of `providers.mcp`."""

    help = "List, register, refresh and delete MCP servers; list, accept and switch off their tools."

    def add_own_arguments(self, parser: CommandParser) -> None:
        """The verbs. None takes a secret as an argument: every user of the machine sees those."""
        verbs = self.add_verbs(
            parser,
            {
                "list": "the registered servers",
                "add": "register a server, switched off; what follows its name is an URL, or a command and arguments",
                "set": "keep a header or a variable, its value read from stdin or asked for",
                "enable": "let a server be asked",
                "disable": "let a server not be asked",
                "refresh": "ask a server for its tools, from here",
                "delete": "forget a server, its tools and its secrets",
                "tools": "the tools of a server",
                "accept": "accept a tool as `tools` shows it, and enable it",
                "block": "switch a tool off",
            },
        )
        for name in ("add", "set", "enable", "disable", "refresh", "delete", "tools", "accept", "block"):
            verbs[name].add_argument("server")
        verbs["add"].add_argument("address", nargs="+", metavar="URL | COMMAND [ARGUMENT …]")
        verbs["add"].add_argument("--approval", choices=Approval.values, default=Approval.ALWAYS.value)
        verbs["set"].add_argument("header", metavar="NAME", help="of a header, or of a variable for a command")
        verbs["accept"].add_argument("tool")
        verbs["accept"].add_argument("hash", help="what `tools` shows of its definition, at least 12 digits")
        verbs["accept"].add_argument("--approval", choices=Approval.values, default="", help="the server's by default")
        verbs["block"].add_argument("tool")

    def _list(self, **_: Any) -> Answer:
        found = list(McpServer.objects.all())
        lines: list[list[Cell | str]] = [
            [
                it.name, it.url or it.command, "on" if it.enabled else "off", it.approval,
                iso_ms_or_none(it.refreshed_at) or "never", it.last_error_code,
            ]
            for it in found
        ]  # fmt: skip
        heads = ("name", "address", "state", "approval", "refreshed", "last error")
        text = table(heads, lines, self.paint) if lines else "No MCP servers."
        return Answer(text, {"servers": [server_json(it) for it in found], "count": len(found)})

    def _add(self, server: str, address: list[str], approval: str, **_: Any) -> Answer:
        is_url = len(address) == 1 and address[0].startswith(("http://", "https://"))
        way = {"transport": "http", "url": address[0]} if is_url else {
            "transport": "stdio", "command": address[0], "args": address[1:],
        }  # fmt: skip
        new = bodies.parse(NewServer, {"name": server, "approval": approval, **way})
        made = servers.create(new, by=command_actor())
        told = f"Registered {server}, switched off: `manage.py mcp_servers enable {server}`, then refresh it."
        return Answer(told, {"server": server_json(made)})

    def _set(self, server: str, header: str, **_: Any) -> Answer:
        kind = "headers" if servers.find(server).transport == "http" else "env"
        wanted = bodies.parse(ServerChange, {kind: {header: _value(f"Value of {header}: ")}})
        return Answer(
            f"Kept {header} sealed.", {"server": server_json(servers.change(server, wanted, by=command_actor()))}
        )

    def _enable(self, server: str, **_: Any) -> Answer:
        return self._switch(server, on=True)

    def _disable(self, server: str, **_: Any) -> Answer:
        return self._switch(server, on=False)

    def _switch(self, server: str, *, on: bool) -> Answer:
        changed = servers.change(server, ServerChange(enabled=on), by=command_actor())
        return Answer(f"{server} is {'on' if on else 'off'}.", {"server": server_json(changed)})

    def _refresh(self, server: str, **_: Any) -> Answer:
        from providers.mcp import calls

        servers.find(server)
        try:
            found = asyncio.run(calls.refresh(server, by=command_actor(), most_sec=MOST_SEC))
        except AttemptFailed as failed:
            raise Problem(failed.code, failed.message, failed.details) from None
        parts = [f"{server} lists {count(found.count, 'tool')}"]
        parts += [f"new: {', '.join(found.added)}"] if found.added else []
        parts += [f"changed and switched off: {', '.join(found.changed)}"] if found.changed else []
        parts += [f"gone: {', '.join(found.removed)}"] if found.removed else []
        parts += [f"not taken over: {it['name']} ({it['reason']})" for it in found.rejected]
        return Answer("\n".join(parts), dict(found.__dict__))

    def _delete(self, server: str, **_: Any) -> Answer:
        servers.delete(server, by=command_actor())
        return Answer(f"Deleted {server}.", {"name": server, "deleted": True})

    def _tools(self, server: str, **_: Any) -> Answer:
        found = list(servers.find(server).tools.select_related("server").order_by("name"))
        lines: list[list[Cell | str]] = [
            [it.name, _state(it), it.effective_approval, it.definition_hash[:12], it.description[:60]] for it in found
        ]
        heads = ("name", "state", "approval", "definition", "what it says of itself")
        text = table(heads, lines, self.paint) if lines else "No tools: refresh the server."
        return Answer(text, {"tools": [tool_json(it) for it in found], "count": len(found)})

    def _accept(self, server: str, tool: str, hash: str, approval: str, **_: Any) -> Answer:
        present = servers.find(server).tools.filter(name=tool).values_list("definition_hash", flat=True).first() or ""
        whole = present if len(hash) >= 12 and present.startswith(hash) else hash.ljust(64, "0")
        wanted = bodies.parse(ToolChange, {"accept": whole, "enabled": True, "approval": approval})
        changed = servers.change_tool(server, tool, wanted, by=command_actor())
        return Answer(f"Models may call {changed.function}.", {"tool": tool_json(changed)})

    def _block(self, server: str, tool: str, **_: Any) -> Answer:
        changed = servers.change_tool(server, tool, ToolChange(enabled=False), by=command_actor())
        return Answer(f"{changed.function} is off.", {"tool": tool_json(changed)})


def _state(tool: McpTool) -> str:
    if not tool.is_accepted:
        return "changed" if tool.accepted_hash else "new"
    return "on" if tool.enabled else "off"


def _value(prompt: str) -> str:
    """From the terminal without an echo, or all of stdin without its last line break."""
    return getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.read().rstrip("\r\n")
