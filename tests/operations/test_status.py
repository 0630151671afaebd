"""`manage.py status`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from jobs.models import CallbackDelivery, Job, Node
from jobs.transitions import Claim
from rauskuclaw.config import ROOT
from tests.operations.conftest import Manage

MakeJob = Callable[..., Job]


def test_queues_are_counted(manage: Manage, live_stack: Node, make_job: MakeJob, claimed: Callable[..., Claim]) -> None:
    claimed()
    make_job(queue="gpu")
    late = make_job(queue="gpu")
    now = timezone.now()
    Job.objects.filter(pk=late.pk).update(
        available_at=now + timedelta(hours=1), published_at=None, created_at=now - timedelta(days=2)
    )

    queues = {queue.pop("queue"): queue for queue in manage("status", "--json").json["queues"]}

    oldest = queues["gpu"].pop("oldest_sec")
    assert oldest >= 2 * 86_400
    assert queues["gpu"] == {"pool": "process", "queued": 2, "published": 1, "delayed": 1, "running": 0, "workers": 0}
    assert queues["default"] == {
        "pool": "process", "queued": 0, "published": 0, "delayed": 0, "running": 1, "workers": 1, "oldest_sec": None,
    }  # fmt: skip


def test_nodes_are_alive_or_silent(manage: Manage, live_stack: Node) -> None:
    Node.objects.filter(pk=live_stack.pk).update(seen_at=timezone.now() - timedelta(minutes=5))

    alive = {node["name"]: node["alive"] for node in manage("status", "--json").json["nodes"]}

    assert alive == {"beat": True, "w1": False}
    assert "silent" in manage("status").out


def test_callbacks_are_counted(manage: Manage, make_job: MakeJob) -> None:
    for state in ("pending", "dead", "dead", "skipped"):
        CallbackDelivery.objects.create(job=make_job(), series=1, url="https://x.example", payload={}, state=state)

    assert manage("status", "--json").json["callbacks"] == {"pending": 1, "dead": 2}


@pytest.mark.parametrize(
    ("pid", "told"), [(os.getpid(), "make up: ready at http://x:1"), (2**22 + 1, "is gone")], ids=["alive", "dead"]
)
def test_the_stack_of_make_up_is_told(
    manage: Manage, configure: Callable[..., object], tmp_path: Path, db: None, pid: int, told: str
) -> None:
    configure(VAR_DIR=tmp_path)
    services = [{"name": "web", "state": "running", "pid": 1, "born": "x", "restarts": 2}]
    state = {"pid": pid, "url": "http://x:1", "state": "ready", "started_at": "2026", "services": services}
    (tmp_path / "stack.json").write_text(json.dumps(state))

    assert told in manage("status").out
    assert manage("status", "--json").json["stack"]["services"][0]["restarts"] == 2


def test_without_a_stack_and_a_worker_it_says_so_and_is_fine(manage: Manage, db: None) -> None:
    ran = manage("status", "--json")

    assert (ran.code, ran.json["ok"], ran.json["stack"]) == (0, True, None)
    assert ran.json["parts"]["worker"]["ok"] is False


def test_redis_away_is_told_and_exits_1(manage: Manage, redis_away: None, db: None) -> None:
    ran = manage("status", "--json")

    assert (ran.code, ran.json["error"]["code"]) == (1, "NOT_READY")
    assert ran.json["queues"] == []


@pytest.fixture
def without_postgres(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts `manage.py` as an operator would, with an address at which no Postgres listens."""

    def start(*arguments: str) -> subprocess.Popen[str]:
        address = "postgresql://x:geheim@127.0.0.1:1/x"
        env = {**os.environ, "DATABASE_URL": address, "VAR_DIR": str(tmp_path)}
        return subprocess.Popen(
            [sys.executable, "manage.py", *arguments], cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip

    return start


def test_every_command_tells_in_json_that_postgres_is_away(
    without_postgres: Callable[..., subprocess.Popen[str]],
) -> None:
    commands = [("status",), ("doctor",), ("jobs", "list")]
    running = {command: without_postgres(*command, "--json") for command in commands}

    said = {command[0]: (*process.communicate(timeout=60), process.returncode) for command, process in running.items()}

    answers = {name: json.loads(out) for name, (out, _, _) in said.items()}
    assert {code for _, _, code in said.values()} == {1}
    assert answers["status"]["error"]["code"] == answers["jobs"]["error"]["code"] == "DATABASE_UNAVAILABLE"
    assert [it["level"] for it in answers["doctor"]["findings"] if it["check"] == "postgres"] == ["fail"]
    assert not any("geheim" in text for out, err, _ in said.values() for text in (out, err))
