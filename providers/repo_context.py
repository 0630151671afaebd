"""What the workspace says of itself to a model: a few well-known files, as one system message (contract 7.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from providers.base import Message
from providers.conversation import ChatInput
from rauskuclaw.config import load
from workspaces import files
from workspaces.faults import WorkspaceFault
from workspaces.paths import parse
from workspaces.tree import Tree

HEAD = "Context of the repository that you work in. Each section is a file of its workspace."


@dataclass(frozen=True)
class Section:
    """A file. key: its name in `repo_context`. setting: what names another path for it. about: only where the
    conversation has this word."""

    key: str
    paths: tuple[str, ...]
    setting: str
    about: str = ""


SECTIONS = (
    Section("agents", ("AGENTS.md",), "openai_agents_md_path"),
    Section("identity", ("IDENTITY.md",), "openai_identity_md_path"),
    Section("soul", ("SOUL.md",), "openai_soul_md_path"),
    Section("user", ("USER.md",), "openai_user_md_path"),
    Section("tools_readme", ("tools/README.md",), "openai_tools_readme_path"),
    Section("memory_md", ("rauskuAssets/MEMORY.md", "MEMORY.md"), "openai_memory_md_path"),
    Section("workflows_yaml", ("workflows/workflows.yaml",), "openai_workflows_yaml_path"),
    Section("workflow_tool_md", ("tools/workflow.run/TOOL.md",), "openai_workflow_tool_md_path", about="workflow"),
)


def wanted(given: ChatInput) -> list[Section]:
    """The sections that the input leaves on, whether there are files for them or not."""
    if given.skip_repo_context:
        return []
    chosen: Mapping[str, Any] = given.repo_context if isinstance(given.repo_context, Mapping) else {}
    return [section for section in SECTIONS if chosen.get(section.key) is not False]


def in_front(messages: Sequence[Message], given: ChatInput) -> list[Message]:
    """The conversation, with what there is of the workspace before it."""
    found = sections(wanted(given), messages)
    if not found:
        return list(messages)
    text = "\n\n".join([HEAD, *(f"## {path}\n\n{content}" for path, content in found)])
    return [{"role": "system", "content": text}, *messages]


def sections(chosen: Sequence[Section], messages: Sequence[Message]) -> list[tuple[str, str]]:
    """(path, text) of each file that exists and is text."""
    said = "\n".join(str(message.get("content") or "") for message in messages).lower()
    tree = Tree(load().workspace_root)
    found = [_read(tree, section) for section in chosen if section.about in said]
    return [it for it in found if it is not None]


def _read(tree: Tree, section: Section) -> tuple[str, str] | None:
    """The first of its files that there is, as far as a prompt has room for it. What cannot be read is left out."""
    named = getattr(load(), section.setting)
    for text in (named,) if named else section.paths:
        try:
            path = parse(text, root=tree.root)
            with tree.open(path) as file:
                data = file.read(load().repo_context_max_bytes + 1)
        except (WorkspaceFault, OSError):
            continue
        if files.is_binary(data):
            continue
        whole = len(data) <= load().repo_context_max_bytes
        content = data[: load().repo_context_max_bytes].decode("utf-8", "ignore").strip()
        if content:
            return str(path), content if whole else f"{content}\n\n(The file goes on.)"
    return None
