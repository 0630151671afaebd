"""Fixtures of the network tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from access import runtime_tools
from rauskuclaw import netguard
from tests.net.servers import CA_FILE


@pytest.fixture(autouse=True)
def nothing_overridden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers run here without a database that could hold overrides of their settings."""
    runtime_tools.forget()
    monkeypatch.setattr(runtime_tools, "read", dict)


@pytest.fixture
def trusted_ca(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The tests' authority is one of the system's."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CA_FILE))
    netguard.tls_context.cache_clear()
    yield
    netguard.tls_context.cache_clear()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`names(**{"a.test": "127.0.0.1"})`: what the system's resolver answers, instead of asking the network."""

    def answer(**addresses: str) -> None:
        def resolve(host: str) -> list[str]:
            if host not in addresses:
                raise OSError("no such host")
            return addresses[host].split()

        monkeypatch.setattr(netguard, "system_resolver", resolve)

    return answer
