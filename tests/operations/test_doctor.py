"""`manage.py doctor`."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from datetime import timedelta
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from access import keys
from jobs.models import BEAT_NODE, CallbackDelivery, Job, JobType, Node
from metrics.models import Alert, AlertRule
from rauskuclaw.config import Config
from rauskuclaw.operations import doctor, findings
from rauskuclaw.operations.checks import machine, servers, stack
from rauskuclaw.operations.findings import Check, Finding, Findings, Level
from tests.operations.conftest import Manage

MakeJob = Callable[..., Job]
Configure = Callable[..., Any]


def levels(check: Check) -> dict[str, str]:
    return {finding.check: finding.level.value for finding in check()}


def bad(check: Check) -> list[Finding]:
    """What is not ok; each says a fix."""
    found = [finding for finding in check() if finding.level is not Level.OK]
    assert all(finding.fix for finding in found)
    return found


# The report


def test_the_report_says_the_fix_of_what_is_wrong(manage: Manage, db: None) -> None:
    ran = manage("doctor")

    assert ran.code == 1
    assert "✗ beat" in ran.out
    assert "→ Start beat and a worker of the queue `system`" in ran.out
    assert ran.out.splitlines()[-1].endswith("failed")


def test_the_report_is_one_object(manage: Manage, db: None) -> None:
    ran = manage("doctor", "--json")

    fails = [finding["check"] for finding in ran.json["findings"] if finding["level"] == "fail"]
    assert (ran.json["ok"], ran.json["error"]["code"]) == (False, "NOT_READY")
    assert ran.json["summary"]["fail"] == len(fails) >= 2


def test_warnings_alone_are_no_failure(manage: Manage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "diagnose", lambda: iter([findings.warn("x", "so so", "mend it")]))

    ran = manage("doctor", "--json")

    assert (ran.code, ran.json["ok"], ran.json["summary"]) == (0, True, {"ok": 0, "warn": 1, "fail": 0})


def test_a_check_that_breaks_hides_no_other(monkeypatch: pytest.MonkeyPatch, db: None) -> None:
    def broken() -> Findings:
        yield findings.ok("broken", str(1 // 0))

    monkeypatch.setattr(doctor, "MACHINE", (broken, machine.python))

    found = list(doctor.diagnose())

    assert (found[0].check, found[0].level, found[1].check) == ("broken", Level.FAIL, "python")


# This machine


def test_a_secret_that_others_can_read_is_a_failure(configure: Configure, tmp_path: Path) -> None:
    configure(VAR_DIR=tmp_path)
    secret = tmp_path / "secrets" / "api_key"
    secret.parent.mkdir(mode=0o700)
    secret.write_text("x")
    secret.chmod(0o600)
    assert levels(machine.secrets) == {"secrets": "ok"}

    secret.chmod(0o644)

    assert [it.fix for it in bad(machine.secrets)] == [f"chmod 600 {secret}"]


def test_a_folder_of_secrets_that_others_can_write_is_a_failure(configure: Configure, tmp_path: Path) -> None:
    configure(VAR_DIR=tmp_path)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets").chmod(0o777)

    assert levels(machine.secrets) == {"secrets": "fail"}


def test_disk_space_is_judged(configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(VAR_DIR=tmp_path)
    found = []
    for limits in ((0, 0), (2**60, 0), (2**60, 2**60)):
        monkeypatch.setattr(machine, "LOW_DISK_BYTES", limits[0])
        monkeypatch.setattr(machine, "FULL_DISK_BYTES", limits[1])
        found.append(levels(machine.var_dir)["disk"])

    assert found == ["ok", "warn", "fail"]


def test_the_workspace_is_judged(configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(WORKSPACE_ROOT=tmp_path / "files", DATA_FILE_READ_ENABLED=1)
    not_made_yet = levels(machine.workspace)
    (tmp_path / "files").mkdir()
    (told,) = machine.workspace()

    def refuse(fd: int, operation: int) -> None:
        raise OSError(errno.EBADF, "as NFS does")

    monkeypatch.setattr(fcntl, "flock", refuse)

    assert not_made_yet == {}
    assert (told.level, told.message) == ("ok", f"{tmp_path}/files; jobs may read it")
    assert levels(machine.workspace) == {"workspace": "warn"}
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert levels(machine.workspace) == {"workspace": "fail"}


def test_a_var_dir_that_is_not_there_is_told(configure: Configure, tmp_path: Path) -> None:
    configure(VAR_DIR=tmp_path / "none")

    assert levels(machine.var_dir) == {"var_dir": "warn"}


@pytest.mark.parametrize(
    ("keys_json", "found"),
    [
        ('[{"key": "short", "name": "a"}]', {"keys.configured": "warn"}),
        ('[{"key": "0123456789abcdef", "name": "a"}]', {"keys.configured": "ok"}),
        ('[{"key":"0123456789abcdef","name":"a"},{"key":"fedcba9876543210","name":"a"}]', {"keys.configured": "warn"}),
    ],
)
def test_configured_keys_are_judged_and_not_shown(configure: Configure, keys_json: str, found: dict[str, str]) -> None:
    configure(API_KEYS_JSON=keys_json)

    assert levels(machine.configured_keys) == found
    assert not any(key in it.message for it in machine.configured_keys() for key in ('short"', "0123456789abcdef"))


@pytest.mark.parametrize(
    ("settings", "check", "level"),
    [
        ({"CALLBACK_SIGNING_ENABLED": 1}, "callbacks.signing", "fail"),
        ({"CALLBACK_SIGNING_ENABLED": 1, "CALLBACK_SIGNING_SECRET": "short"}, "callbacks.signing", "warn"),
        ({"CALLBACK_SIGNING_ENABLED": 1, "CALLBACK_SIGNING_SECRET": "x" * 32}, "callbacks.signing", "ok"),
        ({"CALLBACK_ALLOWLIST": "example.org"}, "callbacks.signing", "warn"),
        ({"CALLBACK_ALLOWLIST_BEHAVIOR_WHEN_EMPTY": "allow_all"}, "callbacks.allowlist", "warn"),
        ({}, "callbacks.allowlist", "ok"),
        ({"CALLBACKS_ENABLED": "false"}, "callbacks", "ok"),
    ],
)
def test_callback_settings_are_judged(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], check: str, level: str
) -> None:
    for name in ("CALLBACK_ALLOWLIST", "CALLBACK_SIGNING_ENABLED", "CALLBACK_SIGNING_SECRET"):
        monkeypatch.delenv(name, raising=False)
    configure(**settings)

    assert levels(machine.callbacks)[check] == level


def test_a_plug_in_that_cannot_be_loaded_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("broken", "no_such_package:Handler", "rauskuclaw.handlers")
    monkeypatch.setattr(machine, "entry_points", lambda group: [broken])

    (found,) = bad(machine.plugins)

    assert (found.level, "no_such_package" in found.message) == (Level.FAIL, True)


# The servers


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("answer", "check", "level"),
    [((130_022, "13.22"), "postgres", "fail"), ((180_004, "18.4 (Debian)"), "postgres", "ok")],
)
def test_the_version_of_postgres_is_judged(
    monkeypatch: pytest.MonkeyPatch, answer: tuple[int, str], check: str, level: str
) -> None:
    replies = iter([answer, ("on", "on", "on")])
    monkeypatch.setattr(servers, "_one", lambda _sql: next(replies))

    assert levels(servers.postgres) == {check: level, "postgres.durability": "ok"}


@pytest.mark.django_db
def test_a_postgres_that_may_lose_commits_is_a_failure() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")

    found = {it.check: it for it in servers.postgres()}["postgres.durability"]

    assert found.level is Level.FAIL
    assert "ALTER SYSTEM SET synchronous_commit = on;" in found.fix


@pytest.mark.django_db
@pytest.mark.parametrize(("version", "level"), [(None, "fail"), ("0.7.4", "fail"), ("0.8.5", "ok")])
def test_pgvector_is_judged(monkeypatch: pytest.MonkeyPatch, version: str | None, level: str) -> None:
    monkeypatch.setattr(servers, "_one", lambda _sql: (version,))

    assert levels(servers.pgvector) == {"pgvector": level}


@pytest.mark.django_db
def test_the_real_servers_answer_every_question() -> None:
    asked = [*doctor.POSTGRES, *doctor.REDIS]

    found = {name: level for check in asked for name, level in levels(check).items()}

    assert {"postgres", "pgvector", "postgres.connections", "redis"} <= found.keys()
    assert (found["clock.postgres"], found["clock.redis"], found["migrations"]) == ("ok", "ok", "ok")


@pytest.mark.django_db
def test_missing_and_foreign_migrations_are_told() -> None:
    assert levels(servers.migrations) == {"migrations": "ok"}

    MigrationRecorder(connection).record_applied("jobs", "9999_from_the_future")
    assert "ahead of this code" in bad(servers.migrations)[0].message

    for app, newest in MigrationExecutor(connection).loader.graph.leaf_nodes("jobs"):
        MigrationRecorder(connection).record_unapplied(app, newest)
    assert levels(servers.migrations) == {"migrations": "fail"}


@pytest.mark.parametrize(("seconds", "level"), [(0.1, "ok"), (-5.0, "warn"), (60.0, "fail")])
def test_clocks_that_differ_are_told(seconds: float, level: str) -> None:
    assert [it.level for it in servers._clock("clock.x", "X", seconds)] == [level]


@pytest.mark.parametrize(("start_sec", "level"), [(4, "ok"), (-10, "warn"), (900, "warn")])
def test_a_worker_s_clock_that_stands_out_is_told(live_stack: Node, start_sec: float, level: str) -> None:
    live_stack.refresh_from_db()
    born = live_stack.started_at.timestamp() - start_sec
    Node.objects.filter(pk=live_stack.pk).update(pid_created_at=born)

    assert levels(servers.node_clocks) == {"clock.nodes": level}


GOOD = {
    "redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "9.1.2", "maxmemory_policy": "noeviction",
    "maxmemory": 0, "used_memory": 1000, "aof_enabled": 1, "aof_last_write_status": "ok",
}  # fmt: skip


class FakeRedis:
    """What INFO says of servers that tests have not at hand."""

    def __init__(self, **differences: Any) -> None:
        self._info = {**GOOD, **differences}

    def info(self) -> dict[str, Any]:
        return self._info


@pytest.mark.parametrize(
    ("differences", "check", "level"),
    [
        ({}, "redis.persistence", "ok"),
        ({"redis_version": "6.0.16"}, "redis", "fail"),
        ({"maxmemory_policy": "allkeys-lru"}, "redis.policy", "fail"),
        ({"maxmemory": 1001}, "redis.memory", "warn"),
        ({"aof_enabled": 0}, "redis.persistence", "warn"),
        ({"aof_last_write_status": "err"}, "redis.persistence", "fail"),
    ],
)
def test_redis_is_judged_by_what_it_says(
    monkeypatch: pytest.MonkeyPatch, differences: dict[str, Any], check: str, level: str
) -> None:
    monkeypatch.setattr(servers, "client", lambda: FakeRedis(**differences))

    assert levels(servers.redis)[check] == level


def test_a_redis_that_is_away_is_a_failure(redis_away: None, db: None) -> None:
    found = {it.check: it for it in doctor.diagnose()}

    assert found["redis"].level is Level.FAIL
    assert "redis.policy" not in found


# The stack


def test_a_live_stack_is_fine(live_stack: Node, make_job: MakeJob) -> None:
    make_job()

    found = {**levels(stack.beat), **levels(stack.workers), **levels(stack.consumers), **levels(stack.leases)}

    assert found == {"beat": "ok", "workers": "ok", "queues": "ok"}


def test_silent_nodes_are_failures(live_stack: Node) -> None:
    Node.objects.update(seen_at=timezone.now() - timedelta(minutes=5))

    assert levels(stack.beat) == {"beat": "fail"}
    assert levels(stack.workers) == {"workers": "fail"}
    assert Node.objects.filter(pk=BEAT_NODE).exists()


def test_a_worker_of_another_version_is_told(live_stack: Node) -> None:
    Node.objects.filter(pk=live_stack.pk).update(version="0.0.1")

    assert levels(stack.workers)["workers.version"] == "warn"


def test_a_queue_that_nobody_consumes_is_a_failure(live_stack: Node, make_job: MakeJob) -> None:
    make_job(queue="gpu")

    (found,) = bad(stack.consumers)

    assert (found.check, found.level) == ("queue.gpu", Level.FAIL)
    assert "WORKER_QUEUE_ALLOWLIST holds gpu" in found.fix


def test_jobs_that_only_an_io_worker_takes_are_a_failure_without_one(
    live_stack: Node, make_job: MakeJob, make_type: Callable[..., Any]
) -> None:
    make_type("data.fetch", handler="builtin:data.fetch")
    make_job("data.fetch", input={"url": "https://example.com/"})

    (found,) = bad(stack.consumers)

    assert (found.check, found.level) == ("queue.default.io", Level.FAIL)
    assert "I/O worker" in found.message


def test_a_job_that_waits_long_beside_a_worker_is_told(live_stack: Node, make_job: MakeJob) -> None:
    job = make_job()
    Job.objects.filter(pk=job.pk).update(available_at=timezone.now() - timedelta(minutes=5))

    assert levels(stack.consumers)["queue.default"] == "warn"


def test_a_lease_that_nobody_takes_back_is_a_failure(claimed: Callable[..., Any]) -> None:
    Job.objects.filter(pk=claimed().id).update(lease_expires_at=timezone.now() - timedelta(hours=1))

    assert levels(stack.leases) == {"leases": "fail"}


@pytest.fixture
def keyless(configure: Configure, monkeypatch: pytest.MonkeyPatch, db: None) -> Configure:
    for name in ("API_KEY", "API_KEYS_JSON", "API_AUTH_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    configure()
    return configure


def test_no_key_at_all_is_a_failure_and_open_access_a_warning(keyless: Configure) -> None:
    assert levels(stack.stored_keys) == {"keys": "fail"}

    keyless(API_AUTH_DISABLED=1)
    assert levels(stack.stored_keys) == {"keys": "warn"}


def test_a_stored_key_is_enough_while_it_lives(keyless: Configure) -> None:
    key = keys.create(name="ci", role="admin", by="test").key
    assert levels(stack.stored_keys) == {"keys": "ok"}

    keys.revoke(key.pk, by="test")
    assert levels(stack.stored_keys) == {"keys": "fail"}


def test_open_alerts_are_told(db: None) -> None:
    Alert.objects.create(code="QUEUE_STALLED", message="over", value=1, state="resolved", resolved_at=timezone.now())
    assert not levels(stack.alerts)

    Alert.objects.create(code="NO_WORKER", scope="gpu", message="No live worker consumes queue gpu.", value=1)

    (finding,) = bad(stack.alerts)
    assert finding.check == "alert.NO_WORKER"
    assert "queue gpu. (since " in finding.message


def test_addresses_without_a_mail_server_are_told(db: None, configure: Callable[..., Config]) -> None:
    AlertRule.objects.create(code="DISK_LOW", emails=["ops@example.org"])
    assert bad(stack.alerts)[0].message.startswith("DISK_LOW would write")

    configure(SMTP_HOST="mail.example.org")

    assert not levels(stack.alerts)


def test_dead_callbacks_are_told(make_job: MakeJob) -> None:
    assert not levels(stack.dead_callbacks)
    CallbackDelivery.objects.create(
        job=make_job(), series=1, url="https://x.example", payload={}, state="dead", last_error="HTTP 500"
    )

    assert "the newest: HTTP 500" in bad(stack.dead_callbacks)[0].message


def test_an_enabled_type_without_its_handler_is_a_failure(make_type: Callable[..., JobType]) -> None:
    make_type("report.generate")
    make_type("off.type", handler="plugin:gone", enabled=False)
    assert levels(stack.job_types) == {"job_types": "ok"}

    make_type("on.type", handler="plugin:gone")

    assert levels(stack.job_types) == {"job_type.on.type": "fail"}


def test_two_handlers_of_one_id_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def clash() -> None:
        raise ValueError("two handlers claim the id x")

    monkeypatch.setattr("jobs.handlers.registry.installed", clash)

    assert [it.message for it in bad(stack.job_types)] == ["two handlers claim the id x"]
