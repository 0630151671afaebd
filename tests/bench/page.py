"""`docs/benchmarks.md`, made from the raw JSON beside it: nothing on the page is typed by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench import charts
from tests.bench.goals import goals
from tests.bench.plans import BOUND
from tests.bench.posts import BATCH_CONNECTIONS, CONNECTIONS

Results = dict[str, dict[str, Any]]

_HEAD = """# Benchmarks

<!-- made by `make bench` from the JSON in {folder}/: run it, do not edit -->

Everything is measured beside something else in the same run: the same servers, the same number of worker processes,
rounds that alternate. Compare the ratios; the absolute numbers belong to the machine below. `make bench` repeats all of
it; the raw numbers of every round are in [{folder}/]({folder}/).
{warning}"""
_QUICK = """
> **Made by a quick run**: one short round each. It proves that everything runs, and no number of it is to be quoted.
"""

_LIMITS = """## What this does not show

- One machine: clients, servers and workers share its cores, so a contender that leaves more to the servers has less
  left for itself, and no network lies between the parts. Ratios on separate machines will differ.
- A no-op measures what a job costs beside its work. Where the work takes seconds, these differences do not matter.
- RauskuClaw's no-op says that it is short, as a handler may that only computes: in bulk, such jobs share messages, claims
  and ends ([ADR 27](adr/0027-bundles-of-short-jobs.md)). Of jobs that do not say so, 790 to 820 a second ran in bulk.
- The contenders do not promise the same. The Redis queues keep no row and forget a message that a killed worker held
  (bare Celery, as set up here) or find it only after a time-out; Procrastinate and RauskuClaw write to Postgres with
  fsync before they answer; RauskuClaw also writes attempts and log lines and announces them live.
- RQ's SimpleWorker gives up RQ's isolation for speed; its usual worker forks for each job and is several times slower.
- The peers were set up as their documentation advises for throughput. Their experts may know better settings.
- Live lines were received by one process on the same machine, over SSE, from one web process.
- The memory slope is as good as its interval. A soak of minutes can rule out a fast leak and no slow one.
- Finished jobs in the growth tables are alike: three log lines, one attempt, small inputs. Backlogs are short there.
"""


def write(folder: Path) -> Path:
    """Write the page beside `folder` and the charts into it; the page's path. Sections without JSON are left out."""
    results: Results = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))}
    quick = any(one["quick"] for one in results.values())
    parts = [_HEAD.format(folder=folder.name, warning=_QUICK if quick else "")]
    parts.append(_goals(results))
    sections = {
        "throughput": _throughput, "posts": _posts, "live": _live, "waiting": _waiting, "growth": _growth,
        "schedules": _schedules, "retention": _retention,
        "memory": _memory, "recall": _recall,
    }  # fmt: skip
    for name, section in sections.items():
        if name in results:
            parts.append(section(results[name]["result"], folder))
    parts += [_machine(results), _LIMITS]
    path = folder.with_name("benchmarks.md")
    path.write_text("\n".join(part.strip() + "\n" for part in parts), "utf-8")
    return path


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _chart(folder: Path, name: str, svg: str) -> str:
    (folder / f"{name}.svg").write_text(svg, "utf-8")
    return f"![{name}]({folder.name}/{name}.svg)"


def _goals(results: Results) -> str:
    rows = [(goal.what, goal.wanted, goal.measured, goal.verdict) for goal in goals(results)]
    return "## Goals\n\n" + _table(("what", "goal", "measured", "met"), rows)


