"""What an operator sends, checked."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from jobs import bodies
from jobs.bodies import Whole
from providers.mcp import secrets
from providers.mcp.naming import SERVER_NAME
from rauskuclaw.config import load
from rauskuclaw.logs import names_a_secret
from rauskuclaw.netguard import BlockedUrl, check_url, host_allowed, listed_hosts

ConnectSeconds = Annotated[Whole, Field(ge=1, le=120)]
CallSeconds = Annotated[Whole, Field(ge=1, le=3600)]
Policy = Literal["always", "untrusted", "never"]
Values = dict[str, str | None]
Argument = Annotated[str, StringConstraints(max_length=4000)]


def check_endpoint(url: str) -> str:
    """The URL of a server's endpoint. Raises ValueError."""
    private = listed_hosts(load().mcp_private_hosts)
    try:
        parsed = check_url(url, private_hosts=private)
    except BlockedUrl as blocked:
        raise ValueError(f"{blocked.reason} (MCP_PRIVATE_HOSTS lists exceptions)") from None
    if any(name.lower() == "key" or names_a_secret(name) for name in parsed.url.params):
        raise ValueError("send keys as headers: they are sealed, and URLs are shown")
    if parsed.url.scheme != "https" and not host_allowed(parsed.host, private):
        raise ValueError("use https, or list the host in MCP_PRIVATE_HOSTS")
    return url


class _Settings(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    url: Annotated[str, StringConstraints(max_length=2000)] | None = None
    headers: Values | None = None
    command: Annotated[str, StringConstraints(max_length=1000)] | None = None
    args: Annotated[list[Argument], Field(max_length=100)] | None = None
    env: Values | None = None
    enabled: bool | None = None
    approval: Policy | None = None
    connect_timeout_sec: ConnectSeconds | None = None
    call_timeout_sec: CallSeconds | None = None

    @field_validator("url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        return check_endpoint(value.strip()) if value else value

    @field_validator("args")
    @classmethod
    def _args(cls, value: list[str] | None) -> list[str] | None:
        if any("\0" in item for item in value or ()):
            raise ValueError("arguments hold no NUL")
        return value

    def given(self) -> dict[str, Any]:
        """The fields that were sent, without nulls."""
        return {name: value for name in self.model_fields_set if (value := getattr(self, name)) is not None}

    def check_secrets(self) -> None:
        """Raises VALIDATION_ERROR."""
        faults = secrets.faults_of("headers", self.headers or {}) + secrets.faults_of("env", self.env or {})
        if faults:
            raise bodies.refused([(path, f"{path}: {message}") for path, message in faults])


class NewServer(_Settings):
    """A server to register."""

    name: str
    transport: Literal["http", "stdio"]

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not SERVER_NAME.fullmatch(value):
            raise ValueError("name must be 1 to 32 of a-z 0-9 -, a letter or digit first")
        return value


class ServerChange(_Settings):
    """What of a server is to change. headers and env: those named; null takes one away."""


class ToolChange(BaseModel):
    """What an operator decides about a tool."""

    model_config = ConfigDict(strict=True, extra="forbid")

    accept: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    """The `definition_hash` that was looked at."""
    enabled: bool | None = None
    approval: Literal["", "always", "untrusted", "never"] | None = None
    """"": as the server's."""
