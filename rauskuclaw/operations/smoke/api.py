"""The HTTP API as an existing client uses it, for the smoke suites."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeVar

import httpx

from rauskuclaw.operations.smoke.steps import Failed, hold

T = TypeVar("T")
ENDED = frozenset({"succeeded", "failed", "cancelled"})
POLL_SEC, JOB_SEC = 0.5, 40.0
TAGS = ["smoke"]
NO_WORKER = "See that a worker and beat run: `manage.py doctor`."
_FIXES = {
    401: "Set API_KEY to an admin key of that server.",
    403: "Use an admin key without a queue allowlist: the suite changes job types.",
    503: "See `manage.py doctor` on the server.",
}


class Api:
    """A client.

    undo: the way back from whatever a suite changes is put there before the change. not_restored: what did not go back.
    """

    def __init__(self, http: httpx.Client, undo: ExitStack) -> None:
        self._http = http
        self._undo = undo
        self.not_restored: list[str] = []

    def get(self, path: str, status: int = 200, **more: Any) -> dict[str, Any]:
        """As `send`."""
        return self.send("GET", path, status, **more)

    def send(self, method: str, path: str, status: int, **more: Any) -> dict[str, Any]:
        """The answer's JSON object. more: as httpx takes it. Raises Failed unless it has this status."""
        answer = self._http.request(method, path, **more)
        found = _object(answer)
        if answer.status_code != status:
            error = found.get("error")
            told = f"{error.get('code')}: {error.get('message')}" if isinstance(error, dict) else answer.text[:200]
            fix = _FIXES.get(answer.status_code, "See the server's log, and that this is RauskuClaw.")
            raise Failed(f"{method} {path} answers {answer.status_code} instead of {status} ({told})", fix)
        return found

    def answers(self, within_sec: float = 0.0) -> None:
        """Health and ping, waiting up to `within_sec` for a server that is starting."""
        until = time.monotonic() + within_sec
        while True:
            try:
                hold("ok" in self.get("/health"), "/health does not say ok", "See that this is RauskuClaw's address.")
                break
            except (Failed, httpx.HTTPError):
                if time.monotonic() >= until:
                    raise
                time.sleep(POLL_SEC)
        self.get("/v1/ping")

    def enable(self, *names: str) -> None:
        """Enable job types until the suite ends."""
        types = {it["name"]: it for it in self.get("/v1/job-types")["types"]}
        missing = sorted(set(names) - types.keys())
        hold(not missing, f"there is no job type {', '.join(missing)}", "Make it: `manage.py bootstrap` seeds it.")
        for name in names:
            if not types[name]["enabled"]:
                self.afterwards("PATCH", f"/v1/job-types/{name}", {"enabled": False})
            self.send("PATCH", f"/v1/job-types/{name}", 200, json={"enabled": True})

    def afterwards(self, method: str, path: str, body: Any = None) -> None:
        """Have this sent when the suite ends, however it does. A 404 then is fine: it has gone already."""
        self._undo.callback(self._restore, method, path, body)

    def make_job(self, type_: str, input_: Any, **more: Any) -> dict[str, Any]:
        """A new job. more: further fields."""
        body = {"type": type_, "input": input_, "tags": TAGS, **more}
        job: dict[str, Any] = self.send("POST", "/v1/jobs", 201, json=body)["job"]
        return job

    def ended(self, job: dict[str, Any], within_sec: float = JOB_SEC) -> dict[str, Any]:
        """The job as soon as it has ended."""
        look = partial(self._job_if_ended, job["id"])
        return self.wait_for(look, within_sec, f"the job {job['id']} of {job['type']} has not ended", NO_WORKER)

    def wait_for(self, look: Callable[[], T | None], within_sec: float, otherwise: str, fix: str) -> T:
        """The first value of `look` that is not None. Raises Failed when there is none in time."""
        until = time.monotonic() + within_sec
        while (found := look()) is None:
            hold(time.monotonic() < until, f"{otherwise} in {within_sec:.0f} s", fix)
            time.sleep(POLL_SEC)
        return found

    def logs(self, job: dict[str, Any]) -> list[str]:
        """The messages of a job's log."""
        return [line["message"] for line in self.get(f"/v1/jobs/{job['id']}/logs", params={"tail": 2000})["logs"]]

    def must_log(self, job: dict[str, Any], message: str) -> None:
        """Raises Failed unless the job's log holds the message."""
        found = self.logs(job)
        hold(message in found, f"the job's log has no {message!r}, but {found}", f"See GET /v1/jobs/{job['id']}/logs.")

    def _job_if_ended(self, job_id: str) -> dict[str, Any] | None:
        job: dict[str, Any] = self.get(f"/v1/jobs/{job_id}")["job"]
        return job if job["status"] in ENDED else None

    def _restore(self, method: str, path: str, body: Any) -> None:
        what = f"{method} {path}" + ("" if body is None else f" {body}")
        try:
            status = self._http.request(method, path, json=body).status_code
        except httpx.HTTPError as error:
            self.not_restored.append(f"{what}: {error or type(error).__name__}")
        else:
            if status not in {200, 404}:
                self.not_restored.append(f"{what}: status {status}")


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
