"""`data.fetch`: GET one https URL of an allowlisted domain (contract 6.4)."""

from __future__ import annotations

import time
from typing import Any

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, StrictStr, field_validator

from access import runtime_tools
from jobs.handlers.base import AsyncHandler, AsyncJobContext, AttemptFailed, Needs
from jobs.handlers.fields import ObjectInput, WholeNumber
from jobs.handlers.upstream import failing_as
from jobs.storable import NotStorable, dumps
from rauskuclaw import errors
from rauskuclaw.netguard import (
    BlockedUrl,
    ParsedUrl,
    host_allowed,
    listed_hosts,
    parse_url,
)
from rauskuclaw.netguard_async import guarded_client, open_url, read_capped

# What web pages declare. Other codecs of Python's are slow, or are not text at all.
_CHARSETS = {
    "utf-8", "us-ascii", "iso-8859-1", "iso-8859-2", "iso-8859-15", "windows-1250", "windows-1251", "windows-1252",
    "utf-16", "utf-16le", "utf-16be", "koi8-r", "gbk", "gb2312", "gb18030", "big5", "euc-jp", "euc-kr", "shift_jis",
}  # fmt: skip


class DataFetchInput(ObjectInput):
    """What to fetch."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"url": "https://example.com/data.json", "timeout_ms": 5000, "max_bytes": 4096}]
        }
    )
    required = ("data.fetch", "url")

    url: StrictStr = Field(max_length=4000, description="Absolute https URL on an allowlisted domain.")
    timeout_ms: WholeNumber | None = Field(
        None, ge=200, le=120_000, description="Time limit in milliseconds; DATA_FETCH_TIMEOUT_MS where absent."
    )
    max_bytes: WholeNumber | None = Field(
        None, ge=512, le=1_048_576, description="Bytes of the body to keep; DATA_FETCH_MAX_BYTES where absent."
    )

    @field_validator("url")
    @classmethod
    def _https(cls, url: str) -> str:
        try:
            parsed = parse_url(url := url.strip())
        except BlockedUrl as blocked:
            raise ValueError(f"url must use https and be absolute: {blocked.reason}") from None
        if parsed.url.scheme != "https":
            raise ValueError("url must use https")
        return url


class DataFetchOutput(BaseModel):
    """The final answer. `ok`: its status is 2xx; any status is a successful job."""

    ok: bool
    status: int
    url: str = Field(description="The URL that answered, after redirects.")
    content_type: str | None
    body_text: str
    body_json: Any = Field(None, description="The parsed body where it is complete application/json, else null.")
    truncated: bool
    bytes_read: int
    duration_ms: int


class DataFetch(AsyncHandler[DataFetchInput, DataFetchOutput]):
    """Fetches through the guard: at most 5 redirects, each https and allowlisted; the body is capped as it comes."""

    id = "builtin:data.fetch"
    Input = DataFetchInput
    Output = DataFetchOutput
    needs = Needs(network=True)

    async def arun(self, ctx: AsyncJobContext[DataFetchInput]) -> DataFetchOutput:
        """Raises AttemptFailed: HANDLER_DISABLED, POLICY_DENIED (for good), UPSTREAM_ERROR."""
        config = await runtime_tools.aeffective()
        if not config.data_fetch_enabled:
            raise AttemptFailed(errors.HANDLER_DISABLED, "DATA_FETCH_ENABLED=1 required for data.fetch")
        if not config.data_fetch_allowlist:
            raise AttemptFailed(errors.POLICY_DENIED, "data.fetch may fetch from no domain: set DATA_FETCH_ALLOWLIST")
        timeout_ms = ctx.input.timeout_ms or config.data_fetch_timeout_ms
        max_bytes = ctx.input.max_bytes or config.data_fetch_max_bytes

        def permit(target: ParsedUrl) -> None:
            if target.url.scheme != "https":
                raise BlockedUrl(f"the URL of {target.host} must use https")
            if not host_allowed(target.host, config.data_fetch_allowlist):
                raise BlockedUrl(f"the domain {target.host} is not in DATA_FETCH_ALLOWLIST")

        host = parse_url(ctx.input.url).host
        ctx.log("Fetching allowlisted URL", host=host, timeout_ms=timeout_ms, max_bytes=max_bytes)
        private_hosts = listed_hosts(config.data_fetch_allowlist)
        started = time.monotonic()
        with failing_as("data.fetch", f"from {host}", timeout_ms=timeout_ms):
            async with (
                guarded_client(timeout_sec=timeout_ms / 1000, private_hosts=private_hosts) as client,
                open_url(client, ctx.input.url, permit=permit, headers={"accept": "*/*"}) as response,
            ):
                body, truncated = await read_capped(response, max_bytes=max_bytes)
        return DataFetchOutput(
            ok=response.is_success,
            status=response.status_code,
            url=str(response.url),
            content_type=response.headers.get("content-type"),
            body_text=_text(body, response.charset_encoding),
            body_json=None if truncated else _json(body, response.headers.get("content-type", "")),
            truncated=truncated,
            bytes_read=len(body),
            duration_ms=round((time.monotonic() - started) * 1000),
        )


def _text(body: bytes, charset: str | None) -> str:
    name = (charset or "").strip().lower()
    return body.decode(name if name in _CHARSETS else "utf-8", "replace")


def _json(body: bytes, content_type: str) -> Any:
    """The value, or None where it is not JSON that a job's result can hold (no infinities, at most 200 levels deep)."""
    if content_type.split(";", maxsplit=1)[0].strip().lower() != "application/json":
        return None
    try:
        value = pydantic_core.from_json(body, allow_inf_nan=False)
        dumps(value)
    except (ValueError, NotStorable):
        return None
    return value
