"""Every setting an operator can make: the only reader of `os.environ` and of `rauskuclaw.json`.

Precedence: environment variable (non-empty) > for a secret, the file that `<NAME>_FILE` names > `rauskuclaw.json` >
default; the two server addresses may also come from `VAR_DIR/run.env`, where `make up` writes them.
Names and meanings follow the v1 contract, section 15. `docs/configuration.md` and `.env.example` are generated from
this module (`manage.py docs`).
"""

from __future__ import annotations

import ipaddress
import os
import socket
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from rauskuclaw.config_checks import ConfigError, cross_checks, describe
from rauskuclaw.config_fields import (
    Csv,
    Directory,
    Keys,
    MasterKey,
    MasterKeys,
    Switch,
    at_least,
    setting,
)
from rauskuclaw.config_handlers import HandlerSettings
from rauskuclaw.config_models import ModelSettings
from rauskuclaw.config_sources import (
    ApiKeyEntry,
    read_environment,
    read_json_file,
    read_run_env,
    read_secret_files,
)
from rauskuclaw.config_telling import TellingSettings

__all__ = ["Config", "ConfigError", "load"]

ROOT = Path(__file__).resolve().parent.parent

SECTIONS = {
    "Web": "host",
    "Data and servers": "var_dir",
    "Access": "api_key",
    "Jobs": "idempotency_ttl_sec",
    "Worker": "worker_id",
    "Schedules": "scheduler_enabled",
    "Callbacks": "callbacks_enabled",
    "Mail": "smtp_host",
    "Metrics and alerts": "metrics_enabled",
    "Retention": "retention_enabled",
    "Memory": "memory_vector_enabled",
    "Workspace": "workspace_root",
    "Handlers": "deploy_target_allowlist",
    "Language models": "openai_enabled",
    "MCP servers": "mcp_client_enabled",
}
"""Section of the generated reference → the first setting of it."""


