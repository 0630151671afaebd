"""The tools, one line each: what a model may say, and which request that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Place = Literal["path", "query", "body", "check"]


@dataclass(frozen=True)
class Param:
    """An argument. place: where the request has it; `check` is not sent. to: its name there, if it is another."""

    schema: Mapping[str, Any]
    place: Place = "body"
    required: bool = False
    to: str = ""


@dataclass(frozen=True)
class Tool:
    """One request. path: with `{argument}` in it. shown: the keys of the answer that are its result."""

    name: str
    description: str
    method: str
    path: str
    shown: tuple[str, ...]
    params: Mapping[str, Param] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    """Of what is shown, these fields; empty: all."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """What every call says in its body besides: nothing for a model to choose."""

    @property
    def input_schema(self) -> dict[str, Any]:
        """As JSON Schema."""
        return {
            "type": "object",
            "properties": {name: dict(param.schema) for name, param in self.params.items()},
            "required": [name for name, param in self.params.items() if param.required],
            "additionalProperties": False,
        }


def _text(place: Place = "body", *, required: bool = False, default: str | None = None, **schema: Any) -> Param:
    more = schema if default is None else {**schema, "default": default}
    return Param({"type": "string", **more}, place, required)


def _int(low: int, high: int, default: int | None = None, place: Place = "body") -> Param:
    more = {} if default is None else {"default": default}
    return Param({"type": "integer", "minimum": low, "maximum": high, **more}, place)


def _flag(default: bool | None = None, place: Place = "body") -> Param:
    return Param({"type": "boolean", **({} if default is None else {"default": default})}, place)


def _needed(name: str, place: Place = "path") -> dict[str, Param]:
    return {name: _text(place, required=True)}


OBJECT = Param({"type": "object"})
TEXTS = Param({"type": "array", "items": {"type": "string"}})
ANY = Param({"description": "Any JSON value."}, required=True)
STATUS = _text("query", enum=["queued", "running", "succeeded", "failed", "cancelled"])
JOB_SUMMARY = ("id", "type", "status", "queue", "priority", "attempts", "created_at")
_SCHEDULE = {
    "name": _text(), "type": _text(), "queue": _text(), "input": Param({}), "interval_sec": _int(5, 86_400),
    "cron": _text(), "enabled": _flag(), "priority": _int(0, 10), "timeout_sec": _int(1, 3600),
    "max_attempts": _int(1, 10), "start_in_sec": _int(0, 86_400), "tags": TEXTS,
}  # fmt: skip
_TYPE = {
    "enabled": _flag(), "handler": _text(), "default_timeout_sec": _int(1, 3600), "default_max_attempts": _int(1, 10),
}  # fmt: skip

TOOLS = (
    Tool("jobs_create", "Create a job.", "POST", "/v1/jobs", ("job",), {
        "type": _text(required=True), "input": OBJECT, "queue": _text(default="default"), "priority": _int(0, 10, 5),
        "timeout_sec": _int(1, 3600), "max_attempts": _int(1, 10), "tags": TEXTS, "callback_url": _text(),
    }, only=("id", "type", "status", "queue")),
    Tool("jobs_list", "List jobs, newest first.", "GET", "/v1/jobs", ("jobs",), {
        "status": STATUS, "type": _text("query"), "queue": _text("query"), "limit": _int(1, 200, 50, "query"),
    }, only=JOB_SUMMARY),
    Tool("jobs_get", "Get a job with its result or error.", "GET", "/v1/jobs/{job_id}", ("job",), _needed("job_id")),
    Tool("jobs_cancel", "Cancel a queued or running job.", "POST", "/v1/jobs/{job_id}/cancel", ("job",),
         _needed("job_id")),
    Tool("jobs_logs", "Get the newest lines of a job's log.", "GET", "/v1/jobs/{job_id}/logs", ("logs",),
         {**_needed("job_id"), "tail": _int(1, 2000, 200, "query")}),
    Tool("job_types_list", "List the job types.", "GET", "/v1/job-types", ("types",)),
    Tool("job_types_create", "Create a job type.", "POST", "/v1/job-types", ("type",), {
        "name": _text(required=True), "handler": _text(required=True), "enabled": _flag(True),
        "default_timeout_sec": _int(1, 3600, 120), "default_max_attempts": _int(1, 10, 1),
    }),
    Tool("job_types_update", "Change a job type.", "PATCH", "/v1/job-types/{name}", ("type",),
         {**_needed("name"), **_TYPE}),
    Tool("memory_list", "List memories, the last changed first.", "GET", "/v1/memory", ("memories",), {
        "scope": _text("query"), "key": _text("query"), "include_expired": _flag(False, "query"),
        "limit": _int(1, 500, 100, "query"),
    }),
    Tool("memory_scopes", "List the scopes of memory with their counts.", "GET", "/v1/memory/scopes", ("scopes",), {
        "q": _text("query"), "include_expired": _flag(False, "query"), "limit": _int(1, 1000, 200, "query"),
    }),
    Tool("memory_get", "Get a memory.", "GET", "/v1/memory/{memory_id}", ("memory",), _needed("memory_id")),
    Tool("memory_delete", "Delete a memory.", "DELETE", "/v1/memory/{memory_id}", ("id", "deleted"),
         _needed("memory_id")),
    Tool("memory_write", "Remember a value under a scope and a key.", "POST", "/v1/memory", ("memory",), {
        "scope": _text(required=True), "key": _text(required=True), "value": ANY, "tags": TEXTS,
        "ttl_sec": _int(1, 31_536_000),
    }, fixed={"trusted": False}),
    Tool("memory_reset", "Delete all memories, or those of a scope. Needs confirm: true.", "POST", "/v1/memory/reset",
         ("scope", "deleted_memories"), {"confirm": Param({"type": "boolean"}, required=True), "scope": _text()}),
    Tool("memory_search", "Find memories by meaning.", "POST", "/v1/memory/search", ("matches",), {
        "scope": _text(required=True), "query": _text(required=True), "top_k": _int(1, 100, 10),
        "include_expired": _flag(False),
    }),
    Tool("working_memory_list", "List sessions of working memory.", "GET", "/v1/working-memory", ("sessions",),
         {"limit": _int(1, 100, 10, "query")}),
    Tool("working_memory_get", "Get a session's working memory; the latest without session_id.", "GET",
         "/v1/working-memory", ("state",), {"session_id": _text("query")}),
    Tool("working_memory_save", "Save a session's working memory, whole.", "POST", "/v1/working-memory",
         ("session_id", "state"), {
             "state": Param({"type": "object"}, required=True), "session_id": _text(), "ttl_sec": _int(60, 604_800),
         }),
    Tool("working_memory_clear", "Delete a session's working memory.", "DELETE", "/v1/working-memory",
         ("session_id", "deleted_entries"), _needed("session_id", "query")),
    Tool("workspace_list", "List a directory of the workspace.", "GET", "/v1/workspace/files", ("entries",),
         {"path": _text("query", default="."), "limit": _int(1, 1000, 200, "query")}),
    Tool("workspace_read", "Read a text file of the workspace.", "GET", "/v1/workspace/file", ("file",),
         _needed("path", "query")),
    Tool("workspace_delete", "Delete a file of the workspace.", "DELETE", "/v1/workspace/file", ("file",),
         _needed("path", "query")),
    Tool("workspace_write", "Replace the text of a file that exists.", "PUT", "/v1/workspace/file", ("file",),
         {"path": _text(required=True), "content": _text(required=True)}),
    Tool("workspace_upload", "Write a file from base64.", "POST", "/v1/workspace/upload", ("file",), {
        "path": _text(required=True), "content_base64": _text(required=True), "overwrite": _flag(False),
    }),
    Tool("workspace_create", "Create a file or a directory.", "POST", "/v1/workspace/create", ("entry",), {
        "path": _text(required=True), "kind": _text(enum=["file", "dir"], default="file"), "content": _text(),
        "overwrite": _flag(False),
    }),
    Tool("workspace_move", "Move or rename a file or a directory.", "PATCH", "/v1/workspace/move",
         ("from_path", "to_path", "moved"), {
             "from_path": _text(required=True), "to_path": _text(required=True), "overwrite": _flag(False),
         }),
    Tool("schedules_list", "List schedules.", "GET", "/v1/schedules", ("schedules",), {
        "enabled": _flag(None, "query"), "type": _text("query"), "queue": _text("query"),
        "limit": _int(1, 500, 100, "query"),
    }),
    Tool("schedules_get", "Get a schedule.", "GET", "/v1/schedules/{schedule_id}", ("schedule",),
         _needed("schedule_id")),
    Tool("schedules_delete", "Delete a schedule.", "DELETE", "/v1/schedules/{schedule_id}", ("deleted",),
         _needed("schedule_id")),
    Tool("schedules_create", "Create a schedule: every interval_sec, or by cron.", "POST", "/v1/schedules",
         ("schedule",), {
             **_SCHEDULE, "type": _text(required=True), "queue": _text(default="default"), "enabled": _flag(True),
         }),
    Tool("schedules_update", "Change a schedule.", "PATCH", "/v1/schedules/{schedule_id}", ("schedule",),
         {**_needed("schedule_id"), **_SCHEDULE, "run_now": _flag()}),
    Tool("runtime_providers", "Which language models are switched on.", "GET", "/v1/runtime/providers", ("providers",)),
    Tool("runtime_handlers", "Which handlers that reach out are switched on.", "GET", "/v1/runtime/handlers",
         ("handlers",)),
    Tool("runtime_whoami", "Who this key is, and what it may do.", "GET", "/v1/auth/whoami", ("auth",)),
    Tool("runtime_metrics", "Counters, job states and alerts.", "GET", "/v1/runtime/metrics", ("metrics", "alerts"),
         {"window_sec": _int(60, 604_800, None, "query"), "queue": _text("query")}),
    Tool("ui_prefs_get", "Get a client's preferences.", "GET", "/v1/ui-prefs", ("scope", "prefs"),
         {"scope": _text("query", default="default")}),
    # As clients know it: the scope is never sent, so it is always `default`.
    Tool("ui_prefs_set", "Replace a client's preferences.", "PUT", "/v1/ui-prefs", ("scope", "prefs"),
         {"prefs": Param({"type": "object"}, required=True), "scope": _text("check", default="default")}),
)  # fmt: skip

BY_NAME = {tool.name: tool for tool in TOOLS}


@dataclass(frozen=True)
class ResourceKind:
    """What can be read. uri: after `rauskuclaw://`, with `{name}` for what varies. shown: of the answer; one text of a
    file where mime is text/plain."""

    uri: str
    name: str
    path: str
    shown: str
    mime: str = "application/json"


RESOURCES = (
    ResourceKind("jobs", "Newest jobs", "/v1/jobs", "jobs"),
    ResourceKind("memory/scopes", "Scopes of memory", "/v1/memory/scopes", "scopes"),
    ResourceKind("schedules", "Schedules", "/v1/schedules", "schedules"),
    ResourceKind("workspace", "Workspace", "/v1/workspace/files", "entries"),
    ResourceKind("runtime/providers", "Language models", "/v1/runtime/providers", "providers"),
    ResourceKind("runtime/handlers", "Handlers that reach out", "/v1/runtime/handlers", "handlers"),
    ResourceKind("jobs/{id}", "A job", "/v1/jobs/{id}", "job"),
    ResourceKind("memory/{scope}/{key}", "A memory", "/v1/memory?scope={scope}&key={key}", "memories"),
    ResourceKind("schedules/{id}", "A schedule", "/v1/schedules/{id}", "schedule"),
    ResourceKind("workspace/{path}", "A file of the workspace", "/v1/workspace/file?path={path}", "file", "text/plain"),
)
