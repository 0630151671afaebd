"""Providers that ask the stand-in server, and jobs that run as an I/O worker runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from jobs.models import Job, JobLog
from jobs.pools.io import IOPool
from rauskuclaw import config
from tests.conftest import NODE, WORKER
from tests.modelserver import ModelServer

PLACES = 20
CHAT, CLAUDE, LLAMA = "ai.chat.generate", "anthropic.chat.generate", "ollama.chat.generate"
HANDLERS = {
    CHAT: "builtin:provider.openai.chat",
    CLAUDE: "builtin:provider.anthropic.chat",
    LLAMA: "builtin:provider.ollama.chat",
}


@pytest.fixture
def asks(models: ModelServer, configure: Callable[..., config.Config]) -> ModelServer:
    """The stand-in, and all providers switched on and pointed at it."""
    configure(
        OPENAI_ENABLED=1, OPENAI_BASE_URL=models.base_url, OPENAI_API_KEY=models.key, OPENAI_MODEL="gpt-test",
        ANTHROPIC_ENABLED=1, ANTHROPIC_BASE_URL=models.base_url, ANTHROPIC_API_KEY=models.key,
        ANTHROPIC_MODEL="claude-test", OLLAMA_CHAT_ENABLED=1, OLLAMA_BASE_URL=models.base_url,
        OLLAMA_CHAT_MODEL="llama-test",
    )  # fmt: skip
    return models


@pytest.fixture(scope="session")
def pool() -> IOPool:
    """One for all tests: its threads live as long as the process."""
    return IOPool(NODE, PLACES)


Start = Callable[..., Future[Job]]
Chat = Callable[..., Job]


@pytest.fixture
def start(transactional_db: None, make_type: Any, make_job: Any, pool: IOPool, models: ModelServer) -> Iterator[Start]:
    """`start(type, **input)` makes a chat job and runs one attempt of it; the job, later. `fields`: of the job."""
    with ThreadPoolExecutor(PLACES) as threads:

        def run(job: Job) -> Job:
            pool.run(job.id, job.fence, worker=WORKER)
            try:
                return Job.objects.get(pk=job.pk)
            finally:
                connection.close()

        def begin(type: str = CHAT, *, fields: dict[str, Any] | None = None, **given: Any) -> Future[Job]:
            make_type(type, handler=HANDLERS[type])
            job = make_job(type, input=given, **(fields or {}))
            return threads.submit(run, job)

        yield begin
        # Whatever a failed test left in a pause must end, or the threads would be waited for.
        models.stopping.set()


@pytest.fixture
def chat(start: Start) -> Chat:
    """`chat(type, **input)`: the job after its attempt."""

    def run(*args: Any, **given: Any) -> Job:
        return start(*args, **given).result(60)

    return run


def lines_of(job: Job, message: str) -> list[dict[str, Any]]:
    """The meta of each log line with this message."""
    return [dict(line.meta or {}) for line in JobLog.objects.filter(job=job, message=message).order_by("id")]
