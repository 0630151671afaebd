from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.net.servers import CA_FILE
from tests.running import RunningStack, running_stack


@pytest.fixture(scope="session")
def stack() -> Iterator[RunningStack]:
    """One stack for all tests of this folder (they run in one xdist group)."""
    allowed = {
        "TOOL_EXEC_ENABLED": "1", "TOOL_EXEC_ALLOWLIST": "sleep,sh",
        "DATA_FETCH_ENABLED": "1", "DATA_FETCH_ALLOWLIST": "localhost", "SSL_CERT_FILE": str(CA_FILE),
    }  # fmt: skip
    with running_stack(CALLBACK_ALLOWLIST="127.0.0.1", **allowed) as running:
        running.make_type("test.ledger", "test:ledger")
        running.make_type("test.short-ledger", "test:short-ledger")
        running.make_type("test.noop", "test:noop")
        running.make_type("test.stubborn", "test:stubborn")
        running.make_type("test.fan", "test:fan")
        for name in ("async-ledger", "deaf", "blocking"):
            running.make_type(f"test.{name}", f"test:{name}")
        for name in ("tool.exec", "data.fetch"):
            running.http.patch(f"/v1/job-types/{name}", json={"enabled": True})
        yield running
