"""Suite m3: how chat jobs are refused; with `ask` also that a model answers, which may cost money."""

from __future__ import annotations

from rauskuclaw.operations.smoke.api import Api
from rauskuclaw.operations.smoke.options import Options
from rauskuclaw.operations.smoke.steps import Skipped, Steps, hold

REFUSED = ("codex.chat.generate", "ai.chat.generate")
FAILED, COMPLETED = "Provider-backed handler failed", "Provider-backed handler completed"
CHATS = {
    "codex.chat.generate": ("codex", "CODEX_OSS_ENABLED=1"),
    "ai.chat.generate": ("openai", "OPENAI_ENABLED=1 and OPENAI_API_KEY"),
    "anthropic.chat.generate": ("anthropic", "ANTHROPIC_ENABLED=1 and ANTHROPIC_API_KEY"),
    "ollama.chat.generate": ("ollama", "OLLAMA_CHAT_ENABLED=1 and OLLAMA_CHAT_MODEL"),
}
"""Each chat type: its provider in `GET /v1/runtime/providers`, and what switches it on."""
PROVIDERS = {"codex.chat.generate": {"codex-cli", "codex-oss"}, "ai.chat.generate": {"openai"}}
"""What `result.provider` may say (contract 13)."""


def run(api: Api, steps: Steps, options: Options) -> None:
    """All five steps."""
    with steps("the server answers"):
        api.answers()
    with steps("both chat types can be enabled"):
        api.enable(*REFUSED)
    for name in REFUSED:
        with steps(f"an empty {name} is refused"):
            job = api.ended(api.make_job(name, {}))
            code = str((job["error"] or {}).get("code"))
            held = job["status"] == "failed" and code.startswith("PROVIDER_")
            hold(held, f"it ended as {job['status']} with {code}", f"See GET /v1/jobs/{job['id']}/logs.")
            api.must_log(job, FAILED)
            steps.note(code)
    with steps("a model answers"):
        if not options.ask:
            raise Skipped("only with --success or M3_SMOKE_SUCCESS=1: a model's answer may cost money")
        _answers(api, steps, options)


def switched_on(api: Api) -> str | None:
    """The first chat type whose provider is switched on."""
    providers = api.get("/v1/runtime/providers")["providers"]
    return next((name for name, (provider, _) in CHATS.items() if providers[provider]["enabled"]), None)


def _answers(api: Api, steps: Steps, options: Options) -> None:
    name = options.chat_type or switched_on(api) or REFUSED[0]
    api.enable(name)
    job = api.ended(
        api.make_job(name, {"prompt": options.prompt}, timeout_sec=options.timeout_sec), options.timeout_sec
    )
    error = job["error"] or {}
    fix = f"docs/providers.md says what the code means; {CHATS[name][1]} switch it on." if name in CHATS else (
        "docs/providers.md says what the code means."
    )  # fmt: skip
    held = job["status"] == "succeeded"
    hold(held, f"{name} ended as {job['status']} with {error.get('code')}: {error.get('message')}", fix)
    result = job["result"]
    hold(result["output_text"], f"{name} answered nothing", "Try another model, or M3_SMOKE_SUCCESS_PROMPT.")
    known = PROVIDERS.get(name, {result["provider"]})
    hold(result["provider"] in known, f"the provider is {result['provider']}, not one of {sorted(known)}", fix)
    api.must_log(job, COMPLETED)
    steps.note(f"{result['provider']}, {result['model']}: {' '.join(result['output_text'].split())[:60]}")
