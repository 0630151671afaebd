"""Browsers that are signed in to the admin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client


class Admin(Client):
    """`admin.page(path)` is the HTML of a page that must be there; `admin.act(...)` runs an action on a list."""

    def page(self, path: str, **options: Any) -> str:
        """GET, 200."""
        response = self.get(f"/admin/{path}", **options)
        assert response.status_code == 200, response.status_code
        return response.content.decode()

    def act(self, path: str, action: str, *keys: object) -> str:
        """The page after the action, with its messages."""
        data = {"action": action, "_selected_action": [str(key) for key in keys]}
        return self.post(f"/admin/{path}", data, follow=True).content.decode()


SignIn = Callable[..., Admin]


@pytest.fixture
def admin(db: None) -> Admin:
    """A superuser's browser."""
    client = Admin()
    client.force_login(User.objects.create(username="root", is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def sign_in(db: None) -> SignIn:
    """The browser of a staff user with just these permissions: `sign_in("view_job")`."""

    def make(*codenames: str) -> Admin:
        user = User.objects.create(username="anna", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client = Admin()
        client.force_login(user)
        return client

    return make
