"""`jobs.processes`: whatever a command does and whenever its caller is struck, nothing is left running."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from jobs import processes
from jobs.handlers.base import Completed
from jobs.processes import command, output
from tests.handlers.conftest import left_in

Run = Callable[..., Completed]


a_strike_may_leave_a_pipe_to_the_garbage_collector = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


class Struck(BaseException):
    """What the tests raise in the middle of things."""


@pytest.fixture
def run(tmp_path: Path, cookie: str) -> Run:
    """`run(*argv, …)` with this test's cookie and directory; one argument is a shell script."""

    def start(*argv: str, timeout_sec: float = 20, **options: Any) -> Completed:
        line = ["/bin/sh", "-c", *argv] if len(argv) == 1 else [*argv]
        return processes.run(line, cookie=cookie, timeout_sec=timeout_sec, cwd=tmp_path, **options)

    return start


def test_a_command_gives_its_exit_code_and_both_streams(run: Run) -> None:
    done = run("echo out; echo err >&2; exit 3")

    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert not done.timed_out
    assert not done.truncated


def test_a_command_sees_nothing_of_the_workers_environment(
    run: Run, tmp_path: Path, cookie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "a-secret-of-the-worker")

    seen = dict(line.split("=", 1) for line in run("/usr/bin/env", "-u", "X", env={"MINE": "1"}).stdout.splitlines())

    mark = seen.pop("RAUSKUCLAW_ATTEMPT")
    home = str(tmp_path)
    path = "/usr/local/bin:/usr/bin:/bin"
    assert seen == {"PATH": path, "LANG": "C.UTF-8", "HOME": home, "TMPDIR": home, "MINE": "1"}
    assert mark.startswith(f"{cookie}/")


def test_a_command_has_no_input_and_a_session_of_its_own(run: Run) -> None:
    done = run("cat; ps -o sid= -p $$; echo $$")

    session, pid = done.stdout.split()
    assert session == pid


def test_a_command_inherits_no_open_file(run: Run) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)

    done = run(f"test -e /proc/self/fd/{writer} && echo open || echo closed")

    assert done.stdout == "closed\n"
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize(
    ("name", "error"),
    [("no-such-command", FileNotFoundError), ("./a-text", PermissionError), ("./none", FileNotFoundError)],
)
@pytest.mark.parametrize("launcher", [(), None])
def test_a_command_that_cannot_start_is_an_os_error(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    error: type[OSError],
    launcher: tuple[()] | None,
) -> None:
    (tmp_path / "a-text").write_text("not executable")
    if launcher is not None:
        monkeypatch.setattr(command, "launcher", lambda: launcher)

    with pytest.raises(error, match=name):
        run(name, "-x")


@pytest.mark.parametrize(
    "script",
    [
        "sleep 600",
        "trap '' TERM INT HUP; while :; do sleep 600; done",
        "(setsid sleep 600 &) ; sleep 600",
        "setsid setsid sh -c 'sleep 600 & sleep 600' & sleep 600",
        "env -i setsid sleep 600 & sleep 600",
        "kill -STOP $$",
        "i=0; while [ $i -lt 400 ]; do sleep 600 & i=$((i+1)); done; wait",
    ],
    ids=["plain", "ignores-signals", "daemon", "sessions-in-sessions", "without-cookie", "stopped", "fork-storm"],
)
def test_at_its_time_limit_a_command_and_all_it_started_are_dead(run: Run, script: str, tmp_path: Path) -> None:
    done = run(script, timeout_sec=0.3)

    assert done.timed_out
    assert done.returncode == -signal.SIGKILL
    assert left_in(tmp_path) == []


def test_without_a_launcher_the_time_limit_works_too(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command, "launcher", tuple)

    done = run("sleep 600 & sleep 600", timeout_sec=0.2)

    assert done.timed_out
    assert left_in(tmp_path) == []


def test_a_background_process_that_holds_the_pipes_does_not_hang_the_caller(
    run: Run, cookie: str, tmp_path: Path
) -> None:
    done = run("(setsid sleep 600 &); echo done")

    assert done.stdout == "done\n"
    assert processes.kill_marked(cookie) == 1
    assert left_in(tmp_path) == []


def test_a_command_that_closes_its_output_is_still_waited_for(run: Run) -> None:
    done = run("exec >&- 2>&-; sleep 0.1; exit 7")

    assert done.returncode == 7


