"""Asks the web server whether the stack is ready.

`python -m rauskuclaw.stack.probe URL` exits with 0 when the server at URL answers `/health`, with names of checks
(`worker`, `beat`) when `/ready` says that these are good, else with 1: a health check for containers.
"""

import http.client
import json
import sys
import threading
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

_PAUSE_SECONDS = 0.1
_ANSWER_SECONDS = 5.0


class ReadyProbe(threading.Thread):
    """Asks GET /ready again and again until it answers 200 or `cancel` is called.

    A thread, so that a slow answer delays neither the services' output nor Ctrl-C. It starts no processes: those must
    come from the main thread.
    """

    def __init__(self, host: str, port: int) -> None:
        super().__init__(name="ready-probe", daemon=True)
        self._host, self._port = host, port
        self._cancelled = threading.Event()
        self.ready = False
        self.checks: dict[str, Any] = {}

    def run(self) -> None:
        """Thread body."""
        while not self.ready and not self._cancelled.is_set():
            with suppress(OSError, http.client.HTTPException, ValueError):
                self.ready = self._ask()
            self._cancelled.wait(_PAUSE_SECONDS)

    def cancel(self) -> None:
        """Let the thread end; it does so after the answer it waits for."""
        self._cancelled.set()

    def good(self) -> set[str]:
        """Names of the checks that passed in the last answer."""
        return {name for name, check in self.checks.items() if check.get("ok")}

    def missing(self) -> str:
        """What the last answer complained about, for an error message."""
        bad = [f"{name}: {check.get('detail', '')}" for name, check in self.checks.items() if not check.get("ok")]
        return "; ".join(bad) or ("nothing it names" if self.checks else "the web server did not answer")

    def _ask(self) -> bool:
        is_ready, self.checks = ask(self._host, self._port)
        return is_ready


def ask(host: str, port: int, path: str = "/ready") -> tuple[bool, dict[str, Any]]:
    """Whether the answer is 200, and the checks that it tells of. Raises OSError, HTTPException, ValueError."""
    connection = http.client.HTTPConnection(host, port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", path, headers={"Accept": "application/json"})
        answer = connection.getresponse()
        body = json.loads(answer.read())
    finally:
        connection.close()
    checks = body.get("checks") or body.get("error", {}).get("details", {}).get("checks", {})
    return answer.status == http.HTTPStatus.OK, checks


def main(url: str, *names: str) -> int:
    """The exit code. names: of the checks that must be good."""
    address = urlsplit(url)
    try:
        is_ok, checks = ask(address.hostname or "", address.port or 80, "/ready" if names else "/health")
    except (OSError, http.client.HTTPException, ValueError) as error:
        sys.stderr.write(f"{url} does not answer: {error}\n")
        return 1
    bad = [f"{name}: {checks.get(name, {}).get('detail', 'unknown')}" for name in names if not _is_good(checks, name)]
    sys.stderr.write("".join(f"{line}\n" for line in bad))
    return 1 if bad or not (names or is_ok) else 0


def _is_good(checks: dict[str, Any], name: str) -> bool:
    return bool(checks.get(name, {}).get("ok"))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
