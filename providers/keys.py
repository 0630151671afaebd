"""A provider's key, from its setting: a value, a stored or a sealed secret, or an alias at the Holvi proxy."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import SecretStr

from access import secrets
from access.secrets import SecretUnavailable
from providers.faults import Fault
from rauskuclaw import errors

ALIAS = "sec://"


@dataclass(frozen=True)
class ProviderKey:
    """Either of the two."""

    value: str = ""
    alias: str = ""
    """What the key is called at the Holvi proxy; it is never seen here."""

    def __repr__(self) -> str:
        return f"ProviderKey(alias={self.alias!r})"


def provider_key(setting: SecretStr | None, *, name: str, alias: str = "") -> ProviderKey:
    """Open what a setting refers to. name: the setting's. alias: from a setting of its own; it wins.

    Reads the database for `secret:<name>`. Raises Fault PROVIDER_CONFIG.
    """
    text = setting.get_secret_value().strip() if setting else ""
    if text.startswith(ALIAS):
        alias = alias or text.removeprefix(ALIAS).strip("/")
    if alias:
        return ProviderKey(alias=alias)
    try:
        value = secrets.resolve(text, purpose=name)
    except SecretUnavailable as reason:
        raise Fault(errors.PROVIDER_CONFIG, f"{name} cannot be opened: {reason}") from None
    if not value:
        raise Fault(errors.PROVIDER_CONFIG, f"no key: set {name}, to a key or to a reference such as secret:<name>")
    return ProviderKey(value=value)
