"""A receiver of callbacks as people write them: slow at times, broken at times, silent at times."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import random
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.chaos.cluster import CALLBACK_SECRET
from tests.chaos.history import History

SLOW_SEC = 0.5
HANG_SEC = 4.0
"""Longer than the stack waits for an answer."""
FAULTY_TRIES = 2
"""Of each delivery; after them it is taken, or a run would end with the back-off's patience instead of its own."""


class Receiver:
    """Listens on loopback until stopped. How it treats a try follows from the seed, the delivery and the try."""

    def __init__(self, history: History, *, seed: int) -> None:
        self._history, self._seed = history, seed
        self._tries: Counter[str] = Counter()
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver._take(self)

            def log_message(self, *_args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/callback"
        self._thread = threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Give the port back."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _take(self, request: BaseHTTPRequestHandler) -> None:
        began = self._history.now()
        body = request.rfile.read(int(request.headers["content-length"]))
        delivery = request.headers["x-rauskuclaw-delivery"]
        with self._lock:
            self._tries[delivery] += 1
            tries = self._tries[delivery]
        signed = f"{request.headers.get('x-rauskuclaw-timestamp')}.".encode() + body
        mac = hmac.new(CALLBACK_SECRET.encode(), signed, hashlib.sha256).hexdigest()
        answer, wait_sec = self._mood(delivery, tries)
        time.sleep(wait_sec)
        told = json.loads(body)
        self._history.add(
            "callback",
            began=began,
            job=told["id"],
            status=told["status"],
            delivery=delivery,
            signed=request.headers.get("x-rauskuclaw-signature") == f"v1={mac}",
            answer=answer,
        )
        request.close_connection = True
        if answer:
            with contextlib.suppress(OSError):
                request.send_response(answer)
                request.end_headers()

    def _mood(self, delivery: str, tries: int) -> tuple[int, float]:
        """The answer's status (0: none, it hangs up), and the seconds before it."""
        if tries > FAULTY_TRIES:
            return 200, 0.0
        dice = random.Random(f"{self._seed}/{delivery}/{tries}")
        return dice.choices([(200, 0.0), (200, SLOW_SEC), (500, 0.0), (0, HANG_SEC)], [80, 10, 7, 3])[0]
