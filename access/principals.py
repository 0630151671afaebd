"""Who is calling, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rest_framework.request import Request

from rauskuclaw.errors import FORBIDDEN, UNAUTHORIZED, Problem

RoleName = Literal["admin", "read"]
Source = Literal["env", "db", "session", "user", "token", "disabled"]


@dataclass(frozen=True)
class Principal:
    """An authenticated caller. API requests carry it instead of a Django user; hence `is_authenticated` and `pk`.

    queue_allowlist: the only queues the caller may see and use; None is every queue.
    source: how the caller proved who they are: a configured key (env), a stored key (db), a session opened with a key
    (session) or by a Django user (user), a stream token (token), or not at all (disabled).
    reference: names the credential behind the principal without revealing it (`access/credentials.py`).
    """

    name: str
    role: RoleName
    sse: bool = True
    queue_allowlist: tuple[str, ...] | None = None
    source: Source = "env"
    reference: str = field(default="", repr=False)

    def __str__(self) -> str:
        return self.name

    @property
    def is_authenticated(self) -> bool:
        """Always True: a Principal only exists for an accepted credential."""
        return True

    @property
    def pk(self) -> str:
        """One value for each credential, whatever way it came in; what rate limits count by."""
        return self.reference or self.actor

    @property
    def can_write(self) -> bool:
        """Whether the caller may change things, inside the queue allowlist."""
        return self.role == "admin"

    @property
    def actor(self) -> str:
        """What the audit log and `Job.created_by` show: `key:ci`, `user:anna` or `auth-disabled`."""
        if self.source == "disabled" or self.reference == "disabled":
            return self.name
        is_user = self.source == "user" or self.reference.startswith("user:")
        return f"user:{self.name}" if is_user else f"key:{self.name}"

    def allows_queue(self, queue: str) -> bool:
        """Whether the caller may see and use `queue`."""
        return self.queue_allowlist is None or queue in self.queue_allowlist

    def require_queue(self, queue: str) -> None:
        """Raise FORBIDDEN, with the queues that are allowed, unless the caller may use `queue`."""
        if self.queue_allowlist is not None and queue not in self.queue_allowlist:
            allowed = list(self.queue_allowlist)
            raise Problem(
                FORBIDDEN,
                f"This key may not use queue {queue!r}; it may use: {', '.join(allowed)}.",
                {"allowed_queues": allowed},
            )


def principal_of(request: Request) -> Principal:
    """The caller of an API request. Raises UNAUTHORIZED where authentication did not run or found nobody."""
    principal = principal_or_none(request)
    if principal is None:
        raise Problem(UNAUTHORIZED, "Send a valid API key.")
    return principal


def principal_or_none(request: Request) -> Principal | None:
    """The caller of an API request, None where authentication did not run or found nobody."""
    caller: object = request.user
    return caller if isinstance(caller, Principal) else None