def test_a_flood_of_output_is_capped_and_its_end_is_kept(run: Run) -> None:
    done = run("yes 12345678 | head -c 3000000; echo the end", max_chars=1000)

    assert done.truncated
    assert len(done.stdout) == 1000
    assert done.stdout_tail.endswith("the end\n")
    assert len(done.stdout_tail) == output.LINE_CHARS


def test_what_is_not_utf_8_and_nul_become_replacement_characters(run: Run) -> None:
    done = run(r"printf 'a\377b\0c\303\244\355\240\200'")

    assert done.stdout == "a\ufffdb\ufffdc\u00e4" + "\ufffd" * 3


def test_a_character_split_between_two_reads_stays_whole() -> None:
    lines: list[str] = []
    stream = output.Output("stdout", 100, output.LiveLines(lambda _, line: lines.append(line)))

    for byte in "ä€\r\n😀".encode():
        stream.feed(bytes([byte]))
    stream.feed(b"\xf0", last=True)

    assert stream.kept == "ä€\r\n😀\ufffd"
    assert lines == ["ä€", "😀\ufffd"]


def test_lines_come_while_the_command_runs(run: Run, tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []

    def on_line(stream: str, line: str) -> None:
        seen.append((stream, line))
        (tmp_path / "go-on").touch()

    done = run("echo first >&2; while ! [ -e go-on ]; do sleep 0.01; done; printf last", on_line=on_line)

    assert done.returncode == 0
    assert seen == [("stderr", "first"), ("stdout", "last")]


def test_a_long_line_is_cut_and_the_next_one_is_whole(run: Run) -> None:
    seen: list[str] = []

    run("head -c 200000 /dev/zero | tr '\\0' x; echo; echo next", on_line=lambda _, line: seen.append(line))

    assert [len(line) for line in seen] == [output.LINE_CHARS, 4]


def test_after_the_live_limit_one_line_says_so(run: Run) -> None:
    seen: list[str] = []

    done = run("seq 5000", on_line=lambda _, line: seen.append(line))

    assert seen[:-1] == [str(number) for number in range(1, output.LIVE_LINES + 1)]
    assert "only the first 1,000 lines" in seen[-1]
    assert done.stdout.endswith("\n5000\n")


def test_an_error_in_the_callers_line_function_ends_the_command(run: Run, tmp_path: Path) -> None:
    def on_line(_stream: str, _line: str) -> None:
        raise Struck

    with pytest.raises(Struck):
        run("echo x; sleep 600", on_line=on_line)

    assert left_in(tmp_path) == []


def _strike_at(opcode_number: int) -> None:
    """Raise `Struck` in this thread before the n-th bytecode that runs in `jobs.processes` from now."""
    numbers = itertools.count(1)

    def trace(frame: FrameType, event: str, _arg: object) -> Any:
        if "/jobs/processes/" not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and next(numbers) == opcode_number:
            raise Struck
        return trace

    sys.settrace(trace)


@a_strike_may_leave_a_pipe_to_the_garbage_collector
def test_an_exception_at_any_bytecode_of_the_caller_leaves_nothing_running(run: Run, tmp_path: Path) -> None:
    struck = 0
    for number in itertools.count(1, 17):
        _strike_at(number)
        try:
            run("echo x; sleep 600", timeout_sec=0.05)
            break
        except Struck:
            struck += 1
        finally:
            sys.settrace(None)
    else:
        pytest.fail("never reached the end")

    gc.collect()
    assert struck > 30
    assert left_in(tmp_path) == []


@a_strike_may_leave_a_pipe_to_the_garbage_collector
def test_a_signal_at_any_moment_leaves_nothing_running(run: Run, tmp_path: Path) -> None:
    def strike(_number: int, _frame: FrameType | None) -> None:
        raise Struck

    def run_struck_by(timer: threading.Timer) -> None:
        timer.start()
        run("sleep", "600", timeout_sec=600)

    previous = signal.signal(signal.SIGUSR2, strike)
    try:
        for round_number in range(25):
            timer = threading.Timer(0.001 + round_number * 0.0004, os.kill, (os.getpid(), signal.SIGUSR2))
            with pytest.raises(Struck):
                run_struck_by(timer)
    finally:
        signal.signal(signal.SIGUSR2, previous)

    gc.collect()
    assert left_in(tmp_path) == []
