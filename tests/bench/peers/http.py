"""Submits over HTTP: one keep-alive connection for `one`, 16 for `each`, and batches of 500 for `bulk` where there are.

BENCH_HTTP: JSON with port, headers, one (path, body) and, for RauskuClaw, batch (path, body for 500 jobs, chunk).
"""

from __future__ import annotations

import http.client
import json
import os
import time
from typing import Any

from tests.bench.loadgen import Load, run
from tests.bench.peers.submitting import serve

CONNECTIONS = 16
IDLE_SEC = 2.0
"""The server closes a connection that idles for 5 s."""


def main() -> None:
    """Submit what is asked for."""
    spec: dict[str, Any] = json.loads(os.environ["BENCH_HTTP"])
    connection = http.client.HTTPConnection("127.0.0.1", spec["port"], timeout=60)
    used_at = 0.0

    def one() -> None:
        nonlocal used_at
        if time.monotonic() - used_at > IDLE_SEC:
            connection.close()  # the next request opens it anew
        connection.request("POST", spec["one"]["path"], spec["one"]["body"].encode(), spec["headers"])
        answer = connection.getresponse()
        answer.read()
        used_at = time.monotonic()
        if answer.status != 201:
            raise RuntimeError(f"answered {answer.status}")

    def load(part: dict[str, Any], requests: int, connections: int) -> None:
        outcome = run(Load(spec["port"], part["path"], part["body"], spec["headers"], connections, requests=requests))
        if outcome["refused"]:
            raise RuntimeError(f"{outcome['refused']} requests were refused")

    def bulk(count: int) -> None:
        if count % spec["batch"]["jobs"]:
            raise ValueError(f"the number of jobs must be a multiple of {spec['batch']['jobs']}")
        load(spec["batch"], count // spec["batch"]["jobs"], 1)

    serve(
        one=one,
        each=lambda count: load(spec["one"], count, CONNECTIONS),
        bulk=bulk if spec.get("batch") else None,
    )


if __name__ == "__main__":
    main()
