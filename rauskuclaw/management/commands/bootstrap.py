"""`manage.py bootstrap`: migrations, job types, a first API key, an admin user. Safe to repeat."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from access import keys
from access.models import ApiKey
from jobs import job_types
from rauskuclaw import __version__
from rauskuclaw.config import load
from rauskuclaw.models import Bootstrap
from rauskuclaw.stack.prepared import fingerprint

ADVISORY_LOCK = 7_267_001
"""Two bootstraps at once (two web containers of one deployment) take turns."""


class Command(BaseCommand):
    """Migrate, seed, and leave a way in."""

    help = "Migrate the database, seed job types, create a first API key and an admin user where there are none."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Do it. The key and the password go to files under VAR_DIR/secrets that only the owner can read."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [ADVISORY_LOCK])
        try:
            call_command("migrate", verbosity=0, interactive=False)
            job_types.seed()
            folder = load().var_dir / "secrets"
            folder.mkdir(parents=True, exist_ok=True)
            self._first_key(folder / "api_key")
            self._admin_user(folder / "admin_password")
            _note_it()
        finally:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [ADVISORY_LOCK])

    def _first_key(self, path: Path) -> None:
        if load().key_entries or load().auth_disabled or ApiKey.objects.exists():
            return
        new = keys.create(name="first-admin", role="admin", by="system:bootstrap")
        _write_secret(path, new.secret)
        self.stdout.write(f"first API key: {path}")

    def _admin_user(self, path: Path) -> None:
        users = get_user_model().objects
        if users.filter(is_superuser=True).exists():
            return
        password = secrets.token_urlsafe(15)
        users.create_superuser("admin", password=password)
        _write_secret(path, password)
        self.stdout.write(f"admin user: admin, password in {path}")


def _note_it() -> None:
    """Last, so that an interrupted bootstrap is repeated."""
    done = {
        "fingerprint": fingerprint(),
        "migrations": MigrationRecorder.Migration.objects.count(),
        "version": __version__,
        "finished_at": timezone.now(),
    }
    Bootstrap.objects.update_or_create(pk=1, defaults=done)


def _write_secret(path: Path, value: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(value + "\n")