def _throughput(result: dict[str, Any], folder: Path) -> str:
    titles = {name: one["title"] for name, one in result["contenders"].items()}
    rates = {name: result["median_per_sec"][name] for name in sorted(result["median_per_sec"], key=_by_rate(result))}
    shown = {f"{titles[name.split('/')[0]]}, {_how(name)}": rate for name, rate in rates.items()}
    ours = [f"{titles[name.split('/')[0]]}, {_how(name)}" for name in rates if name.startswith("rauskuclaw")]
    celery = result["median_per_sec"]["celery/each"]
    rate_rows = [
        (
            f"{titles[name.split('/')[0]]}, {_how(name)}", f"{rate:,.0f}", f"{rate / celery:.2f}",
            f"{min(result['rates_per_sec'][name]):,.0f}–{max(result['rates_per_sec'][name]):,.0f}",
        )
        for name, rate in rates.items()
    ]  # fmt: skip
    waits = result["median_start_ms"]
    bare = waits["celery"]
    wait_rows = [
        (
            titles[name], f"{one['p50']:.2f}", f"{one['p99']:.2f}", f"{one['p50_after_return']:.2f}",
            f"{one['p99_after_return']:.2f}", f"{one['p50'] / bare['p50']:.2f}", f"{one['p99'] / bare['p99']:.2f}",
        )
        for name, one in waits.items()
    ]  # fmt: skip
    settings = "\n".join(f"- **{one['title']}**: {one['setting']}." for one in result["contenders"].values())
    jobs_chart = _chart(
        folder, "jobs-per-second", charts.bars("No-op jobs a second", shown, unit="more is better", ours=ours)
    )
    starts = {titles[name]: one["p50"] for name, one in waits.items()}
    start_chart = _chart(
        folder, "start-latency",
        charts.bars("Start latency, p50", starts, unit="ms, less is better", ours=[t for t in starts if "Rausku" in t]),
    )  # fmt: skip
    return f"""## No-op jobs

{result["jobs"]:,} jobs a round, {result["rounds"]} rounds, 2 worker processes each. The clock runs from the first submitting call to the
end of the last job; for RauskuClaw, until its last row is terminal.

{jobs_chart}

{_table(("contender", "jobs a second", "× bare Celery", "rounds"), rate_rows)}

### From submitting to started

One job at a time on idle workers, {result["single_jobs"]} a round. *From the call* counts from before the submitting call, with
all that it writes; *after it* from its return, so it can be below zero.

{start_chart}

{_table(("ms", "p50 from the call", "p99", "p50 after it", "p99", "p50 × Celery", "p99 × Celery"), wait_rows)}

{settings}
"""


def _by_rate(result: dict[str, Any]) -> Any:
    return lambda name: -result["median_per_sec"][name]


def _how(name: str) -> str:
    return {"each": "a call each", "bulk": "in bulk"}[name.split("/")[1]]


def _posts(result: dict[str, Any], folder: Path) -> str:
    median, ratio = result["median"], result["ratio"]

    def rows(
        ours: str, bare: str, connections: Sequence[int], factor: int, ratio_name: str = ""
    ) -> list[Sequence[Any]]:
        return [
            (
                count, f"{median[f'{ours}/{count}']['per_sec'] * factor:,.0f}",
                f"{median[f'{bare}/{count}']['per_sec'] * factor:,.0f}", f"{ratio[f'{ratio_name or ours}/{count}']:.2f}",
                f"{median[f'{ours}/{count}']['p50_ms']:.1f} / {median[f'{ours}/{count}']['p99_ms']:.1f}",
                f"{median[f'{bare}/{count}']['p50_ms']:.1f} / {median[f'{bare}/{count}']['p99_ms']:.1f}",
                *(f"{median[f'{n}/{count}']['web_cpu_ms']:.2f} + {median[f'{n}/{count}']['postgres_cpu_ms']:.2f}" for n in (ours, bare)),
            )
            for count in connections
        ]  # fmt: skip

    share = max(one["generator_cpu_share"] for one in median.values())
    titles = {"bare": "bare view", "bare_bridged": "bare view, our bridge", "rauskuclaw": "POST /v1/jobs"}
    bars = {
        f"{title}, {count} connections": median[f"{name}/{count}"]["per_sec"]
        for count in CONNECTIONS
        for name, title in titles.items()
        if f"{name}/{count}" in median
    }
    chart = _chart(
        folder, "posts-per-second",
        charts.bars("Requests a second", bars, unit="more is better", ours=[name for name in bars if "POST" in name]),
    )  # fmt: skip
    head = (
        "connections",
        "RauskuClaw",
        "bare view",
        "ratio",
        "p50 / p99 ms",
        "bare p50 / p99 ms",
        "CPU ms a request, web + Postgres",
        "bare",
    )
    bridged = ""
    if "bare_bridged/1" in median:  # older results have none
        bridged = f"""
The same view on RauskuClaw's bridge to WSGI, which goes once between event loop and thread where a2wsgi goes five times:

{_table(head, rows("rauskuclaw", "bare_bridged", CONNECTIONS, 1, "rauskuclaw_to_bridged"))}
"""
    return f"""## Accepting jobs over HTTP

`POST /v1/jobs` beside a bare Django view that does one INSERT: no authentication, no validation, no middleware. Both are
one uvicorn process with 16 threads. No worker runs. {result["rounds"]} rounds of {result["seconds"]:.0f} s each. The view is on a2wsgi as it comes:

{chart}

{_table(head, rows("rauskuclaw", "bare", CONNECTIONS, 1))}
{bridged}
Batches of {result["batch"]} jobs, in jobs a second; the bare view does one INSERT of {result["batch"]} rows:

{_table(head, rows("rauskuclaw_batch", "bare_batch", BATCH_CONNECTIONS, result["batch"]))}

The load generator is uvloop with httptools, in a process of its own. It used at most {share:.0%} of one core (medians), so it
was not what was measured.
"""


