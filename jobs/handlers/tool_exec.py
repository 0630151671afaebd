"""`tool.exec`: one allowlisted command, as an argv and never through a shell (contract 6.11, with section 16 #18)."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from access import runtime_tools
from jobs.handlers.base import AttemptFailed, Completed, Handler, JobContext, Needs
from jobs.handlers.fields import ObjectInput, WholeNumber
from rauskuclaw import errors

SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin"
"""Where a command given as a bare name is looked for, whatever the worker's own PATH."""

_QUOTED = re.compile(r"""\\.|'[^']*'|"(?:\\.|[^"\\])*\"""", re.DOTALL)
_SHELL_SYNTAX = re.compile(r"[|;<>\n`]|&&|\$\(")

Argument = Annotated[str, StringConstraints(max_length=4000)]


class ExecInput(ObjectInput):
    """Which command."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"command": "git", "args": ["log", "-1", "--format=%s"], "timeout_ms": 5000},
                {"command": "ls -l 'my folder'"},
            ]
        }
    )
    aliases = {"command": ("cmd", "script")}
    required = ("tool.exec", "command")

    command: str = Field(
        max_length=4000,
        description="Name or absolute path of an allowlisted command (aliases: `cmd`, `script`). Without `args` it may"
        " hold the arguments too; they are split like a shell does, and nothing else of a shell works.",
    )
    args: list[Argument] = Field([], max_length=100, description="Arguments, passed on as they are.")
    timeout_ms: WholeNumber | None = Field(
        None, ge=100, le=120_000, description="Time limit in milliseconds; TOOL_EXEC_TIMEOUT_MS where absent."
    )


class ExecOutput(BaseModel):
    """What the command said."""

    command: str = Field(description="As requested.")
    args: list[str] = Field(description="As requested.")
    duration_ms: int
    stdout: str = Field(description="The first 256,000 characters.")
    stderr: str = Field(description="The first 256,000 characters.")
    code: int = Field(description="Exit code: 0, or the job had failed.")
    truncated: bool = Field(description="Whether there was more output than is kept.")


class ToolExec(Handler[ExecInput, ExecOutput]):
    """Runs an allowlisted command in the workspace, with a scrubbed environment and nothing on its input."""

    id = "builtin:tool.exec"
    Input = ExecInput
    Output = ExecOutput
    needs = Needs(shell=True, files=True)  # noqa: S604 - tells of a need, starts nothing

    def run(self, ctx: JobContext[ExecInput]) -> ExecOutput:
        """Run the command of `ctx.input`.

        Fails with HANDLER_DISABLED, POLICY_DENIED, INPUT_INVALID, or COMMAND_FAILED: exit code not 0, time limit,
        not installed here. The last is worth another attempt, on another worker perhaps.
        """
        config, given = runtime_tools.effective(), ctx.input
        if not config.tool_exec_enabled:
            raise AttemptFailed(errors.HANDLER_DISABLED, "TOOL_EXEC_ENABLED=1 required for tool.exec")
        name, *args = _argv(given)
        argv = [resolve(name, config.tool_exec_allowlist), *args]
        timeout_sec = min((given.timeout_ms or config.tool_exec_timeout_ms) / 1000, ctx.remaining_sec())
        ctx.log(
            "Executing allowlisted tool command", command=name, args=len(args), timeout_ms=round(timeout_sec * 1000)
        )
        try:
            done = ctx.run_process(argv, timeout_sec=timeout_sec)
        except OSError as error:
            raise AttemptFailed(
                errors.COMMAND_FAILED, f"tool.exec cannot start {name!r}: {error.strerror}", {"errno": error.errno}
            ) from error
        if done.timed_out or done.returncode != 0:
            raise _failure(done)
        return ExecOutput(
            command=given.command,
            args=given.args,
            duration_ms=done.duration_ms,
            stdout=done.stdout,
            stderr=done.stderr,
            code=done.returncode,
            truncated=done.truncated,
        )


def resolve(command: str, allowlist: tuple[str, ...]) -> str:
    """The file to run for `command`, as the allowlist names it. Raises AttemptFailed.

    A bare name is allowed by itself or by an absolute path that ends in it; a path only by an absolute path. Paths
    match when they have the same last part and are the same file after links: the last part too, because one file
    may be many commands (busybox), and the entry's own path is what runs.
    """
    is_path = "/" in command
    if is_path and not command.startswith("/"):
        raise _denied(command, "give a command as an absolute path or as a bare name")
    found = command if is_path else shutil.which(command, path=SEARCH_PATH)
    if found is not None:
        for entry in allowlist:
            if entry.startswith("/") and _same_command(found, entry):
                return entry
    if is_path or command not in allowlist:
        raise _denied(command, "it is not in TOOL_EXEC_ALLOWLIST")
    if found is None:
        raise AttemptFailed(
            errors.COMMAND_FAILED, f"tool.exec: {command!r} is allowed and not installed here (looked in {SEARCH_PATH})"
        )
    return found


def _same_command(path: str, entry: str) -> bool:
    return Path(path).name == Path(entry).name and Path(path).resolve() == Path(entry).resolve()


def _argv(given: ExecInput) -> list[str]:
    if given.args:
        return [given.command, *given.args]
    if _SHELL_SYNTAX.search(_QUOTED.sub("", given.command)):
        raise AttemptFailed(
            errors.POLICY_DENIED,
            "tool.exec runs one command and no shell, so pipes, redirections, ;, && and substitutions do not work."
            ' Send {"command": name, "args": [...]}, where such characters are ordinary text, or quote them.',
        )
    try:
        argv = shlex.split(given.command)
    except ValueError as error:
        raise AttemptFailed(errors.INPUT_INVALID, f"tool.exec cannot split input.command: {error}; send args") from None
    if not argv or not argv[0]:
        raise AttemptFailed(errors.INPUT_INVALID, "tool.exec requires input.command")
    return argv


def _denied(command: str, reason: str) -> AttemptFailed:
    return AttemptFailed(errors.POLICY_DENIED, f"tool.exec may not run {command[:200]!r}: {reason}")


def _failure(done: Completed) -> AttemptFailed:
    was_killed = done.returncode < 0
    details: dict[str, Any] = {
        "timed_out": done.timed_out,
        "code": None if was_killed else done.returncode,
        "signal": _signal_name(-done.returncode) if was_killed else None,
        "stdout_tail": done.stdout_tail,
        "stderr_tail": done.stderr_tail,
        "duration_ms": done.duration_ms,
    }
    code = details["signal"] if was_killed else done.returncode
    message = "tool.exec timeout" if done.timed_out else f"tool.exec failed with exit {code}"
    return AttemptFailed(errors.COMMAND_FAILED, message, details)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"SIG{number}"
