"""The admin's pages of keys, users and the audit log."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client

from access.credentials import principal_for_key
from access.models import ApiKey, AuditEntry
from tests.access.conftest import MakeKey, MakeUser

KEYS, LOG, USERS = "/admin/access/apikey/", "/admin/access/auditentry/", "/admin/auth/user/"
FORM = {"name": "bot", "role": "admin", "queue_allowlist": "", "expires_at_0": "", "expires_at_1": ""}


@pytest.fixture
def admin(make_user: MakeUser) -> Client:
    client = Client()
    client.force_login(make_user("root", is_staff=True, is_superuser=True))
    return client


def test_a_new_key_is_shown_once_and_stored_nowhere(admin: Client) -> None:
    page = admin.post(f"{KEYS}add/", {**FORM, "sse": "on"})

    (secret,) = re.findall(r"rk_[a-z2-7]{8}_[\w-]{43}", page.content.decode())
    principal = principal_for_key(secret)
    assert principal is not None
    assert (principal.name, principal.role, principal.queue_allowlist) == ("bot", "admin", None)
    assert secret not in f"{admin.cookies}{Session.objects.get().get_decoded()}"
    assert "no-store" in page.headers["Cache-Control"]


def test_making_a_key_is_recorded_under_the_user_s_name(admin: Client) -> None:
    admin.post(f"{KEYS}add/", FORM)

    assert list(AuditEntry.objects.values_list("actor", "action")) == [("user:root", "key.created")]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"name": "ci"}, "is named"),
        ({"queue_allowlist": "no queue"}, "is no queue name"),
        ({"expires_at_0": "2001-01-01", "expires_at_1": "00:00"}, "future"),
    ],
)
def test_a_fault_is_told_in_the_form(admin: Client, fault: dict[str, Any], told: str) -> None:
    page = admin.post(f"{KEYS}add/", {**FORM, **fault})

    assert told in page.content.decode()
    assert not ApiKey.objects.exists()


def test_selected_keys_are_revoked_and_recorded(admin: Client, make_key: MakeKey) -> None:
    key = make_key().key

    admin.post(KEYS, {"action": "revoke", "_selected_action": [str(key.pk)]})

    assert ApiKey.objects.get().revoked_at
    assert AuditEntry.objects.filter(actor="user:root", action="key.revoked").exists()


def test_pages_show_and_change_nothing(admin: Client, make_key: MakeKey) -> None:
    key = make_key("bot", queue_allowlist=["gpu"]).key
    entry = AuditEntry.objects.get()

    for path in (
        KEYS,
        f"{KEYS}{key.pk}/change/",
        f"{LOG}?action=key.created&object_type=key",
        f"{LOG}{entry.pk}/change/",
        USERS,
    ):
        assert admin.get(path).status_code == 200
    assert admin.post(f"{KEYS}{key.pk}/change/", FORM).status_code == 403
    assert admin.post(f"{KEYS}{key.pk}/delete/", {"post": "yes"}).status_code == 403
    assert admin.post(f"{LOG}{entry.pk}/delete/", {"post": "yes"}).status_code == 403


def test_staff_without_the_permission_cannot_revoke(make_user: MakeUser, make_key: MakeKey) -> None:
    client = Client()
    client.force_login(make_user(is_staff=True))
    key = make_key().key

    client.post(KEYS, {"action": "revoke", "_selected_action": [str(key.pk)]})

    assert ApiKey.objects.get().revoked_at is None


def test_changes_of_users_are_recorded_without_their_passwords(admin: Client) -> None:
    word = "a long enough password 7"
    admin.post(f"{USERS}add/", {"username": "bea", "password1": word, "password2": word, "usable_password": "true"})
    bea = User.objects.get(username="bea")
    admin.post(f"{USERS}{bea.pk}/delete/", {"post": "yes"})

    assert list(AuditEntry.objects.order_by("id").values_list("action", "actor")) == [
        ("user.created", "user:root"),
        ("user.deleted", "user:root"),
    ]
    assert word not in str(list(AuditEntry.objects.values()))
