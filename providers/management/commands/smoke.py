"""`manage.py smoke`: tries the chat jobs of a running server over HTTP, as existing clients' suite m3 does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from django.core.management.base import CommandParser

from rauskuclaw.config import Config, load
from rauskuclaw.errors import CONFLICT, VALIDATION_ERROR, Problem
from rauskuclaw.operations.command import Answer, OperatorCommand

CHAT_TYPES = ("codex.chat.generate", "ai.chat.generate")
PROMPT = "Reply with exactly this text and nothing else: smoke test passed"
REFUSED_SEC, ANSWERED_SEC, POLL_SEC = 40.0, 180.0, 0.5


class Command(OperatorCommand):
    """Suite m3: an empty chat is refused by its code; with --success a model really answers."""

    help = "Try the chat jobs of a running server over HTTP."

    def add_own_arguments(self, parser: CommandParser) -> None:
        """Which suite, against which server."""
        parser.add_argument("--suite", choices=["m3"], default="m3", help="m3: chat jobs and their providers")
        parser.add_argument("--success", action="store_true", help="also ask a provider, which may cost money")
        parser.add_argument("--type", default="ai.chat.generate", help="which chat to ask then")
        parser.add_argument("--prompt", default=PROMPT, help="what to ask")
        parser.add_argument("--api", default="", help="address of the server; default: that of this configuration")

    def answer(self, *, verb: str = "smoke", **options: Any) -> Answer:
        """Run the suite; it changes nothing but the jobs that it makes."""
        suite, api, success_type = options["suite"], options["api"], options["type"] if options["success"] else ""
        config, facts = load(), {"command": verb, "suite": suite}
        headers = {config.api_key_header: _key(config)}
        with httpx.Client(base_url=api or _address(config), headers=headers, timeout=30, trust_env=False) as http:
            try:
                steps = list(_steps(http, success_type, options["prompt"]))
            except (AssertionError, httpx.HTTPError) as error:
                return Answer("", problem=Problem(CONFLICT, f"The smoke suite {suite} failed: {error}"))
        return Answer("\n".join([*(f"✓ {step}" for step in steps), f"passed: {suite}"]), {**facts, "steps": steps})


def _steps(http: httpx.Client, success_type: str, prompt: str) -> Iterator[str]:
    """Each step that held. Raises AssertionError for the first that did not."""
    for path in ("/health", "/v1/ping"):
        _hold(http.get(path).json().get("ok") is True, f"GET {path} does not answer ok")
    yield "the server answers"
    with _enabled(http, {*CHAT_TYPES, success_type} - {""}):
        for name in CHAT_TYPES:
            job = _ended(http, name, {}, REFUSED_SEC)
            code = str((job["error"] or {}).get("code"))
            _hold(job["status"] == "failed" and code.startswith("PROVIDER_"), f"an empty {name} ended with {code}")
            _hold(_has_line(http, job, "Provider-backed handler failed"), f"the log of an empty {name} says nothing")
            yield f"an empty {name} is refused with {code}"
        if success_type:
            job = _ended(http, success_type, {"prompt": prompt}, ANSWERED_SEC)
            error = (job["error"] or {}).get("message")
            _hold(job["status"] == "succeeded", f"{success_type} ended as {job['status']}: {error}")
            _hold(bool(job["result"]["output_text"]), f"{success_type} answered nothing")
            _hold(_has_line(http, job, "Provider-backed handler completed"), f"the log of {success_type} says nothing")
            yield f"{success_type} answered through {job['result']['provider']}, {job['result']['model']}"


@contextmanager
def _enabled(http: httpx.Client, names: set[str]) -> Iterator[None]:
    """The job types are enabled in between; then each is as it was."""
    before = {it["name"]: it["enabled"] for it in http.get("/v1/job-types").json().get("types", ())}
    _hold(names <= before.keys(), f"the server has no job type {', '.join(sorted(names - before.keys()))}")
    try:
        for name in names:
            answer = http.patch(f"/v1/job-types/{name}", json={"enabled": True})
            _hold(answer.status_code == 200, f"{name} cannot be enabled: status {answer.status_code}")
        yield
    finally:
        for name in names:
            http.patch(f"/v1/job-types/{name}", json={"enabled": before[name]})


def _ended(http: httpx.Client, type_: str, given: dict[str, Any], within_sec: float) -> dict[str, Any]:
    answer = http.post("/v1/jobs", json={"type": type_, "input": given, "tags": ["smoke"]})
    _hold(answer.status_code == 201, f"a job of {type_} is refused with status {answer.status_code}")
    path, until = f"/v1/jobs/{answer.json()['job']['id']}", time.monotonic() + within_sec
    while True:
        job: dict[str, Any] = http.get(path).json()["job"]
        if job["status"] in {"succeeded", "failed", "cancelled"}:
            return job
        _hold(time.monotonic() < until, f"a job of {type_} has not ended in {within_sec:.0f} s; is a worker running?")
        time.sleep(POLL_SEC)


def _has_line(http: httpx.Client, job: dict[str, Any], message: str) -> bool:
    return any(line["message"] == message for line in http.get(f"/v1/jobs/{job['id']}/logs").json()["logs"])


def _hold(condition: bool, otherwise: str) -> None:
    if not condition:
        raise AssertionError(otherwise)


def _key(config: Config) -> str:
    """A configured key, else the one that `make up` has made. Raises VALIDATION_ERROR."""
    if config.key_entries:
        return config.key_entries[0].key.get_secret_value()
    kept = config.var_dir / "secrets" / "api_key"
    if not kept.exists():
        raise Problem(VALIDATION_ERROR, "No API key is known here: set API_KEY.")
    return kept.read_text("utf-8").strip()


def _address(config: Config) -> str:
    host = "127.0.0.1" if config.host in {"0.0.0.0", "::"} else config.host  # noqa: S104 - compared, not bound
    return f"http://{host}:{config.port}"
