"""Asks the web server whether the stack is ready."""

import http.client
import json
import threading
from contextlib import suppress
from typing import Any

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
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_ANSWER_SECONDS)
        try:
            connection.request("GET", "/ready", headers={"Accept": "application/json"})
            answer = connection.getresponse()
            body = json.loads(answer.read())
        finally:
            connection.close()
        self.checks = body.get("checks") or body.get("error", {}).get("details", {}).get("checks", {})
        return answer.status == http.HTTPStatus.OK
