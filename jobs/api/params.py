"""Query parameters of the job lists: what they mean, for the document and for the code."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from jobs.queries import JobFilter, Position
from rauskuclaw.api.pagination import decode_cursor, encode_cursor, text_param
from rauskuclaw.errors import bad_field

MAX_SEARCH_CHARS = 200
_EPOCH_SEC = re.compile(r"-?\d{1,12}(\.\d{1,6})?")


def parameter(name: str, description: str, type_: OpenApiTypes = OpenApiTypes.STR) -> OpenApiParameter:
    """One of a query, for the document."""
    return OpenApiParameter(name, type_, description=description)


JOB_LIST = [
    parameter("status", "Exact; an unknown one matches nothing."),
    parameter("type", "Exact."),
    parameter("queue", "Exact; 403 when the key may not use it."),
    parameter("tag", "Jobs that carry this tag."),
    parameter("error_code", "Jobs whose last error has this code: UPSTREAM_ERROR, JOB_TIMEOUT, …"),
    parameter("since", "Created at or after: ISO 8601 (UTC unless it says otherwise) or seconds since 1970."),
    parameter("until", "Created before; as `since`."),
    parameter(
        "q",
        f"Searches type, tags and input for this text, and ids that begin with it; case does not matter, at most"
        f" {MAX_SEARCH_CHARS} characters. A page looks at a bounded number of jobs: it may be short, even empty, and"
        " `next_cursor` goes on.",
    ),
    parameter("limit", "1 to 200, default 50.", OpenApiTypes.INT),
    parameter("cursor", "`next_cursor` of the page before."),
]
DEAD_LIST = [parameter for parameter in JOB_LIST if parameter.name not in {"status", "q"}]
TREE_LIMIT = parameter(
    "limit", "Jobs in the tree: 1 to 10,000, default 1,000. What is left out are the deepest.", OpenApiTypes.INT
)
TAIL = parameter("tail", "The newest so many lines: 1 to 2000, default 200.", OpenApiTypes.INT)
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="Any text. The same key and request again give the job that exists; another request, 409.",
)


def idempotency_key(request: Request) -> str | None:
    """The header. `request.headers` would first gather them all."""
    key: str | None = request.META.get("HTTP_IDEMPOTENCY_KEY")
    return key


def job_filter(request: Request, *, status: str | None = None) -> JobFilter:
    """The filters of a list; status: of a list that is of this one alone. Raises VALIDATION_ERROR."""
    text = text_param(request, "q")
    if text and len(text) > MAX_SEARCH_CHARS:
        raise bad_field("q", f"must have at most {MAX_SEARCH_CHARS} characters")
    return JobFilter(
        status=status or text_param(request, "status"),
        type=text_param(request, "type"),
        queue=text_param(request, "queue"),
        tag=text_param(request, "tag"),
        error_code=text_param(request, "error_code"),
        text=None if status else text,
        since=_moment(request, "since"),
        until=_moment(request, "until"),
    )


def position(request: Request) -> Position | None:
    """Where the page begins. Raises VALIDATION_ERROR for a cursor that this API did not give."""
    cursor = text_param(request, "cursor")
    return None if cursor is None else Position(*decode_cursor(cursor, datetime, UUID))


def cursor(place: Position | None) -> str | None:
    """The `next_cursor` of a page."""
    return None if place is None else encode_cursor(place.created_at, place.id)


def _moment(request: Request, name: str) -> datetime | None:
    text = text_param(request, name)
    if text is None:
        return None
    try:
        if _EPOCH_SEC.fullmatch(text):
            return datetime.fromtimestamp(float(text), UTC)
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise bad_field(name, "must be ISO 8601 (with + sent as %2B) or seconds since 1970") from None
