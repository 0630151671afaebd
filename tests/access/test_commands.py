"""`manage.py apikey` and `manage.py audit`."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from access.credentials import principal_for_key
from access.models import ApiKey, AuditEntry
from tests.access.conftest import MakeKey

pytestmark = pytest.mark.django_db


def manage(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue().strip()


def answer(*arguments: str) -> Any:
    return json.loads(manage(*arguments, "--json"))


def refusal(*arguments: str) -> tuple[int, str, str]:
    """Exit code, error code and message of a command that is refused."""
    out = io.StringIO()
    with pytest.raises(SystemExit) as exit_:
        call_command(*arguments, "--json", stdout=out)
    error = json.loads(out.getvalue())["error"]
    return int(exit_.value.code or 0), error["code"], error["message"]


def test_create_prints_the_key_alone_so_that_a_script_can_take_it() -> None:
    secret = manage("apikey", "create", "bot", "--role", "admin", "--queue", "gpu", "--queue", "cpu", "--no-sse")

    principal = principal_for_key(secret)
    assert principal is not None
    assert (principal.role, principal.queue_allowlist, principal.sse) == ("admin", ("gpu", "cpu"), False)


def test_create_records_the_account_that_ran_it() -> None:
    manage("apikey", "create", "bot")

    assert AuditEntry.objects.get().actor.startswith("cli:")


@pytest.mark.parametrize(("when", "hours"), [("12h", 12), ("30d", 720), ("2w", 336)])
def test_create_takes_a_span_to_expire_in(when: str, hours: int) -> None:
    manage("apikey", "create", "bot", "--expires", when)

    expires_at = ApiKey.objects.get().expires_at
    assert expires_at is not None
    left = expires_at - timezone.now()
    assert hours - 1 < left.total_seconds() / 3600 <= hours


def test_create_takes_a_moment_to_expire_at() -> None:
    assert (
        answer("apikey", "create", "bot", "--expires", "2100-01-01")["key"]["expires_at"] == "2100-01-01T00:00:00.000Z"
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["bot", "--queue", "no queue"], (2, "VALIDATION_ERROR")),
        ([" "], (2, "VALIDATION_ERROR")),
        (["ci"], (1, "CONFLICT")),
    ],
)
def test_create_tells_what_is_wrong(arguments: list[str], told: tuple[int, str]) -> None:
    assert refusal("apikey", "create", *arguments)[:2] == told

    assert not ApiKey.objects.exists()


def test_create_refuses_a_moment_that_is_none() -> None:
    with pytest.raises(CommandError, match="--expires"):
        manage("apikey", "create", "bot", "--expires", "soon")


@pytest.mark.parametrize("named_by", ["name", "prefix", "full_prefix", "id"])
def test_revoke_finds_a_key_by_name_prefix_or_id(make_key: MakeKey, named_by: str) -> None:
    key = make_key("bot").key
    text = {"name": "bot", "prefix": key.prefix, "full_prefix": f"rk_{key.prefix}", "id": str(key.pk)}[named_by]

    assert answer("apikey", "revoke", text)["key"]["revoked_at"]


def test_revoke_of_an_unknown_key_fails() -> None:
    exit_code, code, message = refusal("apikey", "revoke", "nobody")

    assert (exit_code, code) == (1, "NOT_FOUND")
    assert message.startswith("No key is named 'nobody'")


def test_list_shows_live_keys_and_all_of_them_when_asked(make_key: MakeKey) -> None:
    secret = make_key("live").secret
    make_key("old")
    manage("apikey", "revoke", "old")

    assert [key["name"] for key in answer("apikey", "list")["keys"]] == ["live"]
    assert {key["name"] for key in answer("apikey", "list", "--all")["keys"]} == {"live", "old"}
    assert secret not in manage("apikey", "list")


def test_audit_list_shows_the_newest_entries_and_filters(make_key: MakeKey) -> None:
    make_key("one")
    make_key("two")
    manage("apikey", "revoke", "one")

    assert [entry["action"] for entry in answer("audit", "list", "--limit", "2")["entries"]] == [
        "key.revoked",
        "key.created",
    ]
    assert len(answer("audit", "list", "--actor", "test", "--action", "key.created")["entries"]) == 2
    assert "key.revoked" in manage("audit", "list")


def test_audit_verify_tells_the_head_of_a_whole_log(make_key: MakeKey) -> None:
    make_key()

    verdict = answer("audit", "verify")

    assert (verdict["ok"], verdict["entries"]) == (True, 1)
    assert verdict["head"] in manage("audit", "verify", "--known-head", verdict["head"])


def test_audit_verify_exits_1_and_names_the_first_broken_entry(
    make_key: MakeKey, capsys: pytest.CaptureFixture[str]
) -> None:
    make_key()
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("UPDATE access_auditentry SET actor = 'nobody'")
        cursor.execute("SET session_replication_role = DEFAULT")

    with pytest.raises(SystemExit) as exit_:
        call_command("audit", "verify")

    assert exit_.value.code == 1
    assert f"entry {AuditEntry.objects.get().pk}" in capsys.readouterr().out
    assert refusal("audit", "verify")[:2] == (1, "CONFLICT")
