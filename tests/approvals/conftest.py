"""A chat job whose model asks for tools that a person must approve, stepped through as workers would run it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.models import Job
from jobs.requests import NewJob
from jobs.submission import submit
from tests.jobs.test_groups import run_all
from tests.modelserver import ModelServer, Reply, ToolCall
from tests.providers.conftest import CHAT, HANDLERS

WRITE = ToolCall("data_write_file", {"path": "notes.txt", "content": "Friday", "create_if_missing": True})
Asked = Callable[..., Job]


@pytest.fixture
def asked(transactional_db: None, models: ModelServer, make_type: Any, configure: Any, tmp_path: Path) -> Asked:
    """`asked(*replies, settings…, **input)`: a chat job, after all has been run that nobody needs to approve."""

    def run(*replies: Reply | str, by: str = "test", given: Any = None, **settings: Any) -> Job:
        (tmp_path / "work").mkdir(exist_ok=True)
        configure(
            OPENAI_ENABLED=1, OPENAI_BASE_URL=models.base_url, OPENAI_API_KEY=models.key, OPENAI_MODEL="gpt-test",
            WORKSPACE_ROOT=tmp_path / "work", DATA_FILE_READ_ENABLED=1, DATA_FILE_WRITE_ENABLED=1,
            **{"DATA_FILE_WRITE_APPROVAL": "always", **settings},
        )  # fmt: skip
        make_type(CHAT, handler=HANDLERS[CHAT])
        make_type("data.write_file", handler="builtin:data.write_file")
        make_type("data.file_read", handler="builtin:data.file_read")
        models.answer(*(replies or (Reply(WRITE), "Done.")))
        new = NewJob(type=CHAT, input={"prompt": "Note it.", "agent_tools": True, **(given or {})})
        job = submit(new, created_by=by).job
        run_all()
        return Job.objects.get(pk=job.pk)

    return run


@pytest.fixture
def written(tmp_path: Path) -> Callable[[], str | None]:
    """What stands in notes.txt; None where there is none."""

    def read() -> str | None:
        path = tmp_path / "work" / "notes.txt"
        return path.read_text() if path.exists() else None

    return read
