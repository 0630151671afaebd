"""`manage.py smoke` against a running stack: the suites hold, what they changed is put back, and faults are told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rauskuclaw.config import ROOT
from tests.modelserver import ModelServer, Pause, Reply, model_server
from tests.operations.conftest import Manage, Ran
from tests.running import API_KEY, RunningStack, running_stack

pytestmark = [pytest.mark.stack, pytest.mark.xdist_group("smoke stack")]

Smoke = Callable[..., Ran]


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with model_server() as running:
        yield running
        running.stopping.set()


@pytest.fixture(scope="module")
def stack(server: ModelServer) -> Iterator[RunningStack]:
    models = {"OPENAI_ENABLED": "1", "OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": server.key}
    with running_stack(**models, OPENAI_MODEL="gpt-test", CALLBACK_ALLOWLIST="127.0.0.1") as running:
        yield running


@pytest.fixture
def smoke(stack: RunningStack, configure: Callable[..., Any], manage: Manage) -> Smoke:
    """`smoke("m1", ...)` runs a suite; the address and the key are in the environment, as of the first server's."""

    def run(suite: str, *arguments: str, **environment: str) -> Ran:
        configure(**({"API_BASE": str(stack.http.base_url), "API_KEY": API_KEY, "API_KEYS_JSON": ""} | environment))
        return manage("smoke", f"--suite={suite}", *arguments)

    return run


def enabled(stack: RunningStack) -> dict[str, bool]:
    return {it["name"]: it["enabled"] for it in stack.http.get("/v1/job-types").json()["types"]}


def states(ran: Ran) -> list[str]:
    return [it["state"] for it in ran.json["steps"]]


def test_m1_holds_and_leaves_job_types_as_they_were(stack: RunningStack, smoke: Smoke) -> None:
    stack.http.patch("/v1/job-types/report.generate", json={"enabled": False})
    before = enabled(stack)

    ran = smoke("m1", "--json", CALLBACK_ALLOWLIST="127.0.0.1")

    assert (ran.code, ran.json["ok"], ran.json["command"], ran.json["suite"]) == (0, True, "smoke", "m1"), ran.out
    assert states(ran) == ["passed"] * 6
    assert enabled(stack) == before
    assert before["report.generate"] is False


def test_m1_skips_the_allowlist_where_there_is_none_and_tells_each_step(smoke: Smoke) -> None:
    ran = smoke("m1")

    assert ran.code == 0, ran.out
    assert [line[:3] for line in ran.out.splitlines()[1:7]] == [f"{number}/6" for number in range(1, 7)]
    assert "6/6  a callback to a host that is not allowlisted is blocked … skipped: CALLBACK_ALLOWLIST" in ran.out
    assert ran.out.splitlines()[-1].startswith("m1 passed (")
    assert "1 skipped" in ran.out.splitlines()[-1]


def test_m1_skips_the_retry_where_the_fetch_works(stack: RunningStack, smoke: Smoke) -> None:
    # There is no network here; a handler that cannot fail is as good as one.
    path, handler = "/v1/job-types/data.fetch", "builtin:data.fetch"
    assert stack.http.patch(path, json={"handler": "builtin:report.generate"}).status_code == 200
    try:
        ran = smoke("m1", "--json")
    finally:
        stack.http.patch(path, json={"handler": handler})

    assert ran.code == 0, ran.out
    assert (states(ran)[4], "https://example.com" in ran.json["steps"][4]["detail"]) == ("skipped", True)


def test_m3_shows_how_chats_are_refused_and_asks_a_model_when_told(stack: RunningStack, smoke: Smoke) -> None:
    before = enabled(stack)

    quiet, asked = smoke("m3", "--json"), smoke("m3", "--success", "--json")

    assert (quiet.code, states(quiet)) == (0, ["passed"] * 4 + ["skipped"]), quiet.out
    assert (asked.code, states(asked)) == (0, ["passed"] * 5), asked.out
    assert asked.json["steps"][3]["detail"].startswith("PROVIDER_")
    assert asked.json["steps"][4]["detail"].startswith("openai, gpt-test: ")
    assert enabled(stack) == before


