"""Fixtures for every area. The servers come from tests/stackplugin.py."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from pytest_django.plugin import DjangoDbBlocker

from jobs.handlers.report import ReportGenerate
from jobs.lifecycle import claim
from jobs.models import Job, JobType
from jobs.requests import NewJob
from jobs.submission import submit
from jobs.transitions import Claim, Claimable
from rauskuclaw import config
from tests.apiclient import KEYS, Api
from tests.modelserver import ModelServer, model_server

WORKER = "test-worker"
NODE = uuid.UUID("00000000-0000-4000-8000-000000000001")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The test database. `transaction=True` tests end with a TRUNCATE, which the audit log would refuse."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE access_auditentry DISABLE TRIGGER auditentry_is_never_truncated")
    yield
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        # A thread that writes logs keeps its connection for a moment, and the database is dropped next.
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def error_of(job: Job) -> dict[str, Any]:
    """The job's error, which it must have."""
    assert job.error is not None
    return dict(job.error)


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., config.Config]]:
    """`configure(LEASE_SEC=5)` sets environment variables and reloads the configuration, for this test."""

    def apply(**environment: Any) -> config.Config:
        for name, value in environment.items():
            monkeypatch.setenv(name, str(value))
        return config.reload()

    yield apply
    monkeypatch.undo()
    config.reload()


@pytest.fixture
def api(db: None, configure: Callable[..., config.Config]) -> Api:
    """The API with the keys of tests/apiclient.py."""
    configure(API_KEYS_JSON=KEYS)
    return Api()


@pytest.fixture
def models() -> Iterator[ModelServer]:
    """A stand-in for the servers of language models and embeddings."""
    with model_server() as server:
        yield server


@pytest.fixture
def make_type(db: None) -> Callable[..., JobType]:
    """A job type; a report by default."""

    def make(name: str = "report.generate", **columns: Any) -> JobType:
        columns.setdefault("handler", "builtin:report.generate")
        return JobType.objects.update_or_create(name=name, defaults=columns)[0]

    return make


@pytest.fixture
def whole_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports that take up a place of a window each, as jobs do that are not short."""
    monkeypatch.setattr(ReportGenerate, "short", False)


@pytest.fixture
def make_job(make_type: Callable[..., JobType]) -> Callable[..., Job]:
    """A job submitted the real way; its type is made if it does not exist."""

    def make(type: str = "report.generate", *, tags: tuple[str, ...] = (), **fields: Any) -> Job:
        if not JobType.objects.filter(name=type).exists():
            make_type(type)
        return submit(NewJob(type=type, tags=tags, **fields), created_by="test").job

    return make


@pytest.fixture
def claimed(make_job: Callable[..., Job]) -> Callable[..., Claim]:
    """A running job, claimed by a worker that does nothing."""

    def make(**fields: Any) -> Claim:
        job = make_job(**fields)
        Job.objects.filter(pk=job.pk, published_at=None).update(published_at=job.created_at)
        found = claim(Claimable(job.id, job.fence, worker=WORKER, node=NODE, lease_sec=30))
        assert found is not None
        return found

    return make
