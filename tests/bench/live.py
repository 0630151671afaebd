"""Live lines: one job before 1,000 subscribers, 200 jobs before 5 each; over SSE, from one web process.

Every subscriber must have every line once and in order, up to the end of the job. The delay of a line is from the
moment it was written (see `Scene.since`) to the moment its bytes are in the subscriber's hands, on one clock.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.bench import stack
from tests.bench.lab import Lab, eventually, own_python
from tests.bench.stack import API_KEY, Stack
from tests.bench.stats import median

LOGGED, WRITTEN = "the handler's log()", "the worker's write"


@dataclass(frozen=True)
class Scene:
    """jobs: how many. each: subscribers of each. lines and interval_sec: of each job. since: where a delay begins."""

    name: str
    title: str
    jobs: int
    each: int
    interval_sec: float
    since: str = WRITTEN
    burst: bool = False


SCENES = (
    Scene("one_logged", "1 job × 1,000 subscribers", 1, 1000, 0.2, since=LOGGED),
    Scene("one_written", "1 job × 1,000 subscribers", 1, 1000, 0.2),
    Scene("many_written", "200 jobs × 5 subscribers", 200, 5, 1.0),
    Scene("burst", "1 job × 1,000 subscribers, as fast as it goes", 1, 1000, 0.0, burst=True),
)


def run(lab: Lab, *, quick: bool, rounds: int | None = None) -> dict[str, Any]:
    """Measure every scene, in turn, `rounds` times."""
    rounds, seconds, burst = (1, 6, 100) if quick else (rounds or 3, 30, 300)
    stack.prepare(lab)
    found: dict[str, list[dict[str, Any]]] = {scene.name: [] for scene in SCENES}
    for number in range(rounds):
        for scene in SCENES:
            lab.settle()
            lines = burst if scene.burst else round(seconds / scene.interval_sec)
            with Stack.running(lab, WORKER_CONCURRENCY="2") as ours:
                outcome = _Play(lab, ours, scene, lines).run()
            found[scene.name].append(outcome)
            print(f"  round {number + 1}: {scene.title} ({scene.since}):", outcome)
    keys = ("deliveries_per_sec", "p50_ms", "p99_ms", "web_mib_before", "web_mib_most", "kib_a_subscriber")
    return {
        "rounds": rounds, "seconds": seconds,
        "scenes": {
            scene.name: {
                "title": scene.title, "since": scene.since, "jobs": scene.jobs, "subscribers": scene.jobs * scene.each,
                "lines_per_sec_of_a_job": None if scene.burst else 1 / scene.interval_sec,
                "lost": sum(one["lost"] for one in found[scene.name]),
                "rounds": found[scene.name],
                "median": {key: median([one[key] for one in found[scene.name]]) for key in keys},
            }
            for scene in SCENES
        },
    }  # fmt: skip


class _Play:
    """One scene on a running stack."""

    def __init__(self, lab: Lab, ours: Stack, scene: Scene, lines: int) -> None:
        self._lab, self._ours, self._scene, self._lines = lab, ours, scene, lines

    def run(self) -> dict[str, Any]:
        """Subscribe, write, compare what was written with what was received."""
        env = self._ours.env
        web = psutil.Process(self._ours.processes["web"].pid)
        # The first stream imports and connects: that is no subscriber's memory.
        self._ours.make_type("bench.ticker", "test:ticker", default_timeout_sec=3600)
        self._listen_once(env)
        before = _mib(web)
        with (
            self._lab.process("writer", own_python("-m", "tests.bench.writer"), env, pipes=True) as writer,
            self._lab.process("listeners", own_python("-m", "tests.bench.listeners"), env, pipes=True) as listeners,
        ):
            go = self._lab.folder / "go"
            go.unlink(missing_ok=True)
            ids = self._submit(go)
            if self._scene.since == WRITTEN:
                _tell(writer, {"ids": ids, "lines": self._lines, "interval_sec": self._scene.interval_sec})
                if _answer(writer)["claimed"] != len(ids):
                    raise RuntimeError("the writer could not claim its jobs")
            _tell(listeners, self._subscriptions(ids, self._scene.each))
            opened = _answer(listeners)
            if opened["refused"]:
                raise RuntimeError(f"{opened['refused']} streams were refused")
            subscribed = _mib(web)
            go.touch()
            if self._scene.since == WRITTEN:
                _tell(writer, None)
                written = _answer(writer)
            report = _answer(listeners)
            most = max(subscribed, _mib(web))
        return self._compare(report, written if self._scene.since == WRITTEN else None, before, subscribed, most)

    def _compare(
        self, report: dict[str, Any], written: dict[str, Any] | None, before: float, subscribed: float, most: float
    ) -> dict[str, Any]:
        subscribers = self._scene.jobs * self._scene.each
        expected = self._lines * subscribers
        arrived = sum(count for _, count in report["by_stream"])
        short = Counter(count for _, count in report["by_stream"] if count != self._lines)
        seconds = report["seconds"]
        return {
            "lines": self._lines * self._scene.jobs,
            "deliveries": arrived,
            "lost": expected - arrived,
            "short_streams": dict(short),
            "out_of_order": report["out_of_order"],
            "not_ended": report["not_ended"],
            "seconds": seconds,
            "writer_seconds": written["seconds"] if written else None,
            "deliveries_per_sec": round(arrived / seconds, 1),
            "p50_ms": report["delays_ms"][0],
            "p90_ms": report["delays_ms"][1],
            "p99_ms": report["delays_ms"][2],
            "max_ms": report["delays_ms"][4],
            "web_mib_before": before,
            "web_mib_subscribed": subscribed,
            "web_mib_most": most,
            "kib_a_subscriber": round((subscribed - before) * 1024 / subscribers, 1),
            "listener_cpu_share": report["cpu_share"],
        }

    def _submit(self, go: Path) -> list[str]:
        """The jobs: on a queue that no worker has, except where a real handler writes."""
        worker_runs = self._scene.since == LOGGED
        body = {
            "type": "bench.ticker",
            "queue": "default" if worker_runs else "bench",
            "input": {"lines": self._lines, "interval_sec": self._scene.interval_sec, "go": str(go)},
        }
        made = self._ours.call("POST", "/v1/jobs/batch", {"jobs": [body] * self._scene.jobs})
        ids = [result["job"]["id"] for result in made["results"]]
        if worker_runs:
            running = "SELECT count(*) FROM jobs_job WHERE status = 'running'"
            eventually(lambda: self._ours.one(running) == len(ids), what="the handler to run")
        else:
            # The window has room for 8 of a queue without workers; a claim wants a published job.
            self._ours.database.execute("UPDATE jobs_job SET published_at = now() WHERE status = 'queued'")
        return ids

    def _subscriptions(self, ids: Sequence[str], each: int) -> dict[str, Any]:
        return {
            "port": self._ours.port, "headers": {"x-api-key": API_KEY}, "each": each,
            "paths": [f"/v1/jobs/{job_id}/stream" for job_id in ids], "patience_sec": 240,
        }  # fmt: skip

    def _listen_once(self, env: dict[str, str]) -> None:
        self._ours.make_type("bench.mark", "test:sleep")
        job = self._ours.call("POST", "/v1/jobs", {"type": "bench.mark", "input": {"sleep_sec": 0}})["job"]
        with self._lab.process("warmup", own_python("-m", "tests.bench.listeners"), env, pipes=True) as listeners:
            _tell(listeners, self._subscriptions([job["id"]], 20))
            _answer(listeners)
            _answer(listeners)


def _tell(process: subprocess.Popen[bytes], what: Any) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(what).encode() + b"\n")
    process.stdin.flush()


def _answer(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("a helper process died")
    found: dict[str, Any] = json.loads(line)
    return found


def _mib(process: psutil.Process) -> float:
    return round(process.memory_info().rss / 2**20, 1)
