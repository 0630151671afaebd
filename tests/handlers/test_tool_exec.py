"""`tool.exec`: which commands it runs, which it refuses, and what it says of both. Real processes, real files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.handlers.base import AttemptFailed
from jobs.handlers.tool_exec import ToolExec, resolve
from tests.handlers.conftest import Context, left_in


@pytest.fixture
def allow(configure: Callable[..., Any]) -> Callable[..., None]:
    """`allow("echo", "/bin/ls")` switches `tool.exec` on for these."""

    def apply(*entries: str) -> None:
        configure(TOOL_EXEC_ENABLED="yes", TOOL_EXEC_ALLOWLIST=",".join(entries))

    return apply


@pytest.fixture
def execute(context: Callable[..., Context]) -> Callable[..., dict[str, Any]]:
    """`execute(command=…, args=…)`: the output of the job, as JSON."""

    def run(**given: Any) -> dict[str, Any]:
        return ToolExec().run(context(ToolExec, given)).model_dump(mode="json")

    return run


def refusal(run: Callable[..., Any], **given: Any) -> AttemptFailed:
    with pytest.raises(AttemptFailed) as caught:
        run(**given)
    return caught.value


def tool(directory: Path, name: str, script: str) -> str:
    """An executable script; its path."""
    file = directory / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(file)


def test_switched_off_it_fails_and_is_worth_another_attempt(execute: Callable[..., Any]) -> None:
    failure = refusal(execute, command="echo")

    assert (failure.code.name, failure.retryable) == ("HANDLER_DISABLED", True)
    assert failure.message == "TOOL_EXEC_ENABLED=1 required for tool.exec"


def test_it_echoes_the_request_and_gives_the_output(allow: Callable[..., None], execute: Callable[..., Any]) -> None:
    allow("echo")

    output = execute(command="echo", args=["two words", "; rm -rf /", "$HOME"])

    assert output.pop("duration_ms") >= 0
    assert output == {
        "command": "echo", "args": ["two words", "; rm -rf /", "$HOME"], "stdout": "two words ; rm -rf / $HOME\n",
        "stderr": "", "code": 0, "truncated": False,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["command", "cmd", "script"])
def test_arguments_may_stand_in_the_command(allow: Callable[..., None], execute: Callable[..., Any], name: str) -> None:
    allow("echo")

    output = execute(**{name: "echo 'a;b' \"c|d\" e\\>f x&y"})

    assert output["stdout"] == "a;b c|d e>f x&y\n"


@pytest.mark.parametrize(
    "line",
    [
        "echo a | cat",
        "echo a; id",
        "echo a && id",
        "echo a || id",
        "echo >x",
        "cat <x",
        "echo a\nid",
        "echo `id`",
        "cat $(x)",
    ],
)
def test_shell_syntax_is_refused_even_where_a_shell_is_allowed(
    allow: Callable[..., None], execute: Callable[..., Any], line: str
) -> None:
    allow("echo", "sh", "/bin/sh")

    failure = refusal(execute, command=line)

    assert (failure.code.name, failure.retryable) == ("POLICY_DENIED", False)
    assert '"args": [...]' in failure.message


@pytest.mark.parametrize("command", ["id", "/tmp/echo", "/usr/bin/id", "./echo", "bin/echo", "../../bin/echo", "ECHO"])
def test_what_is_not_allowlisted_is_denied_for_good(
    allow: Callable[..., None], execute: Callable[..., Any], command: str
) -> None:
    allow("echo", "/bin/ls")

    failure = refusal(execute, command=command)

    assert (failure.code.name, failure.retryable) == ("POLICY_DENIED", False)


def test_a_path_needs_an_absolute_entry_and_a_name_does_not() -> None:
    assert resolve("/bin/ls", ("/bin/ls",)) == "/bin/ls"
    assert resolve("ls", ("/bin/ls",)) == "/bin/ls"
    assert resolve("ls", ("ls",)) in {"/usr/local/bin/ls", "/usr/bin/ls", "/bin/ls"}
    with pytest.raises(AttemptFailed, match="ALLOWLIST"):
        resolve("/bin/ls", ("ls",))


def test_a_name_is_never_looked_up_in_the_workers_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool(tmp_path, "only-here", "echo")
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(AttemptFailed, match="not installed here") as caught:
        resolve("only-here", ("only-here",))

    assert caught.value.retryable


def test_links_lead_to_the_allowed_file_and_not_to_other_names_of_it(tmp_path: Path) -> None:
    real = tool(tmp_path, "multi", "echo")
    (tmp_path / "other").mkdir()
    for name in ("ls", "rm", "other/ls"):
        (tmp_path / name).symlink_to(real)

    assert resolve(f"{tmp_path}/other/ls", (f"{tmp_path}/ls",)) == f"{tmp_path}/ls"
    assert resolve(f"{tmp_path}/other/../ls", (f"{tmp_path}/ls",)) == f"{tmp_path}/ls"
    for name in ("rm", "multi"):
        with pytest.raises(AttemptFailed, match="ALLOWLIST"):
            resolve(f"{tmp_path}/{name}", (f"{tmp_path}/ls",))


def test_an_exit_code_is_a_failure_with_the_end_of_the_output(
    allow: Callable[..., None], execute: Callable[..., Any], tmp_path: Path
) -> None:
    path = tool(tmp_path, "fails", "yes x | head -c 600000; echo why >&2; exit 3")
    allow(path)

    failure = refusal(execute, command=path)

    assert (failure.code.name, failure.retryable) == ("COMMAND_FAILED", True)
    assert failure.message == "tool.exec failed with exit 3"
    assert failure.details is not None
    assert failure.details.pop("duration_ms") >= 0
    expected = {"timed_out": False, "code": 3, "signal": None, "stdout_tail": "x\n" * 2000, "stderr_tail": "why\n"}
    assert failure.details == expected


def test_at_its_time_limit_it_fails_and_leaves_nothing(
    allow: Callable[..., None], execute: Callable[..., Any], tmp_path: Path
) -> None:
    path = tool(tmp_path, "slow", "trap '' TERM; (setsid sleep 600 &); echo on; sleep 600; sleep 600")
    allow(path)

    failure = refusal(execute, command=path, timeout_ms=200)

    assert failure.message == "tool.exec timeout"
    assert failure.details is not None
    assert failure.details | {"duration_ms": 0} == {
        "timed_out": True, "code": None, "signal": "SIGKILL", "stdout_tail": "on\n", "stderr_tail": "",
        "duration_ms": 0,
    }  # fmt: skip
    assert left_in(tmp_path) == []


def test_the_attempts_remaining_time_bounds_the_commands(
    allow: Callable[..., None], context: Callable[..., Context]
) -> None:
    allow("sleep")
    attempt = context(ToolExec, {"command": "sleep 600", "timeout_ms": 120_000}, left_sec=0.2)

    with pytest.raises(AttemptFailed, match=r"tool\.exec timeout"):
        ToolExec().run(attempt)

    assert attempt.logs[0] == (
        "Executing allowlisted tool command", "info", {"command": "sleep", "args": 1, "timeout_ms": 200},
    )  # fmt: skip


def test_output_lines_go_to_the_log_with_their_stream(
    allow: Callable[..., None], context: Callable[..., Context], tmp_path: Path
) -> None:
    path = tool(tmp_path, "talks", "echo one; sleep 0.1; echo two >&2")
    allow(path)
    attempt = context(ToolExec, {"command": path})

    ToolExec().run(attempt)

    assert attempt.logs[1:] == [("one", "info", {"stream": "stdout"}), ("two", "info", {"stream": "stderr"})]


def test_a_file_that_cannot_be_executed_is_a_failure_that_says_so(
    allow: Callable[..., None], execute: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("text")
    allow(f"{tmp_path}/text")

    failure = refusal(execute, command=f"{tmp_path}/text")

    assert failure.code.name == "COMMAND_FAILED"
    assert "Permission denied" in failure.message


def test_it_works_in_the_workspace_and_sees_no_secret(
    allow: Callable[..., None], execute: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "hunter2")
    allow("env", "pwd")

    environment = execute(command="env")["stdout"]

    assert "hunter2" not in environment
    assert "DATABASE_URL" not in environment
    assert execute(command="pwd")["stdout"].strip() == os.path.realpath(tmp_path)


def test_an_unfinished_quote_is_bad_input(allow: Callable[..., None], execute: Callable[..., Any]) -> None:
    allow("echo")

    assert refusal(execute, command="echo 'half").code.name == "INPUT_INVALID"
    assert refusal(execute, command="'' x").code.name == "INPUT_INVALID"
