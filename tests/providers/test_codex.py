"""The Codex handler, with a program that speaks its event stream (contract 7.3)."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.handlers.base import AttemptFailed
from jobs.models import Job
from providers.codex import MAX_PROMPT_BYTES
from providers.handlers import CodexChat
from providers.models import ModelCall
from rauskuclaw import config
from tests.handlers.conftest import Context, context, cookie

__all__ = ["context", "cookie"]
FAKE = Path(__file__).with_name("fake_codex.py")


def message(text: str) -> dict[str, Any]:
    return {"type": "item.completed", "item": {"id": "item_1", "type": "agent_message", "text": text}}


DONE = {"type": "turn.completed", "usage": {"input_tokens": 90, "cached_input_tokens": 40, "output_tokens": 9}}
GOOD = {
    "lines": [{"type": "thread.started", "thread_id": "t"}, "not an event", message("First."), message("Last."), DONE]
}
BROKEN = {"lines": [{"type": "error", "message": "stream disconnected before completion"}], "exit": 1}


class Codex:
    """Runs the handler, and knows what the program saw."""

    def __init__(self, folder: Path, context: Callable[..., Context], job_id: uuid.UUID) -> None:
        self.folder, self._context, self._job_id = folder, context, job_id
        self.emitted: list[str] = []
        self.logs: list[tuple[str, str, dict[str, Any]]] = []

    def __call__(self, *runs: dict[str, Any], **given: Any) -> dict[str, Any]:
        (self.folder / "codex.json").write_text(json.dumps(runs or [GOOD]))
        made: Any = self._context(CodexChat, given or {"prompt": "Hello"}, job_id=self._job_id)
        made.emit = self.emitted.append
        self.logs = made.logs
        return CodexChat().run(made).model_dump(mode="json")

    def failure(self, *runs: dict[str, Any], **given: Any) -> AttemptFailed:
        with pytest.raises(AttemptFailed) as caught:
            self(*runs, **given)
        return caught.value

    @property
    def seen(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "seen.jsonl").read_text().splitlines()]


@pytest.fixture
def codex(
    tmp_path: Path,
    context: Callable[..., Context],
    make_job: Callable[..., Job],
    configure: Callable[..., config.Config],
) -> Codex:
    configure(
        CODEX_OSS_ENABLED=1, CODEX_OSS_MODEL="gpt-test", CODEX_CLI_PATH=FAKE, CODEX_OSS_WORKDIR=tmp_path,
        CODEX_OSS_TRANSIENT_BACKOFF_MS=0, CODEX_RUN_UID=0,
    )  # fmt: skip
    return Codex(tmp_path, context, make_job().id)


def test_the_last_message_is_the_answer(codex: Codex) -> None:
    output = codex()

    call = ModelCall.objects.get()
    assert (call.provider, call.input_tokens, call.output_tokens, call.state) == ("codex-cli", 90, 9, "settled")
    assert output["output_text"] == "Last."
    assert codex.emitted == ["First.", "Last."]
    assert (output["provider"], output["local_provider"], output["model"]) == ("codex-cli", None, "gpt-test")
    assert (output["transient_retries"], output["auth_mode"], output["raw_events_count"]) == (0, None, 4)
    assert output["usage"] == {
        "prompt_tokens": 90, "completion_tokens": 9, "total_tokens": 99, "cached_tokens": 40,
    }  # fmt: skip


COMMAND = {"type": "item.completed", "item": {"id": "item_0", "type": "command_execution", "command": "ls"}}


@pytest.mark.parametrize(
    ("lines", "given", "sources"),
    [
        ([message("Hi."), DONE], {}, None),
        ([message("Hi."), DONE], {"untrusted_text": True}, ["the conversation so far"]),
        ([COMMAND, message("Hi."), DONE], {}, ["codex's own tools"]),
    ],
    ids=["nothing", "said-by-the-client", "a-command"],
)
def test_the_answer_names_what_came_from_outside(
    lines: list[Any], given: dict[str, Any], sources: list[str] | None, codex: Codex
) -> None:
    output = codex({"lines": lines}, prompt="Hello", **given)

    assert output.get("untrusted_sources") == sources


def test_the_command_is_the_contracts(codex: Codex, tmp_path: Path) -> None:
    output = codex(
        prompt="--help", system="Be brief.", messages=[{"role": "assistant", "content": "Hi"}, {"role": "x"}]
    )

    [seen] = codex.seen
    prompt = "System:\nBe brief.\n\nassistant:\nHi\n\nuser:\n--help"
    assert seen["argv"] == [
        "exec", "--json", "--sandbox", "workspace-write", "--config", 'approval_policy="never"',
        "--skip-git-repo-check", "--cd", str(tmp_path), "-m", "gpt-test", prompt,
    ]  # fmt: skip
    assert output["command_preview"].endswith(f"-m gpt-test <prompt:{len(prompt)} chars>")


def test_a_local_model_is_asked_for_by_its_flags(codex: Codex, configure: Callable[..., config.Config]) -> None:
    configure(CODEX_EXEC_MODE="oss", CODEX_OSS_LOCAL_PROVIDER="lmstudio")

    output = codex()

    assert codex.seen[0]["argv"][:4] == ["exec", "--oss", "--local-provider", "lmstudio"]
    assert (output["provider"], output["local_provider"]) == ("codex-oss", "lmstudio")


def test_its_environment_is_a_home_of_its_own_and_nothing_of_the_workers(
    codex: Codex, configure: Callable[..., config.Config], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SOMETHING_SECRET", "hidden")
    configure(OPENAI_API_KEY="sk-for-codex", API_KEY="key-of-the-api-itself")

    codex()

    env = codex.seen[0]["env"]
    home = str(tmp_path / ".codex-home")
    assert (env["HOME"], env["XDG_CONFIG_HOME"], env["OPENAI_API_KEY"]) == (home, f"{home}/.config", "sk-for-codex")
    assert not {"SOMETHING_SECRET", "API_KEY", "DATABASE_URL", "OPENAI_BASE_URL"} & env.keys()


def test_a_login_of_its_own_keeps_the_key_away(
    codex: Codex, configure: Callable[..., config.Config], tmp_path: Path
) -> None:
    configure(OPENAI_API_KEY="sk-for-codex", OPENAI_BASE_URL="https://example.org")
    (tmp_path / ".codex-home" / ".codex").mkdir(parents=True)
    (tmp_path / ".codex-home" / ".codex" / "auth.json").write_text('{"auth_mode": "chatgpt"}')

    output = codex()

    assert output["auth_mode"] == "chatgpt"
    assert not {"OPENAI_API_KEY", "OPENAI_BASE_URL"} & codex.seen[0]["env"].keys()


def test_faults_of_its_connection_are_tried_again(codex: Codex) -> None:
    output = codex(BROKEN, BROKEN, GOOD)

    assert (output["output_text"], output["transient_retries"], len(codex.seen)) == ("Last.", 2, 3)


def test_after_so_many_tries_it_fails(codex: Codex, configure: Callable[..., config.Config]) -> None:
    configure(CODEX_OSS_TRANSIENT_RETRIES=1)

    failure = codex.failure(BROKEN)

    assert (failure.code.name, failure.retryable, len(codex.seen)) == ("PROVIDER_EXEC", True, 2)
    details = failure.details or {}
    assert set(details) == {"exit_code", "command_preview", "codex_home", "transient_retries", "auth_mode"}
    assert (details["exit_code"], details["transient_retries"]) == (1, 1)
    assert "Hello" not in str(details)


@pytest.mark.parametrize(
    ("run", "code", "said"),
    [
        ({"lines": [{"type": "turn.failed", "error": {"message": "no quota"}}]}, "PROVIDER_EXEC", "no quota"),
        ({"stderr": "no such flag", "exit": 2}, "PROVIDER_EXEC", "no such flag"),
        ({"lines": [DONE]}, "PROVIDER_RESPONSE", "without a message"),
        ({"lines": ["{", "[]"]}, "PROVIDER_RESPONSE", "without a message"),
    ],
    ids=["failed-turn", "exit-code", "no-message", "no-events"],
)
def test_each_end_without_an_answer_has_its_code(run: dict[str, Any], code: str, said: str, codex: Codex) -> None:
    failure = codex.failure(run)

    assert failure.code.name == code
    assert said in failure.message
    assert [line for line, level, meta in codex.logs if level == "error"] == ["Provider-backed handler failed"]


def test_an_error_that_it_got_over_is_none(codex: Codex) -> None:
    again = {"type": "error", "message": "Reconnecting... 1/5"}

    assert codex({"lines": [again, message("Here."), DONE]})["output_text"] == "Here."


def test_it_is_stopped_at_its_time_limit(codex: Codex, configure: Callable[..., config.Config]) -> None:
    configure(CODEX_OSS_TIMEOUT_MS=300)

    assert codex.failure({"sleep": 60}).code.name == "PROVIDER_TIMEOUT"


def test_a_program_that_is_not_installed_is_not_found(codex: Codex, configure: Callable[..., config.Config]) -> None:
    if shutil.which("codex", path="/usr/local/bin:/usr/bin:/bin"):
        pytest.skip("codex is installed here")
    configure(CODEX_CLI_PATH="/nowhere/codex")

    failure = codex.failure()

    assert (failure.code.name, failure.details) == (
        "PROVIDER_NOT_FOUND",
        {"attempted_commands": ["/nowhere/codex", "codex"]},
    )
    call = ModelCall.objects.get()
    assert (call.error_code, call.input_tokens, call.output_tokens) == ("PROVIDER_NOT_FOUND", 0, 0)


def test_a_fault_of_the_machine_is_noted_as_one(codex: Codex, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("providers.codex.Codex.answer", full)

    assert codex.failure().code.name == "PROVIDER_ERROR"
    assert ModelCall.objects.get().error_code == "PROVIDER_ERROR"


@pytest.mark.parametrize(
    ("given", "settings", "code"),
    [
        ({"prompt": " "}, {}, "PROVIDER_INPUT"),
        ({"prompt": "x" * MAX_PROMPT_BYTES}, {}, "PROVIDER_INPUT"),
        ({"prompt": "Hello"}, {"CODEX_OSS_ENABLED": 0}, "PROVIDER_DISABLED"),
        ({"prompt": "Hello"}, {"CODEX_OSS_MODEL": ""}, "PROVIDER_CONFIG"),
    ],
    ids=["blank", "too-long", "off", "no-model"],
)
def test_what_cannot_be_asked_is_told_before(
    given: dict[str, Any], settings: dict[str, Any], code: str, codex: Codex, configure: Callable[..., config.Config]
) -> None:
    configure(**settings)

    assert codex.failure(**given).code.name == code