def test_m4_finds_a_memory_runs_a_schedule_and_keeps_an_answer(stack: RunningStack, smoke: Smoke) -> None:
    before = enabled(stack)

    ran = smoke("m4", "--json")

    assert (ran.code, states(ran)) == (0, ["passed"] * 6), ran.out
    assert stack.http.get("/v1/schedules").json()["schedules"] == []
    assert stack.http.get("/v1/memory").json()["memories"] == []
    assert enabled(stack) == before


def test_m4_does_without_a_model_when_told(smoke: Smoke) -> None:
    ran = smoke("m4", "--json", M4_SMOKE_CHAT_WRITEBACK="0")

    assert (ran.code, states(ran)) == (0, ["passed"] * 5 + ["skipped"]), ran.out


def test_a_step_that_does_not_hold_fails_the_suite_and_says_what_to_do(stack: RunningStack, smoke: Smoke) -> None:
    before = enabled(stack)

    ran = smoke("m3", "--json", M3_SMOKE_SUCCESS="1", M3_SMOKE_SUCCESS_TYPE="codex.chat.generate")

    assert (ran.code, ran.json["ok"], ran.json["error"], ran.json["suite"]) == (1, False, "smoke_failed", "m3")
    assert "PROVIDER_DISABLED" in ran.json["message"]
    assert "CODEX_OSS_ENABLED=1" in ran.json["hint"]
    assert states(ran) == ["passed"] * 4 + ["failed"]
    assert enabled(stack) == before


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_what_was_changed_is_put_back_when_the_suite_is_interrupted(
    stack: RunningStack, server: ModelServer, ending: signal.Signals
) -> None:
    before, pause = enabled(stack), Pause()
    server.answer(Reply("Hel", pause, "lo"))
    command = [sys.executable, "manage.py", "smoke", "--suite=m3", "--success", "--api", str(stack.http.base_url)]
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"API_KEY": API_KEY, "VAR_DIR": str(stack.var)}, stdout=subprocess.PIPE
    )
    try:
        assert pause.reached.wait(60)
        during = enabled(stack)
        process.send_signal(ending)
        out = process.communicate(timeout=60)[0].decode()
    finally:
        process.kill()
        pause.release()

    assert process.returncode == 130, out
    assert (before["ai.chat.generate"], during["ai.chat.generate"]) == (False, True)
    assert enabled(stack) == before
    assert "5/5  a model answers … \n" in out


def test_a_key_that_is_refused_and_a_server_that_is_away_are_told(smoke: Smoke) -> None:
    refused = smoke("m1", "--json", API_KEY="a-key-that-nobody-knows")
    away = smoke("m1", API_BASE="http://127.0.0.1:1")

    assert (refused.code, refused.json["error"]) == (1, "smoke_failed")
    assert ("UNAUTHORIZED" in refused.json["message"], "API_KEY" in refused.json["hint"]) == (True, True)
    assert (away.code, "does not answer" in away.out, "--api" in away.out) == (1, True, True)


def test_without_a_key_or_with_a_missing_file_it_does_not_begin(smoke: Smoke, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")

    keyless = smoke("m1", "--json", API_KEY="", VAR_DIR=nowhere)
    fileless = smoke("m1", "--json", ENV_FILE=nowhere)
    wrong = smoke("m1", "--success", "--json")

    assert [(it.code, it.json["error"]) for it in (keyless, fileless)] == [
        (2, "missing_api_key"),
        (2, "missing_env_file"),
    ]
    assert (wrong.code, wrong.json["error"]["code"]) == (2, "VALIDATION_ERROR")


def test_a_file_names_the_server_and_the_key(stack: RunningStack, smoke: Smoke, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text(f"API_BASE={stack.http.base_url}\nAPI_KEY='{API_KEY}'\n", "utf-8")

    ran = smoke("m3", "--json", API_BASE="", API_KEY="", ENV_FILE=str(file))

    assert (ran.code, json.loads(ran.out)["ok"]) == (0, True), ran.out
