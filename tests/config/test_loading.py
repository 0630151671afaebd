"""Where settings come from, and who wins."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rauskuclaw import config
from rauskuclaw.config import Config, ConfigError

Write = Callable[[dict[str, Any]], None]


@pytest.fixture(autouse=True)
def empty_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No variable of the real environment and no file of the checkout reaches these tests."""
    for field in Config.model_fields.values():
        monkeypatch.delenv(str(field.validation_alias), raising=False)
    monkeypatch.setenv("VAR_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("RAUSKUCLAW_CONFIG_PATH", str(tmp_path / "rauskuclaw.json"))
    yield
    monkeypatch.undo()
    config.reload()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(document: dict[str, Any]) -> None:
        (tmp_path / "rauskuclaw.json").write_text(json.dumps(document), "utf-8")

    return to_file


def problems() -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.reload()
    return caught.value.problems


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(
    monkeypatch: pytest.MonkeyPatch, write: Write
) -> None:
    write({"api": {"port": 4000, "host": "127.0.0.2"}})
    monkeypatch.setenv("PORT", "5000")

    settings = config.reload()

    assert (settings.port, settings.host, settings.lease_sec) == (5000, "127.0.0.2", 15)


def test_an_empty_variable_does_not_count(monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    write({"api": {"port": 4000}})
    monkeypatch.setenv("PORT", "")

    assert config.reload().port == 4000


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:3001"), ("0.0.0.0", "http://127.0.0.1:3001"), ("::", "http://[::1]:3001"),
        ("fd00::7", "http://[fd00::7]:3001"), ("jobs.example.org", "http://jobs.example.org:3001"),
    ],
)  # fmt: skip
def test_the_web_server_is_reached_where_it_listens(monkeypatch: pytest.MonkeyPatch, host: str, url: str) -> None:
    monkeypatch.setenv("HOST", host)

    assert config.reload().own_url == url


@pytest.mark.parametrize(("text", "on"), [("1", True), ("0", False), ("true", False), ("yes", False)])
def test_a_switch_is_on_only_for_exactly_1(monkeypatch: pytest.MonkeyPatch, text: str, on: bool) -> None:
    monkeypatch.setenv("CALLBACK_SIGNING_ENABLED", text)

    assert config.reload().callback_signing_enabled is on


@pytest.mark.parametrize("text", ["1", "true", "YES"])
def test_a_handler_switch_knows_three_words(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TOOL_EXEC_ENABLED", text)

    assert config.reload().tool_exec_enabled is True


def test_a_list_is_split_trimmed_and_freed_of_duplicates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_QUEUE_ALLOWLIST", " default, gpu ,default,")

    assert config.reload().worker_queue_allowlist == ("default", "gpu")


def test_the_file_may_rename_a_variable(monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    write({"worker": {"worker_id_env": "MY_NAME", "id": "from-the-file"}})
    monkeypatch.setenv("MY_NAME", "renamed")

    assert config.reload().worker_id == "renamed"


def test_a_secret_may_come_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a-key-of-my-own\n", "utf-8")
    monkeypatch.setenv("API_KEY_FILE", str(tmp_path / "key"))

    (entry,) = config.reload().key_entries

    assert entry.key.get_secret_value() == "a-key-of-my-own"


def test_run_env_gives_the_addresses_that_nothing_else_gives(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "run.env").write_text("DATABASE_URL=postgresql://x\nREDIS_URL=redis://y\nPORT=1\n", "utf-8")
    monkeypatch.setenv("REDIS_URL", "redis://mine")

    settings = config.reload()

    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == "postgresql://x"
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == "redis://mine"
    assert settings.port == 3001


def test_the_workspace_lies_in_var_dir_unless_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert config.reload().workspace_root == tmp_path / "var" / "workspace"

    monkeypatch.setenv("WORKSPACE_ROOT", str(tmp_path / "work"))

    assert config.reload().workspace_root == tmp_path / "work"


@pytest.mark.parametrize("root", ["", "var", "var/secrets/.."])
def test_the_workspace_never_holds_the_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, root: str) -> None:
    monkeypatch.setenv("WORKSPACE_ROOT", str(tmp_path / root))

    (problem,) = problems()

    assert "holds VAR_DIR and its secrets" in problem


def test_every_problem_is_told_at_once_with_what_would_do(
    monkeypatch: pytest.MonkeyPatch, write: Write, tmp_path: Path
) -> None:
    write({"api": {"prot": 1, "host": 7}, "worker": {"lease_sec": 1}})
    monkeypatch.setenv("PORT", "seventy")
    monkeypatch.setenv("LOG_LEVEL", "LOUD")
    monkeypatch.setenv("API_KEY", "changeme")
    monkeypatch.setenv("REDIS_URL_FILE", str(tmp_path / "none"))

    assert problems() == [
        "rauskuclaw.json: unknown key 'api.prot'; did you mean 'api.port'?",
        f"REDIS_URL_FILE: cannot read {tmp_path}/none (No such file or directory);"
        " mount the file or unset REDIS_URL_FILE.",
        "rauskuclaw.json api.host: must be text (got '7').",
        "PORT: must be a whole number from 1 to 65,535 (got 'seventy').",
        "LOG_LEVEL: must be one of DEBUG, INFO, WARNING, ERROR (got 'LOUD').",
        "rauskuclaw.json worker.lease_sec: must be a whole number from 3 to 3,600 (got '1').",
        "The API key 'legacy-api-key' is a placeholder from the documentation: set one of your own.",
    ]


def test_a_file_that_is_not_json_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "rauskuclaw.json").write_text("{", "utf-8")

    (problem,) = problems()

    assert problem.startswith("rauskuclaw.json cannot be read as JSON")


