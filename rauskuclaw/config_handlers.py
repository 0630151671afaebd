"""The settings of the handlers that reach out (contract section 15). `rauskuclaw.config` takes them in.

Network, shell and files are off until an operator says otherwise. Some can be overridden while everything runs:
`access/runtime_tools.py`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from rauskuclaw.config_fields import Csv, HandlerSwitch, setting

ApprovalPolicy = Literal["never", "untrusted", "always"]
"""When a person is asked before a model's call of a tool is made."""


class HandlerSettings(BaseSettings):
    """What handlers may do, and how much of it."""

    deploy_target_allowlist: Csv = setting(
        ("staging",), "DEPLOY_TARGET_ALLOWLIST", "Targets `deploy.run` may plan for (comma-separated).",
        cfg="handlers.deploy.default_allowed_targets", renamed_by="handlers.deploy.target_allowlist_env",
    )  # fmt: skip
    tool_exec_enabled: HandlerSwitch = setting(
        False, "TOOL_EXEC_ENABLED", "`1`: `tool.exec` may run the commands of its allowlist.",
        cfg="handlers.exec.enabled", renamed_by="handlers.exec.enabled_env",
    )  # fmt: skip
    tool_exec_allowlist: Csv = setting(
        (), "TOOL_EXEC_ALLOWLIST", "Commands `tool.exec` may run: absolute paths, or names found in /usr/local/bin,"
        " /usr/bin and /bin.", cfg="handlers.exec.default_allowed_commands", renamed_by="handlers.exec.allowlist_env",
    )  # fmt: skip
    tool_exec_timeout_ms: int = setting(
        10_000, "TOOL_EXEC_TIMEOUT_MS", "Time limit of one command, in milliseconds.",
        cfg="handlers.exec.default_timeout_ms", renamed_by="handlers.exec.timeout_env", ge=100, le=120_000,
    )  # fmt: skip
    data_fetch_enabled: HandlerSwitch = setting(
        False, "DATA_FETCH_ENABLED", "`1`: `data.fetch` may fetch from its allowlist.",
        cfg="handlers.data_fetch.enabled", renamed_by="handlers.data_fetch.enabled_env",
    )  # fmt: skip
    data_fetch_allowlist: Csv = setting(
        (), "DATA_FETCH_ALLOWLIST", "Domains `data.fetch` may fetch from (comma-separated; sub-domains included).",
        cfg="handlers.data_fetch.default_allowed_domains", renamed_by="handlers.data_fetch.allowlist_env",
    )  # fmt: skip
    data_fetch_timeout_ms: int = setting(
        8_000, "DATA_FETCH_TIMEOUT_MS", "Time limit of one fetch, in milliseconds.",
        cfg="handlers.data_fetch.default_timeout_ms", renamed_by="handlers.data_fetch.timeout_env", ge=200, le=120_000,
    )  # fmt: skip
    data_fetch_max_bytes: int = setting(
        65_536, "DATA_FETCH_MAX_BYTES", "Bytes of a body that one fetch keeps.",
        cfg="handlers.data_fetch.default_max_bytes", renamed_by="handlers.data_fetch.max_bytes_env",
        ge=512, le=1_048_576,
    )  # fmt: skip
    data_file_read_enabled: HandlerSwitch = setting(
        False, "DATA_FILE_READ_ENABLED",
        "`1`: `data.file_read`, `tools.file_search` and `tools.find_in_files` may read the workspace.",
        cfg="handlers.data_file_read.enabled", renamed_by="handlers.data_file_read.enabled_env",
    )  # fmt: skip
    data_file_read_max_bytes: int = setting(
        262_144, "DATA_FILE_READ_MAX_BYTES", "Bytes of a file that `data.file_read` gives.",
        cfg="handlers.data_file_read.default_max_bytes", renamed_by="handlers.data_file_read.max_bytes_env",
        ge=512, le=1_048_576,
    )  # fmt: skip
    data_file_write_enabled: HandlerSwitch = setting(
        False, "DATA_FILE_WRITE_ENABLED", "`1`: `data.write_file` may write to the workspace.",
        cfg="handlers.file_write.enabled",
    )  # fmt: skip
    data_file_write_max_bytes: int = setting(
        1_048_576, "DATA_FILE_WRITE_MAX_BYTES", "Largest content that `data.write_file` writes, in bytes.",
        cfg="handlers.file_write.default_max_bytes", ge=512, le=10_485_760,
    )  # fmt: skip
    web_search_enabled: HandlerSwitch = setting(
        False, "WEB_SEARCH_ENABLED", "`1`: `tools.web_search` may ask its provider.",
        cfg="handlers.web_search.enabled", renamed_by="handlers.web_search.enabled_env",
    )  # fmt: skip
    web_search_provider: Literal["duckduckgo", "brave"] = setting(
        "duckduckgo", "WEB_SEARCH_PROVIDER", "Search provider.", cfg="handlers.web_search.default_provider",
        renamed_by="handlers.web_search.provider_env",
    )  # fmt: skip
    web_search_timeout_ms: int = setting(
        8_000, "WEB_SEARCH_TIMEOUT_MS", "Time limit of one search, in milliseconds.",
        cfg="handlers.web_search.default_timeout_ms", renamed_by="handlers.web_search.timeout_env", ge=200, le=120_000,
    )  # fmt: skip
    web_search_max_results: int = setting(
        5, "WEB_SEARCH_MAX_RESULTS", "Results of one search.", cfg="handlers.web_search.default_max_results",
        renamed_by="handlers.web_search.max_results_env", ge=1, le=20,
    )  # fmt: skip
    web_search_base_url: str = setting(
        "https://api.duckduckgo.com", "WEB_SEARCH_BASE_URL", "Address of the DuckDuckGo API.",
        cfg="handlers.web_search.base_url", renamed_by="handlers.web_search.base_url_env", pattern=r"^https?://\S+$",
    )  # fmt: skip
    web_search_brave_api_key: SecretStr | None = setting(
        None, "WEB_SEARCH_BRAVE_API_KEY", "Key of the Brave search API.",
        renamed_by="handlers.web_search.brave_api_key_env",
    )  # fmt: skip
    web_search_brave_endpoint: str = setting(
        "https://api.search.brave.com/res/v1/web/search", "WEB_SEARCH_BRAVE_ENDPOINT", "Address of the Brave API.",
        cfg="handlers.web_search.brave_endpoint", renamed_by="handlers.web_search.brave_endpoint_env",
        pattern=r"^https?://\S+$",
    )  # fmt: skip
    tool_exec_approval: ApprovalPolicy = setting(
        "untrusted", "TOOL_EXEC_APPROVAL",
        "Whether a model's call of `tool.exec` waits for a person's approval: `always`, `never`, or `untrusted`, which"
        " is: once text from outside is in the conversation.",
        cfg="handlers.exec.approval",
    )  # fmt: skip
    data_fetch_approval: ApprovalPolicy = setting(
        "never", "DATA_FETCH_APPROVAL", "The same for `data.fetch`.",
        cfg="handlers.data_fetch.approval",
    )  # fmt: skip
    data_file_read_approval: ApprovalPolicy = setting(
        "never", "DATA_FILE_READ_APPROVAL", "The same for the tools that read the workspace.",
        cfg="handlers.data_file_read.approval",
    )  # fmt: skip
    data_file_write_approval: ApprovalPolicy = setting(
        "untrusted", "DATA_FILE_WRITE_APPROVAL", "The same for `data.write_file`.",
        cfg="handlers.file_write.approval",
    )  # fmt: skip
    web_search_approval: ApprovalPolicy = setting(
        "never", "WEB_SEARCH_APPROVAL", "The same for `tools.web_search`.",
        cfg="handlers.web_search.approval",
    )  # fmt: skip
    workflow_run_approval: ApprovalPolicy = setting(
        "untrusted", "WORKFLOW_RUN_APPROVAL", "The same for `workflow.run`.",
        cfg="handlers.workflow.approval",
    )  # fmt: skip
