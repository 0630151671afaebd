"""Finding and killing what jobs leave running: by mark, by descent, by adoption, by the parent's death."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs import processes
from jobs.processes import hunt
from rauskuclaw.config import ROOT
from tests.handlers.conftest import left_in


def eventually(condition: Callable[[], bool], within_sec: float = 10) -> bool:
    give_up_at = time.monotonic() + within_sec
    while not condition() and time.monotonic() < give_up_at:
        time.sleep(0.01)
    return condition()


def test_a_mark_matches_whole_parts_only(cookie: str) -> None:
    node, _, _ = cookie.split("/")
    env = {"PATH": os.defpath, "RAUSKUCLAW_ATTEMPT": f"{node}/job/12"}
    child = subprocess.Popen(["sleep", "600"], env=env)

    assert processes.kill_marked(f"{node}/job/1") == 0
    assert processes.kill_marked("") == 0
    assert child.poll() is None
    assert processes.kill_marked(node) == 1
    assert eventually(lambda: child.poll() is not None)


def test_kill_descendants_takes_the_tree_and_not_the_process_itself(cookie: str) -> None:
    env = {"PATH": os.defpath, "RAUSKUCLAW_ATTEMPT": cookie}
    root = subprocess.Popen(["sh", "-c", "sleep 600 & sh -c 'sleep 600; :' & wait; exec sleep 600"], env=env)
    assert eventually(lambda: len(hunt.find(below=[root.pid])) == 3)

    killed = processes.kill_descendants(root.pid)

    assert killed == 3
    assert root.poll() is None
    assert processes.kill_descendants(2**22 + 1) == 0
    root.kill()
    root.wait()


def _python(script: str, cookie: str, directory: Path) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COOKIE": cookie}
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=env, cwd=directory)


RUNS_A_DAEMON = """
import os, pathlib
from jobs import processes
processes.become_subreaper()
print("ready", flush=True)
processes.run(["sh", "-c", "(setsid sleep 600 &); echo; exec sleep 600"], cookie=os.environ["COOKIE"], timeout_sec=600,
    cwd=pathlib.Path.cwd(), on_line=lambda *_: print("started", flush=True))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="no parent-death signal elsewhere")
def test_a_command_dies_with_the_process_that_runs_it(cookie: str, tmp_path: Path) -> None:
    with _python(RUNS_A_DAEMON, cookie, tmp_path) as runner:
        assert runner.stdout is not None
        assert [runner.stdout.readline(), runner.stdout.readline()] == ["ready\n", "started\n"]
        runner.kill()

    assert eventually(lambda: left_in(tmp_path) == ["sleep"])
    assert processes.kill_marked(cookie) == 1


ADOPTS = """
import os, subprocess, sys, time
from jobs import processes
assert processes.become_subreaper()
own = subprocess.Popen(["sleep", "600"])
# _exit: else subprocess reaps the short one itself where that ends soon enough
spawn = "import os, subprocess; p = subprocess.Popen(['sleep', '%d'], start_new_session=True); os._exit(0)"
for seconds in (600, 0):
    subprocess.run([sys.executable, "-c", spawn % seconds], check=True)
children = lambda: processes.hunt.psutil.Process().children()
while sorted(child.status() for child in children()).count("zombie") != 1: time.sleep(0.01)
print(len(children()), processes.kill_adopted(), len(children()), own.poll())
own.kill()
print(own.wait(), processes.kill_descendants(os.getpid()), children())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="no subreaper elsewhere")
def test_a_subreaper_kills_and_collects_the_orphans_it_adopted_and_none_of_its_own(cookie: str, tmp_path: Path) -> None:
    with _python(ADOPTS, cookie, tmp_path) as adopter:
        assert adopter.stdout is not None
        lines = adopter.stdout.read().splitlines()

    assert lines == ["3 1 1 None", "-9 0 []"]


def test_a_child_whose_parent_is_gone_ends_at_once() -> None:
    read, write = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-c", f"from jobs.processes import die_with_parent as die; die({os.getpid() + 1}); print(1)"],
        stdout=write, cwd=ROOT,
    )  # fmt: skip
    os.close(write)

    assert child.wait(30) == -signal.SIGKILL
    assert os.read(read, 10) == b""
    os.close(read)
