"""Files of the workspace that go before a conversation (contract 7.2, 2.11)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from providers.repo_context import HEAD, SECTIONS
from tests.apiclient import READER, Api
from tests.modelserver import ModelServer
from tests.providers.conftest import CLAUDE, Chat


@pytest.fixture
def root(tmp_path: Path, configure: Callable[..., Any]) -> Path:
    """A workspace with AGENTS.md, a tools/README.md and a workflow."""
    root = tmp_path / "work"
    for name, text in {
        "AGENTS.md": "Be careful.\n", "tools/README.md": "Tools here.", "MEMORY.md": "We use tabs.",
        "workflows/workflows.yaml": "workflows: {}", "tools/workflow.run/TOOL.md": "How to run one.", "SOUL.md": " \n",
    }.items():  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    configure(WORKSPACE_ROOT=root)
    return root


def told(models: ModelServer) -> list[str]:
    """The headings of the system message in front."""
    first = models.calls[-1].body["messages"][0]
    return [line[3:] for line in str(first["content"]).splitlines() if line.startswith("## ")]


def test_files_that_exist_go_before_the_conversation(asks: ModelServer, root: Path, chat: Chat) -> None:
    asks.answer("Fine.")
    assert chat(prompt="Hello", system="Answer briefly.").status == "succeeded"

    system, own, user = asks.calls[0].body["messages"]
    assert system["role"] == "system"
    assert system["content"].startswith(f"{HEAD}\n\n## AGENTS.md\n\nBe careful.\n\n## tools/README.md")
    assert told(asks) == ["AGENTS.md", "tools/README.md", "MEMORY.md", "workflows/workflows.yaml"]
    assert (own["content"], user["content"]) == ("Answer briefly.", "Hello")


def test_how_to_run_workflows_is_told_where_they_are_spoken_of(asks: ModelServer, root: Path, chat: Chat) -> None:
    asks.answer("Fine.")
    chat(messages=[{"role": "user", "content": "Which Workflows are there?"}])

    assert told(asks)[-1] == "tools/workflow.run/TOOL.md"


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"skip_repo_context": True}, []),
        ({"repo_context": {section.key: False for section in SECTIONS}}, []),
        ({"repo_context": {"agents": False, "memory_md": False, "unknown": False}},
         ["tools/README.md", "workflows/workflows.yaml"]),
    ],
)  # fmt: skip
def test_each_file_can_be_left_out(
    asks: ModelServer, root: Path, chat: Chat, given: dict[str, Any], left: list[str]
) -> None:
    asks.answer("Fine.")
    chat(prompt="Hello", **given)

    assert told(asks) == left
    assert len(asks.calls[0].body["messages"]) == 1 + bool(left)


def test_other_providers_are_told_too(asks: ModelServer, root: Path, chat: Chat) -> None:
    asks.answer("Fine.")
    chat(CLAUDE, prompt="Hello")

    assert "Be careful." in str(asks.calls[0].body["system"])


def test_settings_name_other_files_and_bound_them(
    asks: ModelServer, root: Path, chat: Chat, configure: Callable[..., Any]
) -> None:
    (root / "docs").mkdir()
    (root / "docs" / "agents.md").write_text("x" * 5000)
    configure(OPENAI_AGENTS_MD_PATH="docs/agents.md", REPO_CONTEXT_MAX_BYTES=1024)
    asks.answer("Fine.")
    chat(prompt="Hello")

    text = asks.calls[0].body["messages"][0]["content"]
    assert "## docs/agents.md" in text
    assert (text.count("x" * 1024), "x" * 1025 in text, "(The file goes on.)" in text) == (1, False, True)


def test_nothing_outside_of_the_workspace_is_told(asks: ModelServer, root: Path, chat: Chat, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("the secret")
    (root / "AGENTS.md").unlink()
    (root / "AGENTS.md").symlink_to(tmp_path / "secret.txt")
    (root / "IDENTITY.md").write_bytes(b"\0\1\2")
    asks.answer("Fine.")
    assert chat(prompt="Hello").status == "succeeded"

    assert "secret" not in str(asks.calls[0].body)
    assert told(asks)[0] == "tools/README.md"


def test_prewarm_counts_them(api: Api, root: Path) -> None:
    path = "/v1/runtime/repo-context/prewarm"
    full = {"ok": True, "type": "ai.chat.generate", "enabled": True, "full_context": True, "warmed_summaries": 0}

    assert api.post(path, {"input": {"prompt": "Hello"}}).json == {**full, "included_sections": 4}
    assert api.post(path, {"input": {"prompt": "a workflow"}}).json["included_sections"] == 5
    assert api.post(path, {}).json["included_sections"] == 4
    off = api.post(path, {"input": {"skip_repo_context": True}}).json
    assert (off["enabled"], off["included_sections"]) == (False, 0)
    assert api.post(path, {"type": "report.generate"}).json["skipped"] is True
    assert api.post(path, {}, key=READER).code == "FORBIDDEN"
