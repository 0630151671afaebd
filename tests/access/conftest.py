"""A standing world: configured keys of three kinds, stored keys on demand, and a browser that keeps cookies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from access import keys
from access.credentials import forget_stored_keys
from rauskuclaw import config
from tests.access.browser import Browser
from tests.apiclient import KEYS

PASSWORD = "correct horse battery staple"

MakeKey = Callable[..., keys.NewKey]
Revoke = Callable[[keys.NewKey], None]
MakeUser = Callable[..., User]
Configure = Callable[..., config.Config]


@pytest.fixture(autouse=True)
def configured(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    """The three keys of `tests.apiclient`, and nothing else from the environment."""
    for name in ("API_KEY", "API_AUTH_DISABLED", "HOST"):
        monkeypatch.delenv(name, raising=False)
    configure(API_KEYS_JSON=KEYS, AUTH_FAILURE_LIMIT_PER_MIN=0)
    forget_stored_keys()


@pytest.fixture
def keyless(configure: Configure) -> Configure:
    """No key in the configuration; called with names, sets more of it."""
    configure(API_KEYS_JSON="")
    return configure


@pytest.fixture
def make_key(db: None) -> MakeKey:
    """A stored key; an admin's by default."""

    def make(name: str = "deploy-bot", role: str = "admin", **rights: Any) -> keys.NewKey:
        return keys.create(name=name, role=role, by="test", **rights)

    return make


@pytest.fixture
def revoke(django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks) -> Revoke:
    """Revokes a key, with all that a commit sets off."""

    def run(made: keys.NewKey) -> None:
        with django_capture_on_commit_callbacks(execute=True):
            keys.revoke(made.key.pk, by="test")

    return run


@pytest.fixture
def browser(db: None) -> Browser:
    """A browser without cookies."""
    return Browser()


@pytest.fixture
def make_user(db: None, settings: Settings) -> MakeUser:
    """A person with a password, hashed fast."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

    def make(username: str = "anna", **fields: Any) -> User:
        return User.objects.create_user(username, password=PASSWORD, **fields)

    return make