def _live(result: dict[str, Any], folder: Path) -> str:
    rows = [
        (
            f"{scene['title']}, from {scene['since']}",
            "all at once" if scene["lines_per_sec_of_a_job"] is None else f"{scene['lines_per_sec_of_a_job']:g}",
            f"{scene['median']['deliveries_per_sec']:,.0f}", f"{scene['median']['p50_ms']:.0f}",
            f"{scene['median']['p99_ms']:.0f}", scene["lost"], f"{scene['median']['web_mib_before']:.0f}",
            f"{scene['median']['web_mib_most']:.0f}", f"{scene['median']['kib_a_subscriber']:.0f}",
        )
        for scene in result["scenes"].values()
    ]  # fmt: skip
    bars = {
        f"{scene['title']} ({'log()' if 'log' in scene['since'] else 'write'})": scene["median"]["p99_ms"]
        for scene in result["scenes"].values()
        if scene["lines_per_sec_of_a_job"] is not None
    }
    chart = _chart(
        folder, "live-delay", charts.bars("Live lines, p99 delay", bars, unit="ms, less is better", ours=list(bars))
    )
    head = (
        "scene", "lines a second of a job", "lines received a second", "p50 ms", "p99 ms", "lost", "web MiB before",
        "web MiB most", "KiB a subscriber",
    )  # fmt: skip
    return f"""## Live lines

Over SSE, from one web process, to subscribers in one process on the same machine. {result["rounds"]} rounds of {result["seconds"]} s. *From the
handler's log()* includes the buffer that gathers a job's lines; *from the worker's write* counts from before the statement.
Lost: lines that a subscriber did not get before its stream ended. Every stream's ids were checked for order.

{chart}

{_table(head, rows)}
"""


def _waiting(result: dict[str, Any], _folder: Path) -> str:
    titles = {
        "worker": "I/O worker, the whole way", "threads": "bare client, a thread each", "asyncio": "bare client, asyncio",
    }  # fmt: skip
    rows = [
        (titles[how], f"{one['rss_idle_mib']:.0f}", f"{one['rss_peak_mib']:.0f}", f"{one['all_open_after_sec']:.1f}")
        for how, one in result["ways"].items()
    ]
    worker = result["ways"]["worker"]
    ends = worker["cancel_to_disconnect_ms"]
    return f"""## Jobs that wait for the network

{result["jobs"]} TLS fetches of {result["seconds"]:g} s at once: as jobs on one I/O worker process, and without a worker around them.

{_table(("", "RSS MiB before", "with all open", "all open after s"), rows)}

{worker["cancelled"]} of the jobs were cancelled over HTTP: from the request to the closed connection, as the server saw it, {ends["median"]} ms in
the median and {ends["max"]} ms at most. The worker held {worker["postgres_connections"]} connections to Postgres.
"""


