"""Suite m1: a key makes one job, what fails is tried again, a callback goes only where it may."""

from __future__ import annotations

import uuid

from rauskuclaw.operations.smoke.api import JOB_SEC, Api
from rauskuclaw.operations.smoke.options import Options
from rauskuclaw.operations.smoke.steps import Skipped, Steps, hold

REPORT, FETCH = "report.generate", "data.fetch"
FETCHED = "https://example.com"
FORBIDDEN_URL = "https://not-in-allowlist.invalid/callback"
RETRIED, BLOCKED = "Re-queued for retry", "Callback blocked (not allowlisted)"


def run(api: Api, steps: Steps, options: Options) -> None:
    """All six steps."""
    with steps("the server answers"):
        api.answers()
    with steps(f"{REPORT} and {FETCH} can be enabled"):
        api.enable(REPORT, FETCH)
    key = {"Idempotency-Key": f"m1-smoke-{uuid.uuid4()}"}
    body = {"type": REPORT, "input": {"title": "Smoke"}, "tags": ["smoke"]}
    with steps("the same Idempotency-Key makes one job"):
        first = api.send("POST", "/v1/jobs", 201, json=body, headers=key)
        again = api.send("POST", "/v1/jobs", 200, json=body, headers=key)
        held = (again["job"]["id"], again["idempotent"]) == (first["job"]["id"], True)
        hold(held, f"the second answer is {again}", "Report it: two jobs of one key are a fault of the server.")
    with steps("the same key with another payload is refused"):
        other = body | {"input": {"title": "Another"}}
        code = api.send("POST", "/v1/jobs", 409, json=other, headers=key)["error"]["code"]
        hold(code == "IDEMPOTENCY_CONFLICT", f"the code is {code}", "Report it: clients know IDEMPOTENCY_CONFLICT.")
    with steps(f"a {FETCH} that fails is tried again"):
        _fails_twice(api, steps)
    with steps("a callback to a host that is not allowlisted is blocked"):
        if not options.callback_allowlist:
            raise Skipped("CALLBACK_ALLOWLIST is not set, so no host is kept out by it")
        job = api.ended(api.make_job(REPORT, {"title": "Smoke"}, callback_url=FORBIDDEN_URL))
        fix = "See CALLBACKS_ENABLED and CALLBACK_SIGNING_SECRET, and that beat and a system worker run."
        look = lambda: BLOCKED in api.logs(job) or None  # noqa: E731
        api.wait_for(look, JOB_SEC, f"the log of job {job['id']} has no {BLOCKED!r}", fix)


def _fails_twice(api: Api, steps: Steps) -> None:
    job = api.ended(api.make_job(FETCH, {"url": FETCHED}, timeout_sec=5, max_attempts=2))
    if job["status"] == "succeeded":
        raise Skipped(f"{FETCH} works here: it fetched {FETCHED}, so that nothing was tried again")
    told = f"the job {job['id']} is {job['status']} after {job['attempts']} attempts"
    hold((job["status"], job["attempts"]) == ("failed", 2), told, f"See GET /v1/jobs/{job['id']}/explain.")
    api.must_log(job, RETRIED)
    steps.note(f"{job['error']['code']}, twice")
