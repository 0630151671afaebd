"""A running stack that has itself as a registered MCP server: both halves, and the jobs between them."""

from __future__ import annotations

from typing import Any

import pytest

from rauskuclaw.mcp.tools import TOOLS
from tests.running import API_KEY, RunningStack, running_stack, wait_until

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("mcp stack")]
PATH = "/v1/mcp-servers"


def ask(stack: RunningStack, method: str, path: str, body: Any = None) -> dict[str, Any]:
    answer = stack.http.request(method, path, json=body)
    assert answer.status_code < 300, answer.text
    return dict(answer.json())


def test_a_stack_calls_its_own_tools() -> None:
    with running_stack(MCP_CLIENT_ENABLED="1", MCP_PRIVATE_HOSTS="127.0.0.1") as stack:
        address = {"url": f"{stack.http.base_url}/mcp", "headers": {"x-api-key": API_KEY}}
        ask(stack, "POST", PATH, {"name": "self", "transport": "http", "enabled": True, **address})
        ask(stack, "PATCH", "/v1/job-types/mcp.call", {"enabled": True})

        refreshed = stack.wait_for(ask(stack, "POST", f"{PATH}/self/refresh")["job_id"], "succeeded")
        listed = ask(stack, "GET", f"{PATH}/self/tools")["tools"]
        chosen = next(it for it in listed if it["name"] == "runtime_whoami")
        accepted = {"accept": chosen["definition_hash"], "enabled": True}
        ask(stack, "PATCH", f"{PATH}/self/tools/runtime_whoami", accepted)
        calls = [{"call_id": "1", "name": "mcp__self__runtime_whoami"}]
        told = wait_until(
            lambda: ask(stack, "POST", "/v1/agent-tools/invoke-batch", {"calls": calls})["results"][0], what="an answer"
        )

        assert refreshed["result"]["count"] == len(listed) == len(TOOLS)
        assert refreshed["result"]["rejected"] == []
        assert told["ok"] is True, told
        assert '"role": "admin"' in told["output"]["text"]
        assert API_KEY not in str(told) + stack.log