def test_keys_that_old_files_hold_are_ignored(write: Write) -> None:
    write({"database": {"path": "/data/x.sqlite"}, "ui": {"theme": "dark"}, "worker": {"poll_interval_ms": 300}})

    assert config.reload().port == 3001


@pytest.mark.parametrize("name", ["API_KEY", "SECRET_KEY", "DATABASE_URL", "REDIS_URL", "CALLBACK_SIGNING_SECRET"])
def test_a_secret_is_never_printed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    secret = "postgresql://hush-hush" if name == "DATABASE_URL" else "redis://hush-hush"
    monkeypatch.setenv(name, f"{secret}{'x' * 30}")

    settings = config.reload()

    assert "hush-hush" not in repr(settings) + str(settings) + repr(settings.key_entries) + str(settings.model_dump())


def test_no_problem_quotes_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "hush")
    monkeypatch.setenv("DATABASE_URL", "mysql://hush")
    monkeypatch.setenv("API_KEYS_JSON", '[{"key": "hush", "role": "hush-role"}, {"key": "hush", "queue": "x"}]')

    told = problems()

    assert len(told) == 4
    assert "hush" not in "".join(told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nonsense", "[auth] API_KEYS_JSON: not valid JSON (Expecting value at character 1)."),
        ("{}", "[auth] API_KEYS_JSON: must be a JSON array of objects."),
        ('[{"key": "k1", "queue_allowlist": ["no spaces"]}]', "'no spaces' is not a queue name"),
        ('[{"name": "n"}]', "[auth] API_KEYS_JSON[0][key]: Field required."),
    ],
)
def test_faulty_key_lists_are_refused(monkeypatch: pytest.MonkeyPatch, text: str, told: str) -> None:
    monkeypatch.setenv("API_KEYS_JSON", text)

    (problem,) = problems()

    assert told in problem


def test_keys_have_names_roles_and_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "ignored-because-of-the-list")
    monkeypatch.setenv(
        "API_KEYS_JSON", '[{"key": " k1 ", "role": "READ", "sse": "false", "queue_allowlist": "a, b,a"}]'
    )

    (entry,) = config.reload().key_entries

    assert (entry.name, entry.role, entry.sse, entry.queue_allowlist) == ("key-1", "read", True, ("a", "b"))
    assert entry.key.get_secret_value() == "k1"


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"API_KEY": "short-key"}, "fewer than 16 characters"),
        ({"API_AUTH_DISABLED": "1"}, "makes everybody admin"),
        ({"WORKER_QUEUE_ALLOWLIST": "no spaces"}, "'no spaces' is not a queue name"),
    ],
)
def test_an_open_address_needs_a_real_key(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], told: str
) -> None:
    for name, value in {"HOST": "0.0.0.0", **environment}.items():
        monkeypatch.setenv(name, value)

    (problem,) = problems()

    assert told in problem


def test_an_uncaught_problem_ends_the_process_with_1() -> None:
    error = ConfigError(["PORT: must be a number."])

    assert isinstance(error, SystemExit)
    assert str(error.code) == "The configuration has 1 problem:\n  - PORT: must be a number."
