"""The shared Redis client and what counts on it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from django.test import RequestFactory

from rauskuclaw import redis as ours
from rauskuclaw.api import throttling
from rauskuclaw.redis import Breaker, RedisDown, client

Configure = Callable[..., Any]


@pytest.fixture(autouse=True)
def fresh_client() -> Iterator[None]:
    ours.forget()
    yield
    ours.forget()


@pytest.fixture
def no_redis(configure: Configure) -> None:
    """A REDIS_URL behind which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        configure(REDIS_URL=f"redis://127.0.0.1:{taken.getsockname()[1]}/0")


@pytest.fixture
def keys() -> Iterator[None]:
    def clear() -> None:
        for key in client().keys("rauskuclaw:rate:*") + client().keys("rauskuclaw:auth-failures:*"):
            client().delete(key)

    clear()
    yield
    ours.forget()
    clear()


def test_an_open_breaker_refuses_all_but_one_probe_a_second() -> None:
    now = [0.0]
    breaker = Breaker(clock=lambda: now[0])

    breaker.trip()
    with pytest.raises(RedisDown):
        breaker.check()
    now[0] = 1.0
    breaker.check()
    with pytest.raises(RedisDown):
        breaker.check()
    breaker.reset()
    breaker.check()


@pytest.mark.usefixtures("no_redis")
def test_after_one_failed_call_the_next_are_not_even_tried() -> None:
    with pytest.raises(redis.ConnectionError) as first:
        client().ping()

    assert not isinstance(first.value, RedisDown)
    with pytest.raises(RedisDown):
        client().ping()
    pipe = client().pipeline()
    pipe.get("a")
    with pytest.raises(RedisDown):
        pipe.execute()


def test_a_server_that_accepts_and_says_nothing_trips_the_breaker(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours, "ANSWER_TIMEOUT_SEC", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        configure(REDIS_URL=f"redis://127.0.0.1:{mute.getsockname()[1]}/0")

        with pytest.raises(redis.TimeoutError):
            client().ping()
        with pytest.raises(RedisDown):
            client().ping()


def test_a_refused_command_is_an_answer_and_trips_nothing() -> None:
    with pytest.raises(redis.ResponseError):
        client().eval("not Lua", 0)

    assert client().ping()


def test_a_forked_process_has_a_client_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    parents = client()
    monkeypatch.setattr(os, "getpid", lambda: 999_999_999)

    assert client() is not parents


def test_without_an_address_the_client_says_what_to_set(configure: Configure, tmp_path: Any) -> None:
    configure(REDIS_URL="", VAR_DIR=tmp_path, RAUSKUCLAW_CONFIG_PATH=tmp_path / "none.json")

    with pytest.raises(RedisDown, match="set REDIS_URL"):
        client()


def allowed(name: str = "ci") -> throttling.PrincipalRateThrottle | None:
    """The throttle that refused, or None."""
    throttle = throttling.PrincipalRateThrottle()
    request: Any = SimpleNamespace(user=SimpleNamespace(source="env", name=name))
    return None if throttle.allow_request(request, SimpleNamespace()) else throttle  # type: ignore[arg-type]


@pytest.mark.usefixtures("keys")
def test_a_principal_has_a_minutes_worth_of_requests_and_then_waits(configure: Configure) -> None:
    configure(API_RATE_LIMIT_PER_MIN=3)

    assert [allowed() for _ in range(3)] == [None] * 3
    refused = allowed()

    assert refused is not None
    assert 1 <= (refused.wait() or 0) <= 20
    assert allowed("another") is None


@pytest.mark.usefixtures("no_redis")
def test_limits_are_open_while_redis_is_away(configure: Configure) -> None:
    configure(API_RATE_LIMIT_PER_MIN=1, AUTH_FAILURE_LIMIT_PER_MIN=1)
    request = RequestFactory().get("/")

    assert [allowed(), allowed()] == [None, None]
    throttling.note_auth_failure(request)
    assert throttling.auth_failures_exceeded(request) is None


def test_no_limit_asks_redis_nothing(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(API_RATE_LIMIT_PER_MIN=0, AUTH_FAILURE_LIMIT_PER_MIN=0)
    monkeypatch.setattr(throttling, "client", lambda: pytest.fail("asked Redis"))
    request = RequestFactory().get("/")

    assert allowed() is None
    throttling.note_auth_failure(request)
    assert throttling.auth_failures_exceeded(request) is None


@pytest.mark.usefixtures("keys")
def test_an_address_that_guesses_keys_must_wait(configure: Configure) -> None:
    configure(AUTH_FAILURE_LIMIT_PER_MIN=2)
    guesser, other = RequestFactory(REMOTE_ADDR="192.0.2.1").get("/"), RequestFactory(REMOTE_ADDR="192.0.2.2").get("/")

    throttling.note_auth_failure(guesser)
    assert throttling.auth_failures_exceeded(guesser) is None
    throttling.note_auth_failure(guesser)

    assert 1 <= (throttling.auth_failures_exceeded(guesser) or 0) <= 60
    assert throttling.auth_failures_exceeded(other) is None


@pytest.mark.parametrize(
    ("trusted", "remote", "forwarded", "address"),
    [
        (0, "192.0.2.1", "203.0.113.9", "192.0.2.1"),
        (1, "192.0.2.1", "203.0.113.9", "203.0.113.9"),
        (1, "192.0.2.1", "1.1.1.1, 203.0.113.9", "203.0.113.9"),
        (1, "192.0.2.1", "", "192.0.2.1"),
        (1, "192.0.2.1", "not an address", "unknown"),
        (0, "2001:db8:1:2:3:4:5:6", "", "2001:db8:1:2::/64"),
        (0, "::ffff:192.0.2.1", "", "192.0.2.1"),
    ],
)
def test_the_address_is_the_nearest_one_we_can_believe(
    configure: Configure, trusted: int, remote: str, forwarded: str, address: str
) -> None:
    configure(TRUST_PROXY=trusted)
    request = RequestFactory(REMOTE_ADDR=remote, HTTP_X_FORWARDED_FOR=forwarded).get("/")

    assert throttling.client_address(request) == address
