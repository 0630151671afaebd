"""Codex, a command-line program that answers, and works in a directory while it does (contract 7.3)."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from jobs.handlers.base import Completed, OnLine
from jobs.processes.command import COMMAND_PATH
from providers.base import Capabilities, Usage, text_of
from providers.conversation import ChatInput
from providers.faults import Fault
from providers.keys import provider_key
from rauskuclaw import errors
from rauskuclaw.config import load

MAX_PROMPT_BYTES = 120_000
"""It is an argument of a command, and Linux takes none of more than 128 KiB."""
MAX_OUTPUT_CHARS = 8_000_000
OWN_ITEMS = frozenset({"agent_message", "reasoning", "todo_list", "file_change", "error"})
"""What it says of itself; every other item of its events is the use of a tool."""
TRANSIENT = re.compile(r"stream disconnected|error sending request|connection reset|timed out", re.IGNORECASE)


class RunProcess(Protocol):
    """`JobContext.run_process`."""

    def __call__(
        self,
        argv: list[str],
        *,
        timeout_sec: float,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        max_chars: int = 256_000,
        live: bool = True,
        on_line: OnLine | None = None,
    ) -> Completed: ...


@dataclass
class Run:
    """What came of it."""

    text: str
    usage: Usage | None
    retries: int
    events: int
    used_tools: bool
    """Whether it read what commands, searches or servers of its own told it."""


@dataclass
class Codex:
    """The program, ready for one answer."""

    capabilities: ClassVar[Capabilities] = Capabilities(streams=False, tools=False, bounded=False)
    model: str
    mode: str
    local_provider: str
    workdir: Path
    home: Path
    programs: tuple[str, ...]
    timeout_sec: float
    retries: int
    backoff_sec: float
    auth_mode: str | None
    env: dict[str, str]

    @classmethod
    def prepare(cls) -> Self:
        """Read the settings and the login. Raises Fault: PROVIDER_DISABLED, or PROVIDER_CONFIG."""
        config = load()
        if not config.codex_oss_enabled:
            raise Fault(
                errors.PROVIDER_DISABLED, "the codex provider is switched off: CODEX_OSS_ENABLED=1 switches it on"
            )
        if not config.codex_oss_model:
            raise Fault(errors.PROVIDER_CONFIG, "no model: set CODEX_OSS_MODEL")
        workdir = config.codex_oss_workdir or config.workspace_root
        home = config.codex_home or workdir / ".codex-home"
        auth_mode = _auth_mode(home)
        return cls(
            model=config.codex_oss_model,
            mode=config.codex_exec_mode,
            local_provider=config.codex_oss_local_provider,
            workdir=workdir,
            home=home,
            programs=tuple(dict.fromkeys((config.codex_cli_path, "codex"))),
            timeout_sec=config.codex_oss_timeout_ms / 1000,
            retries=config.codex_oss_transient_retries or 4,
            backoff_sec=config.codex_oss_transient_backoff_ms / 1000,
            auth_mode=auth_mode,
            env=_environment(home, auth_mode),
        )

    @property
    def name(self) -> str:
        """In results and prices."""
        return "codex-oss" if self.mode == "oss" else "codex-cli"

    def argv(self, program: str, prompt: str) -> list[str]:
        """The command: the same for the same settings and prompt."""
        local = ["--oss", "--local-provider", self.local_provider] if self.mode == "oss" else []
        return [
            program, "exec", *local, "--json", "--sandbox", "workspace-write", "--config", 'approval_policy="never"',
            "--skip-git-repo-check", "--cd", str(self.workdir), "-m", self.model, prompt,
        ]  # fmt: skip

    def preview(self, prompt: str) -> str:
        """The command without what was asked."""
        return " ".join(self.argv(self.programs[0], f"<prompt:{len(prompt)} chars>"))

    def answer(
        self, prompt: str, run: RunProcess, *, emit: Callable[[str], None], remaining_sec: Callable[[], float]
    ) -> Run:
        """Run it, again after faults of its connection, and return its last message. Raises Fault."""
        self.home.mkdir(parents=True, exist_ok=True)
        if as_other := _as_other_user():
            os.chown(self.home, load().codex_run_uid, load().codex_run_gid)
        for retries in range(self.retries + 1):
            done = self._run_once(prompt, run, [*as_other], emit)
            found = list(events_of(done.stdout))
            fault = self._fault(done, found, prompt, retries)
            if fault is None:
                text, usage = _outcome(found)
                return Run(text, usage, retries, len(found), any(map(_is_tool_use, found)))
            wait_sec = self.backoff_sec * 2 ** min(retries, 6)
            if retries == self.retries or not TRANSIENT.search(fault.message) or remaining_sec() <= wait_sec:
                raise fault
            time.sleep(wait_sec)
        raise AssertionError("the last run returns or raises")

    def _run_once(self, prompt: str, run: RunProcess, prefix: list[str], emit: Callable[[str], None]) -> Completed:
        def pass_on(_stream: str, line: str) -> None:
            for event in events_of(line):
                if (text := _message_of(event)) is not None:
                    emit(text)

        for program in self.programs:
            if shutil.which(program, path=COMMAND_PATH) is None:
                continue
            return run(
                [*prefix, *self.argv(program, prompt)],
                timeout_sec=self.timeout_sec,
                env=self.env,
                cwd=self.workdir,
                max_chars=MAX_OUTPUT_CHARS,
                live=False,
                on_line=pass_on,
            )
        raise Fault(
            errors.PROVIDER_NOT_FOUND,
            "the codex program is not installed here: install it, or set CODEX_CLI_PATH",
            {"attempted_commands": list(self.programs)},
        )

    def _fault(self, done: Completed, found: list[dict[str, Any]], prompt: str, retries: int) -> Fault | None:
        if done.timed_out:
            return Fault(errors.PROVIDER_TIMEOUT, f"codex was not done in {self.timeout_sec:g} s")
        failed = next((event for event in reversed(found) if event.get("type") == "turn.failed"), None)
        finished = any(event.get("type") == "turn.completed" for event in found)
        # An `error` may be one that the program got over by itself.
        broken = None if finished else next((it for it in reversed(found) if it.get("type") == "error"), None)
        if done.returncode == 0 and failed is None and broken is None:
            if _outcome(found)[0].strip():
                return None
            return Fault(errors.PROVIDER_RESPONSE, "codex ended without a message of its agent")
        said = _said(failed or broken) or done.stderr_tail.strip()[-500:] or "no reason given"
        details = {
            "exit_code": done.returncode,
            "command_preview": self.preview(prompt),
            "codex_home": str(self.home),
            "transient_retries": retries,
            "auth_mode": self.auth_mode,
        }
        return Fault(errors.PROVIDER_EXEC, f"codex failed with exit {done.returncode}: {said}", details)


def prompt_of(given: ChatInput) -> str:
    """The conversation as one text; `prompt` and `messages` both count here. Raises Fault PROVIDER_INPUT.

    It never begins with a dash, so it cannot be taken for an option of the program.
    """
    blocks = [f"System:\n{given.system}"] if (given.system or "").strip() else []
    for entry in given.messages or ():
        if isinstance(entry, Mapping) and entry.get("role", "user") in {"system", "user", "assistant"}:
            text = text_of(entry.get("content"))
            if text.strip():
                blocks.append(f"{entry.get('role', 'user')}:\n{text}")
    if (given.prompt or "").strip():
        blocks.append(f"user:\n{given.prompt}")
    if not given.has_question or not blocks:
        raise Fault(errors.PROVIDER_INPUT, "the input needs `prompt` or `messages`")
    prompt = "\n\n".join(blocks).replace("\0", "\ufffd")
    if len(prompt.encode()) > MAX_PROMPT_BYTES:
        raise Fault(errors.PROVIDER_INPUT, f"codex takes at most {MAX_PROMPT_BYTES:,} bytes: send fewer messages")
    return prompt


def events_of(output: str) -> Iterator[dict[str, Any]]:
    """The events among the lines of its output; other lines are left out."""
    for line in output.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            yield event


def _outcome(found: list[dict[str, Any]]) -> tuple[str, Usage | None]:
    texts = [text for event in found if (text := _message_of(event)) is not None]
    usages = [event["usage"] for event in found if event.get("type") == "turn.completed" and event.get("usage")]
    usage = None
    if usages:
        last = usages[-1]
        usage = Usage(
            int(last.get("input_tokens", 0)), int(last.get("output_tokens", 0)), int(last.get("cached_input_tokens", 0))
        )
    return (texts[-1] if texts else ""), usage


def _message_of(event: Mapping[str, Any]) -> str | None:
    item = event.get("item")
    if event.get("type") == "item.completed" and isinstance(item, Mapping) and item.get("type") == "agent_message":
        return str(item.get("text", ""))
    return None


def _is_tool_use(event: Mapping[str, Any]) -> bool:
    item = event.get("item")
    return isinstance(item, Mapping) and item.get("type") not in OWN_ITEMS


def _said(event: Mapping[str, Any] | None) -> str:
    if event is None:
        return ""
    inner = event.get("error")
    return str((inner.get("message") if isinstance(inner, Mapping) else inner) or event.get("message") or "")[:500]


def _auth_mode(home: Path) -> str | None:
    """How the program is logged in: `chatgpt`, `apikey`; None where it is not."""
    try:
        mode = json.loads((home / ".codex" / "auth.json").read_text("utf-8")).get("auth_mode")
    except (OSError, ValueError, AttributeError):
        return None
    return str(mode) if mode else None


def _environment(home: Path, auth_mode: str | None) -> dict[str, str]:
    """Its home, and the key of OpenAI unless it has a login of its own. Nothing else of the worker's."""
    env = {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "XDG_DATA_HOME": str(home / ".local" / "share"),
    }
    config = load()
    if auth_mode != "chatgpt" and config.openai_api_key is not None:
        key = provider_key(config.openai_api_key, name="OPENAI_API_KEY")
        if key.value:
            env["OPENAI_API_KEY"] = key.value
        if "openai_base_url" in config.model_fields_set:
            env["OPENAI_BASE_URL"] = config.openai_base_url
    return env


def _as_other_user() -> tuple[str, ...]:
    """The start of a command line that gives root's rights up; empty where there is nothing to give up."""
    config = load()
    if os.geteuid() != 0 or config.codex_run_uid == 0:
        return ()
    setpriv = shutil.which("setpriv", path=COMMAND_PATH)
    if setpriv is None:
        raise Fault(errors.PROVIDER_CONFIG, "codex may not run as root, and setpriv (util-linux) is missing")
    ids = ("--reuid", str(config.codex_run_uid), "--regid", str(config.codex_run_gid), "--clear-groups")
    return (setpriv, *ids, "--pdeathsig", "KILL", "--")
