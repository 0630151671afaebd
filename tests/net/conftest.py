"""Fixtures of the network tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from rauskuclaw import netguard
from tests.net.servers import CA_FILE


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
