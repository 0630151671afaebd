"""Each tool in a model's hands: called in a chat, run as its own job against real files, servers and programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from access import keys
from jobs.job_types import seed
from jobs.models import Job, JobType
from jobs.requests import NewJob
from jobs.submission import submit
from providers.tools import TOOLS
from rauskuclaw import netguard
from tests.jobs.test_groups import now, run_all
from tests.modelserver import ModelServer, Reply, ToolCall
from tests.net.servers import CA_FILE, Exchange, serving
from tests.providers.conftest import CHAT

pytestmark = pytest.mark.django_db(transaction=True)
TOPICS = json.dumps({"Heading": "Postgres", "AbstractURL": "https://postgres.example/", "AbstractText": "A database."})
WORKFLOW = """
workflows:
  nightly:
    steps:
      - id: report
        type: report.generate
        input: {title: Nightly, source: ci}
"""


@pytest.fixture
def outside(configure: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Everything switched on: a workspace, a program, a search service, a site behind TLS; its port."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CA_FILE))
    netguard.tls_context.cache_clear()
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "workflows.yaml").write_text(WORKFLOW)
    (tmp_path / "notes.txt").write_text("The meeting is on Friday.\n")

    def site(exchange: Exchange) -> None:
        exchange.answer(200, b"From the site.")

    def topics(exchange: Exchange) -> None:
        exchange.answer(200, TOPICS.encode(), content_type="application/x-javascript")

    with serving(site, tls=True) as fetched, serving(topics) as searched:
        configure(
            WORKSPACE_ROOT=tmp_path, DATA_FILE_READ_ENABLED=1, DATA_FILE_WRITE_ENABLED=1, TOOL_EXEC_ENABLED=1,
            TOOL_EXEC_ALLOWLIST="echo", DATA_FETCH_ENABLED=1, DATA_FETCH_ALLOWLIST="localhost", WEB_SEARCH_ENABLED=1,
            WEB_SEARCH_BASE_URL=f"http://127.0.0.1:{searched.port}",
        )  # fmt: skip
        yield fetched.port
    netguard.tls_context.cache_clear()


CALLS: dict[str, tuple[dict[str, Any], str]] = {
    "data_file_read": ({"path": "notes.txt"}, "The meeting is on Friday."),
    "data_write_file": ({"path": "new.txt", "content": "x", "create_if_missing": True}, "new.txt"),
    "tools_file_search": ({"query": "notes"}, "notes.txt"),
    "tools_find_in_files": ({"query": "Friday"}, "notes.txt"),
    "tools_web_search": ({"query": "postgres"}, "A database."),
    "data_fetch": ({"url": "https://localhost:PORT/"}, "From the site."),
    "tool_exec": ({"command": "echo", "args": ["said"]}, "said"),
    "workflow_run": ({"workflow": "nightly"}, "report"),
}


def test_no_tool_is_left_out() -> None:
    assert CALLS.keys() == TOOLS.keys()


@pytest.mark.parametrize("name", CALLS)
def test_a_model_that_calls_it_is_told_what_it_did(name: str, outside: int, asks: ModelServer) -> None:
    seed()
    JobType.objects.update(enabled=True)
    arguments, expected = CALLS[name]
    sent = {key: value.replace("PORT", str(outside)) if key == "url" else value for key, value in arguments.items()}
    asks.answer(Reply(ToolCall(name, sent)), "Done.")

    keys.create(name="ci", role="admin", by="test")
    job = submit(NewJob(type=CHAT, input={"prompt": "Do it.", "agent_tools": True}), created_by="key:ci").job
    run_all()

    told = json.loads(asks.calls[1].body["messages"][-1]["content"])
    assert told["ok"] is True, told
    assert expected in json.dumps(told["result"])
    assert now(job).status == "succeeded"
    assert Job.objects.get(group__parent=job).type == TOOLS[name].job_type
    assert name in {tool["function"]["name"] for tool in asks.calls[0].body["tools"]}
