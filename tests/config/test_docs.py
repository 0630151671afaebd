"""The generated pages agree with the code."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from rauskuclaw import docs
from rauskuclaw.config import Config
from rauskuclaw.errors import REGISTRY


def test_the_committed_pages_are_in_step() -> None:
    call_command("docs", check=True)


def test_a_stale_page_fails_the_check_and_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("rauskuclaw.management.commands.docs.ROOT", tmp_path)
    monkeypatch.setattr("rauskuclaw.management.commands.docs.pages", lambda: {tmp_path / "errors.md": "new"})
    (tmp_path / "errors.md").write_text("old", "utf-8")

    with pytest.raises(CommandError, match=r"errors\.md\. Run `manage\.py docs`"):
        call_command("docs", check=True)

    call_command("docs")
    assert (tmp_path / "errors.md").read_text("utf-8") == "new"


def test_every_setting_is_documented_in_both_pages() -> None:
    names = [str(field.validation_alias) for field in Config.model_fields.values()]

    assert [name for name in names if f"| `{name}` |" not in docs.configuration()] == []
    assert [name for name in names if f"\n#{name}=" not in docs.env_example()] == []


def test_every_code_is_documented() -> None:
    assert [name for name in REGISTRY if f"| `{name}` |" not in docs.errors()] == []
