"""The runtime views: workers, queues, handlers, providers (contract 2.11)."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from jobs import lifecycle, nodes
from jobs.models import Node
from rauskuclaw.config import Config
from tests.apiclient import GPU_ONLY, KEYS, READER, Api
from tests.conftest import NODE

Make = Callable[..., Any]


def make_node(id: uuid.UUID = NODE, **columns: Any) -> Node:
    here = {"name": "w", "host": "elsewhere/1/2", "pid": 7, "pid_created_at": 0, "queues": ["default"]}
    return Node.objects.create(id=id, kind="worker", concurrency=4, version="1.2.3", **here | columns)


def test_a_worker_shows_what_it_runs_since_when(api: Api, claimed: Make) -> None:
    make_node()
    first, second = claimed(type="deploy.run"), claimed()

    (worker,) = api.get("/v1/runtime/workers", key=READER).json["workers"]

    assert worker | {"started_at": 0, "seen_at": 0, "jobs": 0} == {
        "id": str(NODE), "name": "w", "host": "elsewhere", "pid": 7, "pool": "process", "queues": ["default"],
        "slots": 4, "busy": 2, "version": "1.2.3", "started_at": 0, "seen_at": 0, "jobs": 0,
    }  # fmt: skip
    assert [job["id"] for job in worker["jobs"]] == [str(first.id), str(second.id)]
    assert worker["jobs"][0]["type"] == "deploy.run"
    assert worker["jobs"][0]["running_sec"] >= 0


def test_the_dead_and_the_silent_are_not_shown(api: Api) -> None:
    gone = nodes.this_process() | {"pid": os.getpid(), "pid_created_at": 1.0}
    make_node(uuid.uuid4(), **gone)
    make_node(uuid.uuid4(), seen_at=timezone.now() - timedelta(seconds=16))

    assert api.get("/v1/runtime/workers").json["workers"] == []


def test_with_an_allowlist_only_its_queues_are_seen(api: Api, claimed: Make) -> None:
    make_node(queues=["gpu", "default"])
    make_node(uuid.uuid4(), queues=["default"])
    claimed()
    seen = claimed(queue="gpu")

    (worker,) = api.get("/v1/runtime/workers", key=GPU_ONLY).json["workers"]

    assert worker["busy"] == 2
    assert [job["id"] for job in worker["jobs"]] == [str(seen.id)]


def test_queues_have_what_queues_have_and_rates(api: Api, make_job: Make, claimed: Make) -> None:
    make_job(queue="gpu")
    claim = claimed(queue="gpu")
    lifecycle.succeed(claim.id, claim.fence, result={})
    lifecycle.cancel(make_job(queue="gpu").id, by="test")
    make_job()

    shown = {queue["name"]: queue for queue in api.get("/v1/runtime/queues").json["queues"]}

    assert (shown["gpu"]["made_per_min"], shown["gpu"]["ended_per_min"]) == (3, 2)
    assert (shown["default"]["made_per_min"], shown["default"]["ended_per_min"]) == (1, 0)
    for queue in api.get("/v1/queues").json["queues"]:
        assert shown[queue["name"]].keys() - queue.keys() == {"made_per_min", "ended_per_min"}
        assert shown[queue["name"]]["waiting"] == queue["waiting"]
    assert [queue["name"] for queue in api.get("/v1/runtime/queues", key=GPU_ONLY).json["queues"]] == ["gpu"]


def test_handlers_tell_an_admin_all_but_secrets(api: Api, configure: Callable[..., Config]) -> None:
    configure(
        API_KEYS_JSON=KEYS, TOOL_EXEC_ENABLED="yes", TOOL_EXEC_ALLOWLIST="git,ls", WEB_SEARCH_BRAVE_API_KEY="s3cret-key"
    )

    answer = api.get("/v1/runtime/handlers")

    assert "s3cret-key" not in answer.text
    assert answer.json["handlers"] == {
        "deploy": {"enabled": True, "allowed_targets": ["staging"]},
        "tool_exec": {"enabled": True, "allowlist_count": 2, "allowlist": ["git", "ls"], "timeout_ms": 10_000},
        "data_fetch": {
            "enabled": False, "allowlist_count": 0, "allowlist": [], "timeout_ms": 8_000, "max_bytes": 65_536,
        },
        "web_search": {
            "enabled": False, "provider": "duckduckgo", "brave_api_key_configured": True, "timeout_ms": 8_000,
            "max_results": 5, "base_url": "https://api.duckduckgo.com",
        },
    }  # fmt: skip


def test_handlers_and_providers_tell_a_reader_what_is_on(api: Api) -> None:
    assert api.get("/v1/runtime/handlers", key=READER).json == {
        "ok": True,
        "handlers": {
            "deploy": {"enabled": True},
            "tool_exec": {"enabled": False},
            "data_fetch": {"enabled": False},
            "web_search": {"enabled": False, "provider": "duckduckgo"},
        },
    }
    assert api.get("/v1/runtime/providers", key=READER).json == {
        "ok": True,
        "providers": {name: {"enabled": False} for name in ("codex", "openai", "anthropic", "ollama")},
    }


def test_providers_have_the_contracts_keys(api: Api) -> None:
    shown = api.get("/v1/runtime/providers").json["providers"]

    assert list(shown["codex"]) == ["enabled", "exec_mode", "model", "local_provider", "cli_path", "timeout_ms"]
    assert list(shown["openai"]) == ["enabled", "model", "base_url", "chat_completions_path", "timeout_ms"]


@pytest.mark.parametrize("view", ["metrics", "workers", "queues", "handlers", "providers"])
def test_each_view_needs_a_key_and_takes_any(api: Api, view: str) -> None:
    assert api.get(f"/v1/runtime/{view}", key=None).code == "UNAUTHORIZED"
    assert api.get(f"/v1/runtime/{view}", key=READER).status == 200
    assert api.post(f"/v1/runtime/{view}").code == "METHOD_NOT_ALLOWED"
