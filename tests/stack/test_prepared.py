"""When a start may leave out migrations and seeds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.db.models import F

from access.models import ApiKey
from rauskuclaw.config import Config
from rauskuclaw.models import Bootstrap
from rauskuclaw.stack.prepared import CODE, fingerprint, is_prepared

Configure = Callable[..., Config]


def address() -> str:
    """The database of this test."""
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}").geturl()


@pytest.fixture
def bootstrapped(transactional_db: None, configure: Configure, tmp_path: Path) -> None:
    """A database as `manage.py bootstrap` leaves it, with a key and an admin user."""
    configure(API_KEY="", VAR_DIR=tmp_path)
    call_command("bootstrap")


def test_what_bootstrap_left_needs_no_second_one(bootstrapped: None) -> None:
    assert is_prepared(address(), needs_key=True)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda: Bootstrap.objects.update(fingerprint="of other code"), id="other code did it"),
        pytest.param(lambda: Bootstrap.objects.update(migrations=F("migrations") + 1), id="a migration was taken back"),
        pytest.param(lambda: Bootstrap.objects.all().delete(), id="it did not end"),
        pytest.param(lambda: User.objects.all().delete(), id="the admin user is gone"),
        pytest.param(lambda: ApiKey.objects.all().delete(), id="the key is gone"),
    ],
)
def test_anything_else_needs_one(bootstrapped: None, spoil: Callable[[], object]) -> None:
    spoil()

    assert not is_prepared(address(), needs_key=True)


def test_a_configured_key_stands_in_for_one_in_the_database(bootstrapped: None) -> None:
    ApiKey.objects.all().delete()

    assert is_prepared(address(), needs_key=False)


def test_an_empty_database_and_none_at_all_need_one() -> None:
    empty = urlsplit(os.environ["DATABASE_URL"])._replace(path="/template1").geturl()

    assert not is_prepared(empty, needs_key=False)
    assert not is_prepared("postgresql://127.0.0.1:1/none", needs_key=False)


def test_the_fingerprint_follows_the_code_and_the_locked_versions(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("django==5.2\n")
    folder = tmp_path / CODE[0] / "migrations"
    folder.mkdir(parents=True)
    found = [fingerprint(tmp_path)]

    def changed() -> bool:
        fingerprint.cache_clear()
        found.append(fingerprint(tmp_path))
        return found[-1] not in found[:-1]

    (folder / "0001_initial.py").write_text("one")
    assert changed()
    (folder / "0001_initial.py").write_text("two")
    assert changed()
    (folder / "0001_initial.py").rename(folder / "0002_other.py")
    assert changed()
    (tmp_path / "requirements.txt").write_text("django==5.3\n")
    assert changed()


def test_every_package_of_the_project_counts() -> None:
    root = Path(__file__).resolve().parents[2]

    assert {path.parent.name for path in root.glob("*/__init__.py")} - {"tests"} == set(CODE)
