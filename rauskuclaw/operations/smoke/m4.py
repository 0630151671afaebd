"""Suite m4: memories get vectors and are found, a schedule makes a job, an answer becomes a memory."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from rauskuclaw.operations.smoke.api import NO_WORKER, TAGS, Api
from rauskuclaw.operations.smoke.m3 import switched_on
from rauskuclaw.operations.smoke.options import Options
from rauskuclaw.operations.smoke.steps import Failed, Skipped, Steps, hold

REPORT, CRON = "report.generate", "*/5 * * * * *"
START_SEC, EMBED_SEC, SCHEDULE_SEC, CHAT_SEC = 45.0, 120.0, 45.0, 240.0
TARGET, REPLY_KEY = "doc.target", "chat.reply.smoke"
MEMORIES = {
    TARGET: "The production deployment of the web shop happens on Tuesday before noon.",
    "doc.other": "Grandmother's recipe for rye bread needs sourdough and a hot oven.",
}
QUERY = "On which day is the web shop deployed to production?"


def run(api: Api, steps: Steps, options: Options) -> None:
    """All six steps."""
    scope = f"m4-smoke-{uuid.uuid4().hex[:12]}"
    with steps("the server answers"):
        api.answers(START_SEC)
    with steps("memories are kept"):
        api.afterwards("POST", "/v1/memory/reset", {"confirm": True, "scope": scope})
        for key, text in MEMORIES.items():
            body = {"scope": scope, "key": key, "value": {"text": text}, "tags": TAGS}
            api.send("POST", "/v1/memory", 201, json=body)
    with steps("each gets a vector"):
        fix = "Set MEMORY_VECTOR_ENABLED=1, and see MEMORY_EMBEDDER and that a worker runs."
        api.wait_for(_embedded(api, scope), EMBED_SEC, "not every memory is ready", fix)
    with steps("a search finds the right one first"):
        found = api.send("POST", "/v1/memory/search", 200, json={"scope": scope, "query": QUERY, "top_k": 3})
        keys = [match["memory"]["key"] for match in found["matches"]]
        hold(keys[:1] == [TARGET], f"the best hits are {keys}", "See `manage.py memory models`, docs/memory.md.")
    with steps("a schedule makes a job"):
        _scheduled(api, scope, steps)
    with steps("an answer of a model becomes a memory"):
        _written_back(api, scope, steps, options)


def _embedded(api: Api, scope: str) -> Callable[[], bool | None]:
    def look() -> bool | None:
        rows = api.get("/v1/memory", params={"scope": scope})["memories"]
        for row in rows:
            failed = row["embedding_status"] == "failed"
            hold(not failed, f"{row['key']} got none: {row['embedding_error']}", "docs/memory.md says what that means.")
        return [row["embedding_status"] for row in rows] == ["ready"] * len(MEMORIES) or None

    return look


def _scheduled(api: Api, name: str, steps: Steps) -> None:
    api.enable(REPORT)
    body = {"name": name, "type": REPORT, "cron": CRON, "input": {"title": "Smoke"}, "tags": TAGS}
    path = f"/v1/schedules/{api.send('POST', '/v1/schedules', 201, json=body)['schedule']['id']}"
    api.afterwards("DELETE", path)

    def look() -> Any:
        return api.get(path)["schedule"]["last_job_id"]

    job_id = api.wait_for(look, SCHEDULE_SEC, "the schedule has made no job", f"{NO_WORKER} See SCHEDULER_ENABLED.")
    type_ = api.get(f"/v1/jobs/{job_id}")["job"]["type"]
    hold(type_ == REPORT, f"its job is a {type_}", "Report it: a schedule makes jobs of its own type.")
    api.send("DELETE", path, 200)
    steps.note(f"job {job_id}")


def _written_back(api: Api, scope: str, steps: Steps, options: Options) -> None:
    if not options.write_back:
        raise Skipped("M4_SMOKE_CHAT_WRITEBACK is not 1")
    name = options.chat_type or switched_on(api)
    if name is None:
        raise Skipped("no language model is switched on here (docs/providers.md)")
    api.enable(name)
    wanted = {"scope": scope, "key": REPLY_KEY, "required": True}
    job = api.ended(api.make_job(name, {"prompt": options.prompt, "memory_write": wanted}), CHAT_SEC)
    if job["status"] != "succeeded":
        error = job["error"] or {}
        told = f"{name} ended as {job['status']} with {error.get('code')}: {error.get('message')}"
        raise Failed(told, "docs/providers.md and docs/memory.md say what the code means.")
    written = job["result"]["memory_write"]
    held = (written["scope"], written["key"]) == (scope, REPLY_KEY)
    hold(held, f"result.memory_write is {written}", f"See GET /v1/jobs/{job['id']}.")
    rows = api.get("/v1/memory", params={"scope": scope, "key": REPLY_KEY})["memories"]
    hold([row["key"] for row in rows] == [REPLY_KEY], f"the memory is not listed, but {rows}", "Report it.")
    steps.note(f"{name}, {job['result']['model']}")
