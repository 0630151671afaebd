from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.running import RunningStack, running_stack


@pytest.fixture(scope="session")
def stack() -> Iterator[RunningStack]:
    """One stack for all tests of this folder (they run in one xdist group)."""
    allowed = {"TOOL_EXEC_ENABLED": "1", "TOOL_EXEC_ALLOWLIST": "sleep,sh"}
    with running_stack(CALLBACK_ALLOWLIST="127.0.0.1", **allowed) as running:
        running.make_type("test.ledger", "test:ledger")
        running.make_type("test.noop", "test:noop")
        running.make_type("test.stubborn", "test:stubborn")
        running.make_type("test.fan", "test:fan")
        running.http.patch("/v1/job-types/tool.exec", json={"enabled": True})
        yield running