class Config(HandlerSettings, TellingSettings, ModelSettings):
    """The settings of one process, checked and frozen. Build it with `load()`."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True, case_sensitive=True, frozen=True, extra="ignore", populate_by_name=True
    )

    host: str = setting("127.0.0.1", "HOST", "Address the web server listens on.", cfg="api.host")
    port: int = setting(3001, "PORT", "Port the web server listens on.", cfg="api.port", ge=1, le=65535)
    allowed_hosts: Csv = setting(
        (), "ALLOWED_HOSTS", "Host names the server answers to besides loopback and HOST (comma-separated); `*`: any.",
        cfg="api.allowed_hosts",
    )  # fmt: skip
    trusted_origins: Csv = setting(
        (), "TRUSTED_ORIGINS", "Further origins (`https://jobs.example.org`) whose pages may use a session.",
        cfg="api.trusted_origins",
    )  # fmt: skip
    trust_proxy: Switch = setting(
        False, "TRUST_PROXY", "`1`: believe X-Forwarded-For and X-Forwarded-Proto; only behind a proxy that sets them.",
        cfg="api.trust_proxy",
    )  # fmt: skip
    max_body_bytes: int = setting(
        1_048_576, "MAX_BODY_BYTES", "Largest request body, in bytes.", cfg="api.max_body_bytes", ge=1024, le=67_108_864
    )
    node_env: str = setting("production", "NODE_ENV", "`production` switches `/v1/dev/*` off.")
    allow_dev_endpoints: Switch = setting(
        False, "ALLOW_DEV_ENDPOINTS", "`1` switches `/v1/dev/*` on in production too."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = setting(
        "INFO", "LOG_LEVEL", "How much the processes log.", cfg="log_level"
    )
    log_format: Literal["text", "json"] = setting(
        "text", "LOG_FORMAT", "`json`: an object a line, for programs.", cfg="log_format"
    )

    var_dir: Directory = setting(ROOT / "var", "VAR_DIR", "Directory of the embedded servers' data, secrets and locks.")
    database_url: SecretStr | None = setting(
        None, "DATABASE_URL", "`postgresql://user:password@host:port/name` of your own Postgres (pgvector required)."
        " Unset: `make up` runs an embedded one.",
    )  # fmt: skip
    redis_url: SecretStr | None = setting(
        None, "REDIS_URL", "`redis://:password@host:port/0` of your own Redis or Valkey. Unset: an embedded one."
    )
    secret_key: SecretStr | None = setting(
        None, "SECRET_KEY", "Signs sessions and stream tokens; the same on every web process."
        " Unset: generated once in `VAR_DIR/secrets`.", min_length=32,
    )  # fmt: skip

    secrets_key: MasterKey | None = setting(
        None, "SECRETS_KEY", "Seals stored secrets: 32 bytes in base64 (`manage.py secrets newkey`), the same on every"
        " machine. Unset: generated once in `VAR_DIR/secrets`.",
    )  # fmt: skip
    secrets_old_keys: MasterKeys = setting(
        (), "SECRETS_OLD_KEYS", "Former master keys (comma-separated), until `manage.py secrets rotate` has run."
    )

    api_key: SecretStr | None = setting(None, "API_KEY", "One admin key. Ignored when API_KEYS_JSON holds any.")
    api_keys: Keys = setting(
        (), "API_KEYS_JSON", 'Keys as JSON: `[{"key","name"?,"role"?: "admin"|"read","sse"?,"queue_allowlist"?}]`.',
        cfg="api.auth.keys",
    )  # fmt: skip
    api_auth_disabled: Switch = setting(
        False, "API_AUTH_DISABLED", "`1`: everybody is admin. Only honoured while no key of any kind exists."
    )
    api_auth_required: bool = setting(
        True, "API_AUTH_REQUIRED", "`false` in the file is API_AUTH_DISABLED for when that variable is unset.",
        cfg="api.auth.required",
    )  # fmt: skip
    api_key_header: str = setting(
        "x-api-key", "API_KEY_HEADER", "Header that carries the key.", cfg="api.auth.header",
        pattern=r"^[A-Za-z0-9-]{1,64}$",
    )  # fmt: skip
    sse_api_key_param: str = setting(
        "api_key", "SSE_API_KEY_PARAM", "Query parameter for a key, on the event stream only.",
        cfg="api.sse.query_api_key_param", min_length=1,
    )  # fmt: skip
    sse_token_param: str = setting(
        "stream_token", "SSE_TOKEN_PARAM", "Query parameter for a stream token.", cfg="api.sse.query_token_param",
        min_length=1,
    )  # fmt: skip
    sse_token_ttl_sec: int = setting(
        120,
        "SSE_TOKEN_TTL_SEC",
        "Life of a stream token, in seconds; clamped to 30..1800.",
        cfg="api.sse.token_ttl_sec",
    )
    session_ttl_sec: int = setting(
        43_200, "SESSION_TTL_SEC", "Life of a browser session, in seconds.", cfg="api.auth.session_ttl_sec",
        ge=300, le=2_592_000,
    )  # fmt: skip
    rate_limit_per_min: int = setting(
        0,
        "API_RATE_LIMIT_PER_MIN",
        "Requests a minute for each key; 0 is unlimited.",
        cfg="api.rate_limit_per_min",
        ge=0,
    )
    auth_failure_limit_per_min: int = setting(
        60, "AUTH_FAILURE_LIMIT_PER_MIN", "Refused credentials a minute for each client address; 0 is unlimited.",
        cfg="api.auth.failure_limit_per_min", ge=0,
    )  # fmt: skip

    idempotency_ttl_sec: int = setting(
        86_400, "IDEMPOTENCY_TTL_SEC", "How long an Idempotency-Key is remembered, in seconds.",
        cfg="jobs.idempotency_ttl_sec", ge=60,
    )  # fmt: skip
    dispatch_window_factor: int = setting(
        2, "DISPATCH_WINDOW_FACTOR", "Published jobs a queue may hold for each worker process on it.",
        cfg="jobs.dispatch_window_factor", ge=1, le=100,
    )  # fmt: skip
    priority_ageing_sec: int = setting(
        600, "PRIORITY_AGEING_SEC",
        "Seconds of waiting that count as a step of priority, so that nothing waits for ever; 0: priority alone.",
        cfg="jobs.priority_ageing_sec", ge=0, le=86_400,
    )  # fmt: skip

    result_inline_max_bytes: int = setting(
        262_144, "RESULT_INLINE_MAX_BYTES", "Largest result, in bytes of JSON, that lists and streams carry whole; a"
        " larger one is kept apart.", cfg="jobs.result_inline_max_bytes", ge=1024, le=8_388_608,
    )  # fmt: skip

    worker_id: str = setting(
        socket.gethostname, "WORKER_ID", "Name of this worker in logs and attempts; the host name by default.",
        cfg="worker.id", renamed_by="worker.worker_id_env", min_length=1, max_length=120,
    )  # fmt: skip
    worker_queue_allowlist: Csv = setting(
        ("default",), "WORKER_QUEUE_ALLOWLIST", "Queues this worker consumes (comma-separated), and no others.",
        cfg="worker.queue.default_allowed", renamed_by="worker.queue.allowlist_env", min_length=1,
    )  # fmt: skip
    worker_concurrency: int = setting(
        lambda: max(2, os.cpu_count() or 2), "WORKER_CONCURRENCY",
        "Jobs a worker runs at once, each in a process of its own. Default: one a core, at least 2.",
        cfg="worker.concurrency", ge=1, le=512,
    )  # fmt: skip
    io_concurrency: int = setting(
        200, "IO_CONCURRENCY", "Jobs an I/O worker runs at once: those that wait for the network, all in one process."
        " `0`, on all machines: there is none, and they run as the others do.",
        cfg="worker.io_concurrency", ge=0, le=2000,
    )  # fmt: skip
    lease_sec: int = setting(
        15, "LEASE_SEC", "A running job whose worker is silent for this many seconds is taken from it.",
        cfg="worker.lease_sec", ge=3, le=3600,
    )  # fmt: skip
    drain_sec: int = setting(
        20, "DRAIN_SEC", "Seconds a stopping worker lets running jobs finish.", cfg="worker.drain_sec", ge=0, le=3600
    )
    worker_lost_limit: int = setting(
        3, "WORKER_LOST_LIMIT", "A job that loses this many workers fails with WORKER_LOST.", cfg="worker.lost_limit",
        ge=1, le=10,
    )  # fmt: skip
    hard_limit_grace_sec: float = setting(
        2.0, "HARD_LIMIT_GRACE_SEC", "Seconds from a job's timeout to the kill of a handler that did not stop.",
        cfg="worker.hard_limit_grace_sec", ge=0.5, le=300,
    )  # fmt: skip

    scheduler_enabled: Switch = setting(
        True, "SCHEDULER_ENABLED", "`0`: no schedule makes a job by itself.", cfg="worker.scheduler.enabled"
    )
    scheduler_batch_size: int = setting(
        500, "SCHEDULER_BATCH_SIZE", "Due schedules that one transaction takes; a tick goes on until none is due.",
        cfg="worker.scheduler.batch_size", ge=1, le=1000,
    )  # fmt: skip
    scheduler_cron_tz: str = setting(
        "UTC", "SCHEDULER_CRON_TZ", "IANA time zone of the schedules that name none.",
        cfg="worker.scheduler.cron_timezone", min_length=1,
    )  # fmt: skip
    scheduler_history_days: int = setting(
        30, "SCHEDULER_HISTORY_DAYS", "Days that the runs of a schedule are kept; their jobs are not touched.",
        cfg="worker.scheduler.history_days", ge=1, le=3650,
    )  # fmt: skip

    retention_enabled: Switch = setting(
        True, "RETENTION_ENABLED", "`0`: nothing is deleted by itself, and what is to be kept for so long stays.",
        cfg="retention.enabled",
    )  # fmt: skip
    retention_job_days: int = setting(
        90, "RETENTION_JOB_DAYS", "Days that a job is kept after its end, where no policy says otherwise; 0: for ever.",
        cfg="retention.job_days", ge=0, le=36_500,
    )  # fmt: skip
    retention_job_count: int = setting(
        0, "RETENTION_JOB_COUNT", "Of each type the newest so many jobs are kept, older ones go sooner; 0: no limit.",
        cfg="retention.job_count", ge=0, le=100_000_000,
    )  # fmt: skip
    retention_log_days: int = setting(
        30, "RETENTION_LOG_DAYS", "Days that the log of a job is kept after its end; 0: as long as the job.",
        cfg="retention.log_days", ge=0, le=36_500,
    )  # fmt: skip
    retention_callback_days: int = setting(
        30, "RETENTION_CALLBACK_DAYS", "Days that a callback is kept once it is delivered, skipped or dead; 0: as long"
        " as its job.", cfg="retention.callback_days", ge=0, le=36_500,
    )  # fmt: skip
    retention_alert_days: int = setting(
        90, "RETENTION_ALERT_DAYS", "Days that a resolved alert is kept, and what was sent for it; 0: for ever.",
        cfg="retention.alert_days", ge=0, le=36_500,
    )  # fmt: skip
    retention_audit_days: int = setting(
        0, "RETENTION_AUDIT_DAYS", "Days that an entry of the audit log is kept; 0: for ever.",
        cfg="retention.audit_days", ge=0, le=36_500,
    )  # fmt: skip
    retention_model_call_days: int = setting(
        400, "RETENTION_MODEL_CALL_DAYS", "Days that a call of a model is kept, with its tokens and cost; budgets do"
        " not need it. 0: for ever.", cfg="retention.model_call_days", ge=0, le=36_500,
    )  # fmt: skip

    memory_vector_enabled: Switch = setting(
        True, "MEMORY_VECTOR_ENABLED", "`0`: memories get no vectors; they are found by text alone.",
        cfg="memory.vector_enabled",
    )  # fmt: skip
    memory_embedder: Literal["minilm", "ollama", "openai"] = setting(
        "minilm", "MEMORY_EMBEDDER", "What makes vectors: `minilm` needs nothing else and runs here; `ollama` and"
        " `openai` ask a server.", cfg="memory.embedder",
    )  # fmt: skip
    ollama_base_url: str = setting(
        "http://rauskuclaw-ollama:11434", "OLLAMA_BASE_URL", "Address of Ollama.", cfg="memory.ollama.base_url",
        pattern=r"^https?://\S+$",
    )  # fmt: skip
    ollama_embed_model: str = setting(
        "embeddinggemma:300m-qat-q8_0", "OLLAMA_EMBED_MODEL", "Its embedding model.",
        cfg="memory.ollama.embed_model", min_length=1, max_length=200,
    )  # fmt: skip
    ollama_embed_timeout_ms: int = setting(
        15_000, "OLLAMA_EMBED_TIMEOUT_MS", "Longest wait for one answer of an embedding server, in milliseconds.",
        cfg="memory.ollama.embed_timeout_ms", ge=100, le=600_000,
    )  # fmt: skip
    memory_openai_base_url: str = setting(
        "https://api.openai.com/v1", "MEMORY_OPENAI_BASE_URL", "Address of an OpenAI-compatible API for embeddings.",
        cfg="memory.openai.base_url", pattern=r"^https?://\S+$",
    )  # fmt: skip
    memory_openai_api_key: SecretStr | None = setting(None, "MEMORY_OPENAI_API_KEY", "Its key; unset: none is sent.")
    memory_openai_model: str = setting(
        "text-embedding-3-small", "MEMORY_OPENAI_MODEL", "Its embedding model.", cfg="memory.openai.model",
        min_length=1, max_length=200,
    )  # fmt: skip
    memory_search_top_k_default: int = setting(
        10, "MEMORY_SEARCH_TOP_K_DEFAULT", "Matches of a search that does not say how many.",
        cfg="memory.search_top_k_default", ge=1, le=1000,
    )  # fmt: skip
    memory_search_top_k_max: int = setting(
        100, "MEMORY_SEARCH_TOP_K_MAX", "Most matches that a search may ask for.", cfg="memory.search_top_k_max",
        ge=1, le=1000,
    )  # fmt: skip
    memory_search_strict: Switch = setting(
        False, "MEMORY_SEARCH_STRICT", "`1`: a search fails while any memory of its scope has no vector, as it did in"
        " the first server; a request's `strict` goes before.", cfg="memory.search_strict",
    )  # fmt: skip
    memory_embed_queue_type: str = setting(
        "system.memory.embed.sync", "MEMORY_EMBED_QUEUE_TYPE", "Job type of the embedding jobs.",
        cfg="memory.embed_queue_type", pattern=r"^[A-Za-z0-9._-]{3,80}$",
    )  # fmt: skip

    workspace_root: Directory = setting(
        lambda found: found["var_dir"] / "workspace", "WORKSPACE_ROOT",
        "Directory that the file manager shows and handlers work in. Default: `workspace` in VAR_DIR.",
        cfg="handlers.workspace_root",
    )  # fmt: skip
    workspace_file_view_max_bytes: Annotated[int, at_least(1024)] = setting(
        262_144, "WORKSPACE_FILE_VIEW_MAX_BYTES", "Largest file that is shown, in bytes; less than 1024 is 1024.",
        cfg="api.workspace.file_view_max_bytes", le=16_777_216,
    )  # fmt: skip
    workspace_file_write_max_bytes: Annotated[int, at_least(1024)] = setting(
        262_144, "WORKSPACE_FILE_WRITE_MAX_BYTES", "Largest text that is written, in bytes; less than 1024 is 1024.",
        cfg="api.workspace.file_write_max_bytes", le=16_777_216,
    )  # fmt: skip
    workspace_upload_max_bytes: Annotated[int, at_least(1024)] = setting(
        4_194_304, "WORKSPACE_UPLOAD_MAX_BYTES", "Largest file that is uploaded, in bytes; less than 1024 is 1024.",
        cfg="api.workspace.upload_max_bytes",
    )  # fmt: skip
    workspace_search_timeout_ms: int = setting(
        5_000, "WORKSPACE_SEARCH_TIMEOUT_MS", "Longest time one search over the API takes, in milliseconds.",
        cfg="api.workspace.search_timeout_ms", ge=100, le=60_000,
    )  # fmt: skip
    workspace_watch_max: int = setting(
        200, "WORKSPACE_WATCH_MAX", "Directories that a web process watches at once, for however many subscribers.",
        cfg="api.workspace.watch_max", ge=0, le=10_000,
    )  # fmt: skip

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` hands over: it merges the sources itself, to tell every fault of all of them at once."""
        return (init_settings,)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the web server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def reachable_host(self) -> str:
        """Where this machine reaches the web server: loopback where it listens on every address."""
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            return self.host
        if address.is_unspecified:
            return "127.0.0.1" if address.version == 4 else "::1"
        return self.host

    @property
    def own_url(self) -> str:
        """The web server's address on this machine."""
        host = self.reachable_host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def auth_disabled(self) -> bool:
        """Whether auth is switched off; honoured only while no key of any kind exists (contract 1.6)."""
        return self.api_auth_disabled if "api_auth_disabled" in self.model_fields_set else not self.api_auth_required

    @cached_property
    def key_entries(self) -> tuple[ApiKeyEntry, ...]:
        """The configured keys: API_KEYS_JSON, else the file's list, else the legacy API_KEY as an admin."""
        if self.api_keys or self.api_key is None:
            return self.api_keys
        return (ApiKeyEntry(key=self.api_key, name="legacy-api-key"),)

    @cached_property
    def secret_values(self) -> tuple[str, ...]:
        """Every configured secret, for whoever must keep them out of what it writes."""
        fields = [getattr(self, name) for name in type(self).model_fields]
        values = [value for field in fields for value in (field if isinstance(field, tuple) else (field,))]
        values += [entry.key for entry in self.key_entries]
        return tuple(value.get_secret_value() for value in values if isinstance(value, SecretStr))


