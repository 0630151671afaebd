"""Two web processes for all tests of this folder, and jobs whose rows they see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import UUID

import pytest

from jobs import lifecycle
from jobs.models import Job
from tests.live.web import Web


@pytest.fixture(scope="session")
def webs(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Web]]:
    webs = [Web(tmp_path_factory.mktemp("web")) for _ in range(2)]
    try:
        for web in webs:
            web.wait_until_ready()
        yield webs
    finally:
        for web in webs:
            web.stop()


@pytest.fixture
def web(webs: list[Web]) -> Iterator[Web]:
    yield webs[0]
    webs[0].redis.mend()
    webs[0].postgres.mend()


@pytest.fixture
def job(transactional_db: None, make_job: Callable[..., Job]) -> Job:
    return make_job()


@pytest.fixture
def write() -> Callable[..., None]:
    """`write(job_id, "a", "b")` appends log lines as a worker does."""

    def append(job_id: UUID, *messages: str) -> None:
        lifecycle.append_logs(job_id, [("info", message, None) for message in messages])

    return append