def _growth(result: dict[str, Any], folder: Path) -> str:
    sizes = [str(size) for size in result["sizes"]]
    rows = [
        (name, *(f"{ms[size]['p50_ms']:.2f} / {ms[size]['p99_ms']:.2f}" for size in sizes))
        for name, ms in result["ms"].items()
    ]
    plans = [
        "# Query plans",
        "",
        f"With {int(sizes[-1]):,} finished jobs. Each line: node, index or table, rows read, milliseconds.",
        "",
    ]
    for name, statements in result["plans"].items():
        plans += [f"## {name}", ""]
        for one in statements:
            plans += [f"`{one['statement'][:160].rstrip()}…`", "", "```", one["plan"], "```", ""]
    (folder / "plans.md").write_text("\n".join(plans), "utf-8")
    faults = "".join(f"- **{use}**: {'; '.join(found)}\n" for use, found in result["faults"].items())
    return f"""## Growth

Each use {result["repeats"]} times, with so many finished jobs in the tables (three log lines and an attempt each), p50 / p99 in ms.

{_table(("use", *(f"{int(size):,} jobs" for size in sizes)), rows)}

The [plans]({folder.name}/plans.md) are kept. None may scan jobs, log lines or attempts, or read more than {BOUND:,} rows in one node.

{"Plans that do not hold:" + chr(10) + chr(10) + faults if faults else "All plans hold."}
"""


def _schedules(result: dict[str, Any], folder: Path) -> str:
    rows = [
        ("a tick, p50 / p99 / longest", f"{result['p50_ms']:.0f} / {result['p99_ms']:.0f} / {result['max_ms']:.0f} ms"),
        ("jobs that the longest tick made", f"{result['busiest']['jobs']:,}"),
        ("longest from due to taken", f"{result['max_late_sec']:.2f} s"),
        ("jobs made, runs noted", f"{result['jobs']:,}, {result['runs']:,}"),
        ("due times with two jobs", str(result["twice"])),
    ]
    return f"""## Schedules

{result["schedules"]:,} schedules, {result["due_per_sec"]:,} due each second, for {result["seconds"]} s. {result["tickers"]} processes tick at once each second: what one has in hand the other skips. Half by interval, half by cron in a zone with summer time.

{_table(("what", "measured"), rows)}"""


def _retention(result: dict[str, Any], folder: Path) -> str:
    rows = [
        (
            f"{name}, round {number}", f"{one['p50_ms']:.1f}", f"{one['p99_ms']:.1f}", f"{one['submitted_per_sec']:,.0f}",
            f"{one['pruned_per_sec']:,}" if "pruned_per_sec" in one else "–",
        )
        for number in range(1, len(result["rounds"]["rest"]) + 1)
        for name, one in ((name, result["rounds"][name][number - 1]) for name in ("rest", "pruning"))
    ]  # fmt: skip
    end = result["to_the_end"]
    partitions = sum(one.get("removed", {}).get("log_partitions", 0) for one in [*result["rounds"]["pruning"], end])
    return f"""## Retention

{result["jobs"]:,} finished jobs with three log lines and an attempt each, all older than their policy, beside {result["per_sec"]} new no-op jobs a second, submitted a call each. Rounds of {result["seconds"]} s at rest and beside `manage.py retention` take turns. Start is from the job's row to its attempt's, both by Postgres' clock. The lines went with {partitions} partitions.

{_table(("", "start p50, ms", "p99, ms", "submitted a second", "pruned a second"), rows)}

Median p99 while pruning: {result["p99_ratio"]:.2f} × that at rest. Then what was left went under the same load: {end["removed"].get("jobs", 0):,} jobs in {end["took_sec"]:,.0f} s ({end["pruned_per_sec"]:,} a second, rests included){f"; {result['remaining']:,} were left then" if end["more"] else ""}."""


