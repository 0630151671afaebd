"""A stack with real servers and tiny services, for tests that kill and stop things. Run as a process of its own.

Its environment: VAR_DIR and PORT as ever; MINI_WORKER (`good`, `stubborn`: ignores SIGTERM, `broken`: dies at once);
MINI_GATE: a file that must exist before /ready answers 200; MINI_STOP_SECONDS of the worker.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from rauskuclaw.config import Config, load
from rauskuclaw.stack.child import Service
from rauskuclaw.stack.run import run_stack

WEB = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        gate = os.environ.get("MINI_GATE")
        ok = not gate or os.path.exists(gate)
        body = json.dumps({"checks": {"gate": {"ok": ok, "detail": "open" if ok else "shut"}}}).encode()
        self.send_response(200 if ok else 503)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
HTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""

# Starts a program in a session of its own, as a job's tool would be, and waits.
WORKER = """
import os, signal, subprocess, sys, time
kind = os.environ["MINI_WORKER"]
if kind == "broken":
    sys.exit("the worker's last words")
if kind == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
tool = subprocess.Popen(["sleep", "1000"], start_new_session=True)
print("tool", tool.pid, flush=True)
time.sleep(1000)
"""


def plan(config: Config, env: Mapping[str, str]) -> tuple[None, list[Service]]:
    """No task before; a web server and a worker."""
    python = (sys.executable, "-S", "-c")
    return None, [
        Service(name="web", argv=(*python, WEB, config.host, str(config.port)), env=env, stage=3),
        Service(
            name="worker",
            argv=(*python, WORKER),
            env=env,
            stage=2,
            stop_seconds=float(os.environ["MINI_STOP_SECONDS"]),
        ),
    ]


if __name__ == "__main__":
    sys.exit(run_stack(load(), plan=plan))