@cache
def load() -> Config:
    """Read and check the configuration, once a process.

    Raises ConfigError with every problem at once: unreadable or invalid JSON file, unknown keys in it, unreadable
    secret files, values out of bounds, and rules between settings.
    """
    problems: list[str] = []
    path = Path(os.environ.get("RAUSKUCLAW_CONFIG_PATH") or ROOT / "rauskuclaw.json")
    found = [  # the strongest last
        read_json_file(path, Config, problems),
        read_secret_files(Config, problems),
        read_environment(Config),
    ]
    values = {name: value for source in found for name, value in source.items()}
    try:
        config = Config(**values)
    except ValidationError as error:
        problems += describe(error, Config, found)
        faulty = {str(fault["loc"][0]) for fault in error.errors()}
        # The rules between settings are judged too, with the defaults in place of what is faulty.
        config = Config(**{name: value for name, value in values.items() if name not in faulty})
    problems += cross_checks(config)
    if problems:
        raise ConfigError(problems)
    addresses = read_run_env(config.var_dir / "run.env")
    update = {name: SecretStr(url) for name, url in addresses.items() if getattr(config, name) is None}
    return config.model_copy(update=update)


def reload() -> Config:
    """Read the configuration again: for the supervisor, after it has started the servers, and for tests."""
    load.cache_clear()
    return load()