def _recall(result: dict[str, Any], folder: Path) -> str:
    rows = [
        (
            f"{one['rows']:,}", case["what"], f"{case['recall']:.4f}", f"{case['bare_recall']:.4f}",
            f"{case['ours_ms']['p50']:.2f} / {case['ours_ms']['p99']:.2f}",
            f"{case['bare_ms']['p50']:.2f} / {case['bare_ms']['p99']:.2f}", f"{case['speed']:.2f}",
        )
        for one in result["sizes"].values() for case in one["cases"]
    ]  # fmt: skip
    indexes = "; ".join(
        f"{one['rows']:,} rows in {one['scopes']} scopes, index of {one['index_mib']:,} MiB made in {one['indexed_sec']:,} s"
        for one in result["sizes"].values()
    )
    head = ("rows", "searched", "recall@10", "bare recall", "ms, p50 / p99", "bare ms, p50 / p99", "× bare speed")
    return f"""## Memory search

{result["queries"]} searches a case, each beside the same in bare SQL: {indexes}. Recall is against the truth, computed apart. Bare SQL
sends one statement that has the index find the nearest of a scope, with pgvector's iterative scan; ours looks what there is,
compares all where that is quicker, counts what has no vector yet, and returns the whole memories, in one prepared statement,
and with a tag in two. The query's vector is given: making it takes some milliseconds more. The vectors are made, in clumps, of 384 dimensions.

{_table(head, rows)}"""


def _memory(result: dict[str, Any], folder: Path) -> str:
    soak, concurrency = result["soak"], result["concurrency"]
    rows = [
        (
            name, f"{soak['private_mib'][name][-1]:.1f}", f"{slope['per_hour']:,.0f}",
            f"{slope['low']:,.0f} to {slope['high']:,.0f}", f"{_last_third(soak['private_mib'][name], result['minutes']):,.0f}",
            "none shown" if slope["low"] <= 0 else "growth" if result["minutes"] >= 10 else "rises in so short a time",
        )
        for name, slope in soak["kib_per_hour"].items()
    ]  # fmt: skip
    series = {
        name: [(number * result["minutes"] / max(1, len(values) - 1), mib) for number, mib in enumerate(values)]
        for name, values in soak["private_mib"].items()
    }
    chart = _chart(folder, "memory", charts.lines("Private memory over the soak", series, x_unit="min", y_unit="MiB"))
    jobs = [
        (count, one["worker_mib"], one["resident_mib_of_a_process"]) for count, one in concurrency["by_jobs"].items()
    ]
    return f"""## Memory

{result["minutes"]:.0f} minutes of {result["jobs_per_sec"]:.0f} jobs a second, lists and live streams; {soak["jobs"]:,} jobs. The slope is fitted to the last
{soak["seconds_fitted"]:,} s; its 95 % interval comes from a block bootstrap. Where the interval holds 0, no growth was shown, which
is not the same as none. In the first minutes everything rises: caches, threads' connections, and in the worker's parent
the timers of time limits, which Celery keeps until they would have struck.

{chart}

{_table(("process", "private MiB at the end", "KiB an hour", "95 % interval", "in the last third", "verdict"), rows)}

A job worker with so many jobs running at once (proportional memory of the whole worker, each shared page counted once):
**{concurrency["mib_a_job"]} MiB for each further job**.

{_table(("jobs at once", "worker MiB", "resident MiB of a pool process"), jobs)}
"""


def _last_third(mib: Sequence[float], minutes: float) -> float:
    """KiB an hour from its first sample to its last: below the fitted slope where the growth abates."""
    third = mib[-max(2, len(mib) // 3) :]
    return (third[-1] - third[0]) * 1024 / (minutes * len(third) / len(mib) / 60)


def _machine(results: Results) -> str:
    one = next(iter(results.values()))["machine"]
    postgres, valkey = one["postgres"], one["valkey"]
    runs = [
        (name, run["at"], f"{run['took_sec']:,} s", run["machine"]["load_before"][0]) for name, run in results.items()
    ]
    versions = ", ".join(f"{name} {version}" for name, version in one["versions"].items())
    peers = ", ".join(f"{name} {version}" for name, version in one["peers"].items())
    return f"""## Machine, durability, versions

- {one["cpu"]}, {one["cores"]} cores, {one["memory_gib"]} GiB; Linux {one["kernel"]}, {one["file_system"]}; one fdatasync of 8 kB takes {one["fsync_ms"]} ms (median).
- Postgres {postgres["version"]}: {", ".join(f"{name} {value}" for name, value in postgres.items() if name != "version")}.
- Valkey {valkey["version"]}: appendonly {valkey["appendonly"]}, appendfsync {valkey["appendfsync"]}.
- Python {one["python"]}: {versions}.
- The peers' environment: {peers}.

{_table(("benchmark", "at", "took", "load before"), runs)}
"""
