"""The tools that a model may be given: functions, each of which is a job type (contract 12.1)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from access import runtime_tools
from access.credentials import uses_every_queue
from jobs.handlers import registry
from jobs.models import JobType
from jobs.requests import check_input
from providers.mcp import tools as mcp
from providers.mcp.models import McpTool
from providers.mcp.naming import PREFIX
from rauskuclaw.config_handlers import ApprovalPolicy
from rauskuclaw.errors import Problem

MAX_RESULT_CHARS = 12_000
"""Of one result, what a model is given."""
NAMED_SOURCES = 5
"""Of what came from outside, in the reason of an approval."""
BLOCKED_HANDLERS = ("builtin:provider.", "builtin:memory.embed.sync")


def _integer(least: int, most: int | None = None) -> dict[str, Any]:
    return {"type": "integer", "minimum": least} | ({} if most is None else {"maximum": most})


TEXT, FLAG, OBJECT = {"type": "string"}, {"type": "boolean"}, {"type": "object"}


@dataclass(frozen=True)
class Tool:
    """One function."""

    name: str
    job_type: str
    description: str
    required: str
    properties: Mapping[str, Any]
    switch: str = ""
    """The setting that switches it on; empty: nothing does but its job type."""
    approval_setting: str = ""
    """The setting that says whether a person is asked first; empty: `approval` does."""
    approval: ApprovalPolicy = "always"
    is_outside: bool = False
    """Whether its result is text that nobody here vouches for: pages, programs' output."""
    mcp: McpTool | None = None
    """The tool of an MCP server that it is; its schema then is its own."""

    def input_of(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Of the job that makes a call."""
        if self.mcp is None:
            return arguments
        return {"server": self.mcp.server.name, "tool": self.mcp.name, "arguments": arguments}

    def as_spec(self) -> dict[str, Any]:
        """As OpenAI's chat completions have it."""
        parameters = (
            self.mcp.input_schema
            if self.mcp
            else {
                "type": "object",
                "properties": dict(self.properties),
                "required": [self.required],
                "additionalProperties": False,
            }
        )
        function = {"name": self.name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": function}


TOOLS = {
    tool.name: tool
    for tool in (
        Tool(
            "data_file_read", "data.file_read", "Read a file of the workspace.", "path",
            {"path": TEXT, "max_bytes": _integer(512, 1_048_576)}, "data_file_read_enabled", "data_file_read_approval",
        ),
        Tool(
            "data_write_file", "data.write_file", "Write a file of the workspace.", "path",
            {
                "path": TEXT, "content": TEXT, "content_base64": TEXT, "offset": _integer(0), "start": _integer(0),
                "end": _integer(0), "dry_run": FLAG, "create_if_missing": FLAG, "mkdir_p": FLAG,
                "mode": {"type": "string", "enum": ["replace", "append", "prepend", "insert_at", "replace_range"]},
                "expected_sha256": TEXT, "max_bytes": _integer(512, 10_485_760),
            },
            "data_file_write_enabled", "data_file_write_approval",
        ),
        Tool(
            "tools_file_search", "tools.file_search", "Find files of the workspace by name.", "query",
            {"query": TEXT, "path": TEXT, "max_results": _integer(1, 200), "include_hidden": FLAG},
            "data_file_read_enabled", "data_file_read_approval",
        ),
        Tool(
            "tools_find_in_files", "tools.find_in_files", "Find text in files of the workspace.", "query",
            {
                "query": TEXT, "path": TEXT, "files": {"type": "array", "items": TEXT, "maxItems": 500}, "regex": FLAG,
                "case_sensitive": FLAG, "include_hidden": FLAG, "max_results": _integer(1, 500),
            },
            "data_file_read_enabled", "data_file_read_approval",
        ),
        Tool(
            "tools_web_search", "tools.web_search", "Search the web.", "query",
            {
                "query": TEXT, "max_results": _integer(1, 20),
                "provider": {"type": "string", "enum": ["duckduckgo", "brave"]},
            },
            "web_search_enabled", "web_search_approval", is_outside=True,
        ),
        Tool(
            "data_fetch", "data.fetch", "Fetch a page of an allowlisted site over https.", "url",
            {"url": TEXT, "timeout_ms": _integer(200, 120_000), "max_bytes": _integer(512, 1_048_576)},
            "data_fetch_enabled", "data_fetch_approval", is_outside=True,
        ),
        Tool(
            "tool_exec", "tool.exec", "Run an allowlisted command, without a shell.", "command",
            {
                "command": TEXT, "args": {"type": "array", "items": TEXT, "maxItems": 100},
                "timeout_ms": _integer(100, 120_000),
            },
            "tool_exec_enabled", "tool_exec_approval", is_outside=True,
        ),
        Tool(
            "workflow_run", "workflow.run", "Run a workflow of the workspace.", "workflow",
            {"workflow": TEXT, "workflow_file": TEXT, "params": OBJECT, "queue": TEXT},
            approval_setting="workflow_run_approval", is_outside=True,
        ),
    )
}  # fmt: skip
"""Ours, by the name of the function. Those of MCP servers are in their rows."""


class ToolRefused(Exception):
    """A call of a tool that is not made: one of the contract's codes, and why."""

    def __init__(self, code: str, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(message)


def offered() -> list[Tool]:
    """The tools that work now: their job types are enabled, and their settings switch them on. Reads the database."""
    enabled = set(JobType.objects.filter(enabled=True, handler__startswith="builtin:").values_list("name", flat=True))
    config = runtime_tools.now_effective()
    own = [it for it in TOOLS.values() if it.job_type in enabled and (not it.switch or getattr(config, it.switch))]
    return own + ([_of(row) for row in mcp.offered()] if mcp.JOB_TYPE in enabled else [])


def find(name: str) -> Tool | None:
    """The tool of a function, whether or not it works now. Reads the database for those of MCP servers."""
    if not name.startswith(PREFIX):
        return TOOLS.get(name)
    row = mcp.find(name)
    return None if row is None else _of(row)


def is_outside(name: str) -> bool:
    """Whether the results of a function that `find` knows, or knew, are text that nobody here vouches for."""
    return name.startswith(PREFIX) or TOOLS[name].is_outside


def _of(row: McpTool) -> Tool:
    return Tool(
        row.function, mcp.JOB_TYPE, mcp.description_of(row), "", {},
        approval=row.effective_approval, is_outside=True, mcp=row,
    )  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """A call that may be made, if a person need not be asked, or approves."""

    tool: Tool
    input: dict[str, Any]
    reaches_all_queues: bool
    policy: ApprovalPolicy

    def approval(self, *, untrusted: Sequence[str], by: str) -> str:
        """Why a person is to be asked; empty: nobody is. untrusted: what came into the conversation from outside.
        by: who made the job that calls. Reads the database."""
        if self.reaches_all_queues and not uses_every_queue(by):
            return f"{self.tool.job_type} reaches every queue, and {by or 'whoever made the job'} may not use them all"
        if self.policy == "always":
            return f"every call of {self.tool.name} needs approval"
        if self.policy == "untrusted" and untrusted:
            more = f" and {len(untrusted) - NAMED_SOURCES} more" if len(untrusted) > NAMED_SOURCES else ""
            named = ", ".join(untrusted[:NAMED_SOURCES]) + more
            return f"text from outside is in the conversation ({named}), and may have asked for this"
        return ""


def checked(name: str, arguments: str) -> Wanted:
    """The call of a tool. Reads the database.

    Raises ToolRefused: TOOL_UNKNOWN, TOOL_DISABLED, TOOL_HANDLER_BLOCKED, TOOL_EXEC_ERROR for a bad input.
    """
    tool = find(name)
    if tool is None:
        raise ToolRefused("TOOL_UNKNOWN", f"there is no tool {name[:80]!r}")
    job_type = JobType.objects.filter(name=tool.job_type).first()
    if job_type is None or not job_type.enabled:
        raise ToolRefused("TOOL_DISABLED", f"the job type {tool.job_type} is disabled")
    if not job_type.handler.startswith("builtin:") or job_type.handler.startswith(BLOCKED_HANDLERS):
        raise ToolRefused("TOOL_HANDLER_BLOCKED", f"the handler of {tool.job_type} is not for models")
    config = runtime_tools.now_effective()
    if tool.switch and not getattr(config, tool.switch):
        raise ToolRefused("TOOL_DISABLED", f"{tool.job_type} is switched off")
    if tool.mcp is not None and (refusal := mcp.refusal_of(tool.mcp)):
        raise ToolRefused("TOOL_DISABLED", refusal)
    try:
        given = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise ToolRefused("TOOL_EXEC_ERROR", "the arguments are no JSON object")
    if tool.mcp is None:
        wanted = {field: value for field, value in given.items() if field in tool.properties}
    elif fault := mcp.argument_fault(tool.mcp, given):
        raise ToolRefused("TOOL_EXEC_ERROR", fault)
    else:
        wanted = tool.input_of(given)
    try:
        check_input(wanted, job_type.handler)
    except Problem as problem:
        raise ToolRefused("TOOL_EXEC_ERROR", problem.message) from None
    handler = registry.get(job_type.handler)
    policy = getattr(config, tool.approval_setting) if tool.approval_setting else tool.approval
    return Wanted(tool, wanted, handler is not None and handler.reaches_all_queues, policy)


def result_payload(result: Any) -> dict[str, Any]:
    """What a model is given of a result; of a long one its beginning."""
    text = json.dumps(result, ensure_ascii=False)
    if len(text) <= MAX_RESULT_CHARS:
        return {"ok": True, "result": result}
    told = {"truncated": True, "bytes": len(text.encode()), "preview": text[:MAX_RESULT_CHARS]}
    return {"ok": True, "result": told}


def error_payload(code: str, message: str, details: Any = None) -> dict[str, Any]:
    """What a model is given of a call that failed."""
    error = {"code": code, "message": message} | ({} if details is None else {"details": details})
    return {"ok": False, "error": error}


def specs(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """As OpenAI's chat completions have them."""
    return [tool.as_spec() for tool in tools]
