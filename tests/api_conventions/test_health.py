"""`/health` answers whatever is down; `/ready` says what is down."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.db.migrations.executor import MigrationExecutor
from django.test import Client
from django.utils import timezone

from jobs import nodes
from jobs.models import Node
from rauskuclaw import health
from rauskuclaw import redis as ours

pytestmark = [pytest.mark.urls("tests.api_conventions.urls")]


@pytest.fixture
def live_nodes(db: None) -> None:
    for kind in Node.Kind:
        Node.objects.create(id=uuid.uuid4(), kind=kind, name=kind, host="h", pid=1, pid_created_at=1.0, version="0")


@pytest.fixture
def broken_database(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def cursor(self) -> Any:
            raise OperationalError("connection to 10.0.0.7 failed")

    monkeypatch.setattr(health, "connection", Broken())


@pytest.fixture
def broken_redis(configure: Callable[..., Any]) -> Iterator[None]:
    configure(REDIS_URL="redis://127.0.0.1:1/0")
    ours.forget()
    yield
    ours.forget()


def bad(client: Client) -> dict[str, str]:
    response = client.get("/ready")
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "NOT_READY"
    checks = response.json()["error"]["details"]["checks"]
    assert list(checks) == ["database", "migrations", "redis", "worker", "io", "beat"]
    return {name: check["detail"] for name, check in checks.items() if not check["ok"]}


@pytest.mark.usefixtures("broken_database", "broken_redis")
def test_health_answers_without_database_and_redis(client: Client) -> None:
    body = client.get("/health", HTTP_ACCEPT="text/plain").json()

    assert list(body) == ["ok", "service", "time"]
    assert (body["ok"], body["service"]) == (True, "rauskuclaw-api")


@pytest.mark.usefixtures("live_nodes")
def test_ready_when_every_part_is_there(client: Client) -> None:
    body = client.get("/ready").json()

    assert body["ok"] is True
    assert {name: check["ok"] for name, check in body["checks"].items()} == dict.fromkeys(body["checks"], True)


@pytest.mark.usefixtures("live_nodes")
@pytest.mark.parametrize("kind", ["worker", "beat"])
def test_a_part_that_fell_silent_is_named(client: Client, kind: str) -> None:
    Node.objects.filter(kind=kind).update(seen_at=timezone.now() - timedelta(seconds=16))

    assert bad(client) == {kind: "none alive: `make up` runs one"}


@pytest.mark.usefixtures("live_nodes")
@pytest.mark.parametrize("kind", ["worker", "beat"])
def test_a_part_that_died_a_moment_ago_is_gone_at_once(client: Client, kind: str) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    Node.objects.filter(kind=kind).update(host=nodes.host_identity(), pid=dead.pid)

    assert bad(client) == {kind: "none alive: `make up` runs one"}


@pytest.mark.usefixtures("live_nodes")
@pytest.mark.parametrize("kind", ["worker", "beat"])
def test_a_process_that_took_over_its_number_does_not_stand_in_for_it(client: Client, kind: str) -> None:
    me = nodes.this_process()

    Node.objects.filter(kind=kind).update(**me)
    assert client.get("/ready").status_code == 200
    Node.objects.filter(kind=kind).update(**me | {"pid_created_at": me["pid_created_at"] - 60})
    assert bad(client) == {kind: "none alive: `make up` runs one"}


@pytest.mark.usefixtures("live_nodes")
def test_an_io_worker_is_needed_once_a_job_type_does(client: Client, make_type: Callable[..., Any]) -> None:
    make_type("data.fetch", handler="builtin:data.fetch", enabled=False)
    assert client.get("/ready").json()["checks"]["io"]["detail"] == "none alive, and no enabled job type needs one"

    make_type("data.fetch", handler="builtin:data.fetch", enabled=True)
    assert bad(client) == {"io": "none alive: `make up` runs one"}

    Node.objects.create(kind="worker", pool="io", name="io", host="h", pid=1, pid_created_at=1.0, version="0")
    assert client.get("/ready").status_code == 200


@pytest.mark.usefixtures("live_nodes", "broken_redis")
def test_redis_away_is_named(client: Client) -> None:
    assert list(bad(client)) == ["redis"]


@pytest.mark.usefixtures("broken_database")
def test_a_lost_database_is_named_without_its_address(client: Client) -> None:
    told = bad(client)

    assert list(told) == ["database", "migrations", "worker", "io", "beat"]
    assert "10.0.0.7" not in str(told)


@pytest.mark.usefixtures("live_nodes")
def test_missing_migrations_are_counted(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    health._applied.cache_clear()
    monkeypatch.setattr(MigrationExecutor, "migration_plan", lambda *_: [1, 2])

    assert bad(client) == {"migrations": "2 not applied: run `manage.py migrate`"}
