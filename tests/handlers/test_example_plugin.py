"""The example of docs/handlers.md: the very files, built, installed apart, found through the registry, and run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.handlers import registry
from rauskuclaw.config import ROOT
from tests.net.servers import serving

EXAMPLE = Path(__file__).parent / "example_plugin"
DOCUMENT = (ROOT / "docs" / "handlers.md").read_text("utf-8")

USES_IT = """
import django, json, pathlib
django.setup()
from jobs.handlers import registry
from tests.handlers.conftest import Context
handler = registry.get("word-count:count")
context = Context(input=handler.Input(text="jobs that nobody loses"), workspace=pathlib.Path(), cookie="")
print(json.dumps([handler.run(context).model_dump(), context.logs, len(registry.installed())]))
"""

MAKES_JOBS = """
import django, json, pathlib, uuid
django.setup()
from jobs.handlers import registry
from jobs.handlers.base import ChildResult, Spawn
from tests.handlers.conftest import Context
def run(handler_id, given, children=()):
    handler = registry.get(handler_id)
    context = Context(input=handler.Input(**given), workspace=pathlib.Path(), cookie="", children=children)
    return handler.run(context).model_dump()
given = {"texts": ["jobs that", "nobody loses"]}
try:
    run("word-count:total", given)
except Spawn as spawn:
    made = spawn.children
results = [
    ChildResult(it.name, uuid.uuid4(), it.type, "succeeded", run("word-count:count", it.input)) for it in made
]
print(json.dumps([[child.type for child in made], run("word-count:total", given, results)]))
"""

USES_THE_ASYNC_ONE = """
import anyio, django, json, os, pathlib
django.setup()
from jobs.handlers import registry
from rauskuclaw import netguard
from tests.handlers.conftest import Context
handler = registry.get("word-count:page")
connect, port = anyio.connect_tcp, int(os.environ["SERVER_PORT"])
# A public address, as the guard demands, behind which is the test's server.
netguard.system_resolver = lambda host: ["93.184.215.14"]
anyio.connect_tcp = lambda **_to: connect("127.0.0.1", port)
context = Context(input=handler.Input(url="http://pages.test/"), workspace=pathlib.Path(), cookie="")
print(json.dumps([handler.run(context).model_dump(), registry.pool_of(handler.id)]))
"""


def install(package: Path, target: Path, cache: Path) -> None:
    """Build and install a package as a user does: with uv where it is, else with pip."""
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    quick = [str(uv), "pip", "install", "--python", sys.executable, "--cache-dir", str(cache)]
    command = quick if uv else [sys.executable, "-m", "pip", "install"]
    subprocess.run([*command, "--quiet", "--no-deps", "--target", str(target), str(package)], check=True)


def in_a_new_process(script: str, *, target: Path, var_dir: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(target), str(ROOT)])
    env = {**os.environ, "PYTHONPATH": path, "VAR_DIR": str(var_dir), "DJANGO_SETTINGS_MODULE": "rauskuclaw.settings"}
    return subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False)


def test_the_example_is_built_installed_found_and_run(tmp_path: Path) -> None:
    package = shutil.copytree(EXAMPLE, tmp_path / "word-count")
    install(package, tmp_path / "site", tmp_path / "cache")

    done = in_a_new_process(USES_IT, target=tmp_path / "site", var_dir=tmp_path)

    assert done.returncode == 0, done.stderr
    result, logs, installed = json.loads(done.stdout)
    assert result == {"words": 4, "longest": "nobody"}
    assert logs == [["Counting words", "info", {"characters": 22}]]
    assert installed == len(registry.installed()) + 3


def test_the_example_that_makes_jobs_adds_up_what_they_came_to(tmp_path: Path) -> None:
    install(shutil.copytree(EXAMPLE, tmp_path / "word-count"), tmp_path / "site", tmp_path / "cache")

    done = in_a_new_process(MAKES_JOBS, target=tmp_path / "site", var_dir=tmp_path)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["text.count", "text.count"], {"words": 4, "longest": "nobody"}]


def test_the_async_example_is_found_and_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = shutil.copytree(EXAMPLE, tmp_path / "word-count")
    install(package, tmp_path / "site", tmp_path / "cache")

    with serving(lambda exchange: exchange.answer(200, b"jobs that wait")) as server:
        monkeypatch.setenv("SERVER_PORT", str(server.port))
        done = in_a_new_process(USES_THE_ASYNC_ONE, target=tmp_path / "site", var_dir=tmp_path)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [{"words": 3}, "io"]


def test_a_package_that_cannot_be_imported_is_logged_and_left_out(tmp_path: Path) -> None:
    broken = shutil.copytree(EXAMPLE, tmp_path / "broken")
    (broken / "word_count" / "__init__.py").write_text("raise RuntimeError('half an upgrade')")
    install(broken, tmp_path / "site", tmp_path / "cache")
    script = "import django; django.setup(); from jobs.handlers import registry; print(len(registry.installed()))"

    done = in_a_new_process(script, target=tmp_path / "site", var_dir=tmp_path)

    assert done.stdout == f"{len(registry.installed())}\n"
    assert "word-count (word_count:WordCount) cannot be loaded" in done.stderr


def test_the_document_shows_the_files_that_this_test_runs() -> None:
    blocks = re.findall(r"```(?:python|toml)\n(.*?)```", DOCUMENT, re.DOTALL)

    files = ["word_count/__init__.py", "pyproject.toml", "word_count/pages.py", "word_count/total.py"]
    texts = [(EXAMPLE / name).read_text("utf-8") for name in files]
    assert blocks == texts
    assert max(len(text.splitlines()) for text in texts) <= 30


def test_the_document_tells_of_each_built_in_handler_what_it_reaches() -> None:
    rows = re.findall(r"^\| `(builtin:\S+)`[^|]*\| ([^|]+) \|.*\| (.+) \|$", DOCUMENT, re.MULTILINE)

    told = {name: (reaches.partition(" (")[0], bad_input) for name, reaches, bad_input in rows}
    assert told == {
        name: (
            ", ".join(need for need, has in handler.needs.model_dump().items() if has) or "nothing",
            "400" if handler.checks_input_at_creation else "fails in the worker",
        )
        for name, handler in registry.installed().items()
        if name.startswith("builtin:")
    }
