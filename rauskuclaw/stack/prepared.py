"""Whether a database is already as this code's `manage.py bootstrap` would leave it.

Asked by the supervisor without Django, whose imports alone would take a hundred times longer than the answer.
"""

import hashlib
from functools import cache
from pathlib import Path

import psycopg

from rauskuclaw.config import ROOT

CODE = ("access", "chat", "jobs", "memory", "metrics", "providers", "rauskuclaw", "schedules", "workspaces")
_CONNECT_SECONDS = 5

# One row or none. Migrations that somebody took back or applied by hand change their number.
_IS_PREPARED = """
SELECT fingerprint = %(fingerprint)s
    AND migrations = (SELECT count(*) FROM django_migrations)
    AND EXISTS (SELECT FROM auth_user WHERE is_superuser)
    AND (NOT %(needs_key)s OR EXISTS (SELECT FROM access_apikey))
FROM rauskuclaw_bootstrap
"""


@cache
def fingerprint(root: Path = ROOT) -> str:
    """SHA-256 of all that decides what bootstrap does: the code and the versions of what it depends on."""
    digest = hashlib.sha256()
    for path in [*sorted(path for folder in CODE for path in (root / folder).rglob("*.py")), root / "requirements.txt"]:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def is_prepared(database_url: str, *, needs_key: bool) -> bool:
    """Whether bootstrap would change nothing. False whenever that is not certain.

    needs_key: no API key is configured, so that the database must hold one.
    """
    try:
        with psycopg.connect(database_url, connect_timeout=_CONNECT_SECONDS) as connection:
            row = connection.execute(_IS_PREPARED, {"fingerprint": fingerprint(), "needs_key": needs_key}).fetchone()
    except psycopg.Error:
        return False
    return row is not None and row[0] is True
