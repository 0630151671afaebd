"""The stack under test: the supervisor of `make up` with more of everything. Run as a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import psycopg
import redis

from rauskuclaw.config import Config, load
from rauskuclaw.stack.child import Service
from rauskuclaw.stack.files import keep_port
from rauskuclaw.stack.run import run_stack
from rauskuclaw.stack.services import app_services, bootstrap
from tests.chaos.evidence import Pause
from tests.chaos.kinds import QUEUE_LIMITS, TYPES
from tests.running import API_KEY, RunningStack, wait_until

WEBS = ("web-1", "web-2")
WORKERS = ("worker-1", "worker-2", "worker-3")
BEATS = ("beat-1", "beat-2")
IOS = ("io-1", "io-2")
SYSTEMS = ("system-1", "system-2")
ODD_CLOCK = ("web-2", "worker-3", "io-2", "system-2", "beat-2")
"""The second machine, as it were: these read the wall clock through libfaketime."""

LEASE_SEC = 5
POOL_PROCESSES = 6
CALLBACK_SECRET = "secret-of-the-chaos-run-and-its-receiver"


def plan(config: Config, env: Mapping[str, str]) -> tuple[Service, list[Service]]:
    """What `make up` runs, several times over."""
    second_port = int(Path(os.environ["CHAOS_SECOND_PORT"]).read_text("ascii"))
    ports = dict(zip(WEBS, (config.port, second_port), strict=True))
    services = []
    for name in (*WORKERS, *IOS, *SYSTEMS, *BEATS, *WEBS):
        kind = name.partition("-")[0]
        own = config.model_copy(update={"port": ports.get(name, config.port)})
        own_env = {**env, "WORKER_ID": name, **(_odd_clock(config.var_dir) if name in ODD_CLOCK else {})}
        like = next(service for service in app_services(own, own_env) if service.name == kind)
        services.append(replace(like, name=name))
    return bootstrap(env), services


def faketime_library() -> Path | None:
    """The library that shifts a process's wall clock; None where it is not installed or not made for this machine."""
    package = find_spec("libfaketime")
    if package is None or package.origin is None or os.uname().machine != "x86_64":
        return None
    return Path(package.origin).parent / "vendor/libfaketime/src/libfaketime.so.1"


def _odd_clock(var_dir: Path) -> dict[str, str]:
    if (library := faketime_library()) is None:
        return {}
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(var_dir / "clock"),
        "FAKETIME_CACHE_DURATION": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


class Cluster(RunningStack):
    """The stack, seen from outside."""

    module = "tests.chaos.cluster"

    def __init__(self) -> None:
        super().__init__(
            LEASE_SEC=str(LEASE_SEC), WORKER_CONCURRENCY=str(POOL_PROCESSES), WORKER_LOST_LIMIT="10",
            WORKER_QUEUE_ALLOWLIST=",".join(["default", *QUEUE_LIMITS]), LOG_LEVEL="WARNING",
            CALLBACK_ALLOWLIST="127.0.0.1", CALLBACK_TIMEOUT_SEC="2",
            CALLBACK_SIGNING_ENABLED="1", CALLBACK_SIGNING_SECRET=CALLBACK_SECRET,
        )  # fmt: skip
        self.ledger = self.folder / "ledger"
        self.paused: set[tuple[str, str]] = set()
        """What of the API (`queues` or `job-types`) is paused now, by name."""
        self.pauses: list[Pause] = []
        """Those that were."""
        port_file = self.folder / "second.port"
        self.bases = [f"http://127.0.0.1:{port}" for port in (self.port, keep_port(port_file))]
        self._environment["CHAOS_SECOND_PORT"] = str(port_file)
        self._shared_memory = set(_faketime_shares())
        self.var.mkdir(mode=0o711)
        self.set_clock(0)

    def start(self) -> None:
        """Start it; make the job types and limits; begin to note every change of a status in a table of our own."""
        super().start()
        wait_until(lambda: httpx.get(f"{self.bases[1]}/health").status_code == 200, what="the second web")
        for name, job_type in TYPES.items():
            answer = self.http.post("/v1/job-types", json=job_type.body(name))
            assert answer.status_code == 201, answer.text
        for name, limit in QUEUE_LIMITS.items():
            answer = self.http.patch(f"/v1/queues/{name}", json={"max_running": limit})
            assert answer.status_code == 200, answer.text
        with self.database() as database:
            database.execute(NOTE_TRANSITIONS)

    def stop(self) -> None:
        """Stop it, and remove what killed processes left in shared memory."""
        super().stop()
        for path in set(_faketime_shares()) - self._shared_memory:
            path.unlink(missing_ok=True)

    def database(self) -> psycopg.Connection[Any]:
        """A connection of our own. Raises psycopg.OperationalError while Postgres is away."""
        url = self.address("DATABASE_URL")
        return psycopg.connect(url, connect_timeout=3, autocommit=True, application_name="chaos")

    def redis(self) -> redis.Redis:
        """A client of our own, which fails soon."""
        return redis.Redis.from_url(self.address("REDIS_URL"), socket_timeout=2, socket_connect_timeout=2)

    def set_clock(self, shift_sec: int) -> None:
        """Shift the wall clock of the ODD_CLOCK services, from within a second."""
        (self.var / "clock").write_text(f"{shift_sec:+d}s")

    @property
    def headers(self) -> dict[str, str]:
        """What a client sends to be let in."""
        return {"x-api-key": API_KEY}


def _faketime_shares() -> list[Path]:
    return [*Path("/dev/shm").glob("faketime_shm_*"), *Path("/dev/shm").glob("sem.faketime_sem_*")]


# Seen by Postgres itself: no client has to look at the right moment. A transition and the log line that goes with it
# share their (sub)transaction, which the xmin of both rows tells; top is the transaction's own. A deferred
# trigger notes when a job's transaction commits, which under load is seconds after its first statement.
NOTE_TRANSITIONS = """
CREATE TABLE chaos_transition (
    id bigserial PRIMARY KEY, job_id uuid, old text, new text, fence int, at timestamptz DEFAULT clock_timestamp(),
    xid bigint, top bigint DEFAULT (pg_current_xact_id()::text::numeric % 4294967296)::bigint
);
CREATE FUNCTION chaos_note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO chaos_transition (job_id, old, new, fence, xid)
    SELECT NEW.id, CASE WHEN TG_OP = 'UPDATE' THEN OLD.status END, NEW.status, NEW.fence, j.xmin::text::bigint
    FROM jobs_job AS j WHERE j.id = NEW.id;
    RETURN NULL;
END $$;
CREATE TABLE chaos_commit (job_id uuid PRIMARY KEY, at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION chaos_note_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO chaos_commit (job_id) VALUES (NEW.id);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER chaos_committed AFTER INSERT ON jobs_job DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION chaos_note_commit();
CREATE TRIGGER chaos_created AFTER INSERT ON jobs_job FOR EACH ROW EXECUTE FUNCTION chaos_note();
CREATE TRIGGER chaos_changed AFTER UPDATE ON jobs_job FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION chaos_note();
"""


if __name__ == "__main__":
    sys.exit(run_stack(load(), plan=plan))
