"""Rate limits, kept in Redis so that all web processes share them. Without Redis they fail open, and fast."""

from __future__ import annotations

import ipaddress
import math
from typing import TYPE_CHECKING

from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from rauskuclaw.config import load
from rauskuclaw.redis import REDIS_ERRORS, client
from rauskuclaw.wire import KEY_PREFIX

if TYPE_CHECKING:  # DRF's views import this module through the settings
    from rest_framework.views import APIView

WINDOW_SEC = 60

# A token bucket: holds a minute's worth, refills evenly, on Redis' own clock. Returns the seconds to wait, "0" to pass.
_TAKE = """
local rate = tonumber(ARGV[1])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local idle = math.max(0, now - (tonumber(bucket[2]) or now))
local tokens = math.min(rate, (tonumber(bucket[1]) or rate) + idle * rate / 60)
local wait = 0
if tokens >= 1 then tokens = tokens - 1 else wait = (1 - tokens) * 60 / rate end
redis.call('HSET', KEYS[1], 'tokens', string.format('%.9f', tokens), 'at', string.format('%.6f', now))
redis.call('EXPIRE', KEYS[1], 61)
return string.format('%.3f', wait)
"""

_COUNT_UP = """
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return count
"""


class PrincipalRateThrottle(BaseThrottle):
    """At most `API_RATE_LIMIT_PER_MIN` requests a minute for each principal; 0 asks Redis nothing."""

    _wait_sec: float | None = None

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Whether the request may go on. True when Redis is away."""
        limit = load().rate_limit_per_min
        if not limit or (principal := request.user) is None:
            return True
        key = f"{KEY_PREFIX}rate:{getattr(principal, 'source', 'user')}:{getattr(principal, 'name', principal)}"
        try:
            self._wait_sec = float(client().eval(_TAKE, 1, key, str(limit)))
        except REDIS_ERRORS:
            return True
        return self._wait_sec == 0

    def wait(self) -> float | None:
        """Whole seconds until the next token."""
        return math.ceil(self._wait_sec) if self._wait_sec else None


def note_auth_failure(request: HttpRequest | Request) -> None:
    """Count a refused credential against the client's address."""
    if not load().auth_failure_limit_per_min:
        return
    try:
        client().eval(_COUNT_UP, 1, _failures_key(request), str(WINDOW_SEC))
    except REDIS_ERRORS:
        return


def auth_failures_exceeded(request: HttpRequest | Request) -> int | None:
    """Seconds the client must wait before its next credential is looked at; None when it need not."""
    limit = load().auth_failure_limit_per_min
    if not limit:
        return None
    try:
        with client().pipeline(transaction=False) as pipe:
            pipe.get(_failures_key(request))
            pipe.ttl(_failures_key(request))
            count, seconds_left = pipe.execute()
    except REDIS_ERRORS:
        return None
    return max(1, seconds_left) if int(count or 0) >= limit else None


def client_address(request: HttpRequest | Request) -> str:
    """The client's address; an IPv6 one as its /64, since that is what one client holds.

    With TRUST_PROXY, the last entry of X-Forwarded-For: the one our own proxy wrote, the earlier ones are claims.
    """
    seen = str(request.META.get("REMOTE_ADDR", ""))
    if load().trust_proxy:
        seen = request.META.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip() or seen
    try:
        address = ipaddress.ip_address(seen)
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address), 64), strict=False))
    return str(address)


def _failures_key(request: HttpRequest | Request) -> str:
    return f"{KEY_PREFIX}auth-failures:{client_address(request)}"
