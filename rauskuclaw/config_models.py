"""The settings of language model providers (contract section 15, and ours). `rauskuclaw.config` takes them in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, SecretStr
from pydantic_settings import BaseSettings

from rauskuclaw.config_fields import Csv, Switch, setting

_URL = r"^https?://[^\s/?#]+[^\s?#]*$"

BaseUrl = Annotated[str, AfterValidator(lambda url: url.rstrip("/"))]
Rounds = Annotated[int, AfterValidator(lambda value: min(6, max(1, value)))]


class ModelSettings(BaseSettings):
    """Who answers, where, and how much it may cost."""

    openai_enabled: Switch = setting(
        False, "OPENAI_ENABLED", "`1`: `ai.chat.generate` may ask the OpenAI-compatible service.",
        cfg="providers.openai.enabled",
    )  # fmt: skip
    openai_api_key: SecretStr | None = setting(
        None, "OPENAI_API_KEY", "Its key; or `secret:<name>` or `enc:…` (docs/operations.md#secrets), or"
        " `sec://<alias>` for one that only the Holvi proxy knows.",
    )  # fmt: skip
    openai_model: str = setting(
        "gpt-4.1-mini", "OPENAI_MODEL", "Its model.", cfg="providers.openai.model", min_length=1
    )
    openai_base_url: BaseUrl = setting(
        "https://api.openai.com", "OPENAI_BASE_URL", "Its address.", cfg="providers.openai.base_url", pattern=_URL
    )
    openai_chat_completions_path: str = setting(
        "/v1/chat/completions", "OPENAI_CHAT_COMPLETIONS_PATH", "Path of its chat completions, or a whole URL.",
        cfg="providers.openai.chat_completions_path", pattern=r"^(/|https?://)\S+$",
    )  # fmt: skip
    openai_timeout_ms: int = setting(
        30_000, "OPENAI_TIMEOUT_MS", "Longest silence of it, in milliseconds; a stream that flows may last as long as"
        " the job.", cfg="providers.openai.timeout_ms", ge=100, le=3_600_000,
    )  # fmt: skip
    openai_secret_alias: str = setting(
        "", "OPENAI_SECRET_ALIAS", "Alias of its key at the Holvi proxy, through which all requests then go."
    )
    holvi_base_url: BaseUrl = setting(
        "http://localhost:8099", "HOLVI_BASE_URL", "Address of the Holvi secret proxy.", pattern=_URL
    )
    holvi_proxy_token: SecretStr | None = setting(None, "HOLVI_PROXY_TOKEN", "What that proxy lets us in with.")

    openai_agents_md_path: str = setting(
        "", "OPENAI_AGENTS_MD_PATH", "File of the workspace that prompts hold instead of AGENTS.md."
    )
    openai_identity_md_path: str = setting(
        "", "OPENAI_IDENTITY_MD_PATH", "File of the workspace that prompts hold instead of IDENTITY.md."
    )
    openai_soul_md_path: str = setting(
        "", "OPENAI_SOUL_MD_PATH", "File of the workspace that prompts hold instead of SOUL.md."
    )
    openai_user_md_path: str = setting(
        "", "OPENAI_USER_MD_PATH", "File of the workspace that prompts hold instead of USER.md."
    )
    openai_memory_md_path: str = setting(
        "",
        "OPENAI_MEMORY_MD_PATH",
        "File of the workspace that prompts hold instead of rauskuAssets/MEMORY.md, else MEMORY.md.",
    )
    openai_tools_readme_path: str = setting(
        "", "OPENAI_TOOLS_README_PATH", "File of the workspace that prompts hold instead of tools/README.md."
    )
    openai_workflows_yaml_path: str = setting(
        "", "OPENAI_WORKFLOWS_YAML_PATH", "File of the workspace that prompts hold instead of workflows/workflows.yaml."
    )
    openai_workflow_tool_md_path: str = setting(
        "",
        "OPENAI_WORKFLOW_TOOL_MD_PATH",
        "File of the workspace that prompts hold instead of tools/workflow.run/TOOL.md.",
    )
    repo_context_max_bytes: int = setting(
        65_536, "REPO_CONTEXT_MAX_BYTES", "What a prompt holds of each of these files at most.", ge=1024, le=1_048_576
    )

    anthropic_enabled: Switch = setting(
        False, "ANTHROPIC_ENABLED", "`1`: `anthropic.chat.generate` may ask Anthropic.",
        cfg="providers.anthropic.enabled",
    )  # fmt: skip
    anthropic_api_key: SecretStr | None = setting(
        None, "ANTHROPIC_API_KEY", "Its key; or `secret:<name>`, `enc:…` or `sec://<alias>`."
    )
    anthropic_model: str = setting("", "ANTHROPIC_MODEL", "Its model.", cfg="providers.anthropic.model")
    anthropic_base_url: BaseUrl = setting(
        "https://api.anthropic.com", "ANTHROPIC_BASE_URL", "Its address.", cfg="providers.anthropic.base_url",
        pattern=_URL,
    )  # fmt: skip
    anthropic_timeout_ms: int = setting(
        60_000, "ANTHROPIC_TIMEOUT_MS", "Longest silence of it, in milliseconds.",
        cfg="providers.anthropic.timeout_ms", ge=100, le=3_600_000,
    )  # fmt: skip

    ollama_chat_enabled: Switch = setting(
        False, "OLLAMA_CHAT_ENABLED", "`1`: `ollama.chat.generate` may ask the Ollama at OLLAMA_BASE_URL.",
        cfg="providers.ollama.enabled",
    )  # fmt: skip
    ollama_chat_model: str = setting("", "OLLAMA_CHAT_MODEL", "Its model.", cfg="providers.ollama.model")
    ollama_chat_timeout_ms: int = setting(
        120_000, "OLLAMA_CHAT_TIMEOUT_MS", "Longest silence of it, in milliseconds: it may have to load the model.",
        cfg="providers.ollama.timeout_ms", ge=100, le=3_600_000,
    )  # fmt: skip

    codex_oss_enabled: Switch = setting(
        False, "CODEX_OSS_ENABLED", "`1`: `codex.chat.generate` may run the Codex command-line program.",
        cfg="providers.codex_oss.enabled",
    )  # fmt: skip
    codex_oss_model: str = setting("", "CODEX_OSS_MODEL", "Its model.", cfg="providers.codex_oss.model")
    codex_exec_mode: Literal["online", "oss"] = setting(
        "online", "CODEX_EXEC_MODE", "`oss`: a model on this machine.", cfg="providers.codex_oss.exec_mode"
    )
    codex_oss_local_provider: Literal["ollama", "lmstudio"] = setting(
        "ollama", "CODEX_OSS_LOCAL_PROVIDER", "Who serves that.", cfg="providers.codex_oss.local_provider"
    )
    codex_oss_timeout_ms: int = setting(
        60_000, "CODEX_OSS_TIMEOUT_MS", "Time limit of one run of it, in milliseconds.",
        cfg="providers.codex_oss.timeout_ms", ge=100, le=3_600_000,
    )  # fmt: skip
    codex_oss_transient_retries: int = setting(
        4, "CODEX_OSS_TRANSIENT_RETRIES", "Runs after one whose connection failed; 0 counts as 4.",
        cfg="providers.codex_oss.transient_retries", ge=0, le=20,
    )  # fmt: skip
    codex_oss_transient_backoff_ms: int = setting(
        750, "CODEX_OSS_TRANSIENT_BACKOFF_MS", "Wait before the first of these, in milliseconds; doubled each time.",
        cfg="providers.codex_oss.transient_backoff_ms", ge=0, le=60_000,
    )  # fmt: skip
    codex_oss_workdir: Path | None = setting(
        None, "CODEX_OSS_WORKDIR", "Directory it works in. Unset: WORKSPACE_ROOT.",
        cfg="providers.codex_oss.working_directory",
    )  # fmt: skip
    codex_cli_path: str = setting(
        "codex", "CODEX_CLI_PATH", "The program.", cfg="providers.codex_oss.cli_path", min_length=1
    )
    codex_home: Path | None = setting(
        None, "CODEX_HOME", "Its home, with its login. Unset: `.codex-home` in the directory it works in.",
        cfg="providers.codex_oss.home",
    )  # fmt: skip
    codex_run_uid: int = setting(
        1000, "CODEX_RUN_UID", "User id it gets where the worker is root; 0: it stays root.", ge=0
    )
    codex_run_gid: int = setting(1000, "CODEX_RUN_GID", "Group id it gets there.", ge=0)

    model_max_output_tokens: int = setting(
        4096, "MODEL_MAX_OUTPUT_TOKENS", "Longest answer, in tokens, where a budget applies and the job sets none.",
        cfg="providers.max_output_tokens", ge=1, le=1_000_000,
    )  # fmt: skip
    agent_approval_timeout_sec: int = setting(
        86_400, "AGENT_APPROVAL_TIMEOUT_SEC",
        "How long a call of a tool waits for a person's approval, in seconds; then it is not made.",
        cfg="worker.agent_tool.approval_timeout_sec", ge=1, le=2_592_000,
    )  # fmt: skip
    agent_tool_max_rounds: Rounds = setting(
        3, "AGENT_TOOL_MAX_ROUNDS", "Rounds of tool calls in one chat job; clamped to 1..6.",
        cfg="worker.agent_tool.max_rounds",
    )  # fmt: skip

    mcp_client_enabled: Switch = setting(
        False, "MCP_CLIENT_ENABLED", "`1`: the MCP servers that an operator registered may be asked.",
        cfg="mcp_client.enabled",
    )  # fmt: skip
    mcp_private_hosts: Csv = setting(
        (), "MCP_PRIVATE_HOSTS", "Hosts of MCP servers that may have a loopback or private address, and be spoken to"
        " without TLS (comma-separated).", cfg="mcp_client.private_hosts",
    )  # fmt: skip
    mcp_stdio_allowlist: Csv = setting(
        (), "MCP_STDIO_ALLOWLIST", "Commands that MCP servers may be: absolute paths, or names found in /usr/local/bin,"
        " /usr/bin and /bin. Arguments are the operator's: a command that runs others, such as npx, runs anything.",
        cfg="mcp_client.stdio_allowlist",
    )  # fmt: skip
