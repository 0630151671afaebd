"""Which processes make up RauskuClaw besides its servers."""

import sys
from collections.abc import Callable, Mapping

from rauskuclaw.config import ROOT, Config
from rauskuclaw.stack.child import Service
from rauskuclaw.wire import POOLS, SYSTEM_QUEUE, job_queue

STAGE_WORKERS = 2
STAGE_WEB = 3
STAGE_BEAT = 4
"""Stopping goes down: nothing new is rung, nothing new comes in, running jobs drain, and only then the servers go."""

_SYSTEM_THREADS = 8
_WEB_GRACE_SECONDS = 5
_WEB_ROUTINE = ("GET /ready ", "Service Unavailable: /ready")
_CELERY_ROUTINE = (
    "Warm shutdown (MainProcess)",
    # Celery's warning to root, five lines long. `make up` as root is a supported way to try things out.
    "SecurityWarning: You're running the worker",
    "absolutely not recommended!",
    "Please specify a different user using the --uid option",
    "User information: uid=",
    "_warn_or_raise_security_error(",
)
_QUIET = ("--loglevel", "WARNING")
_ALONE = ("--without-gossip", "--without-mingle", "--without-heartbeat")


def bootstrap(env: Mapping[str, str]) -> Service:
    """The one-off task before all others: migrations, seeds, first key. One Python start for all of them."""
    argv = (sys.executable, "manage.py", "bootstrap")
    # Its output is for an error report only: the supervisor says where the key is.
    return Service(name="database", argv=argv, env=env, cwd=ROOT, shows=lambda _line: False)


def app_services(config: Config, env: Mapping[str, str]) -> list[Service]:
    """Web, job worker, I/O worker, system worker and beat, in the order of starting. env: theirs, complete."""
    # Django's checks are for the one who changes the code (`make check`); in each worker they take 0.1 s and the admin.
    env = {**env, "CELERY_SKIP_CHECKS": "1"}
    queues, io_queues = (",".join(job_queue(queue, pool) for queue in config.worker_queue_allowlist) for pool in POOLS)
    celery = (sys.executable, "-m", "celery", "--quiet", "-A", "rauskuclaw")
    worker = (
        *celery, "worker", "--pool", "prefork", "--concurrency", str(config.worker_concurrency), "-Q", queues,
        "-n", "jobs@%h", *_QUIET, *_ALONE,
    )  # fmt: skip
    io = (
        *celery, "worker", "--pool", "threads", "--concurrency", str(config.io_concurrency), "-Q", io_queues,
        "-n", "io@%h", *_QUIET, *_ALONE,
    )  # fmt: skip
    system = (
        *celery, "worker", "--pool", "threads", "--concurrency", str(_SYSTEM_THREADS), "-Q", SYSTEM_QUEUE,
        "-n", "system@%h", *_QUIET, *_ALONE,
    )  # fmt: skip
    web = (
        sys.executable, "-m", "uvicorn", "rauskuclaw.asgi:application",
        "--host", config.host, "--port", str(config.port),
        "--lifespan", "off", "--no-access-log", "--log-level", "warning",
        # Else it believes X-Forwarded-For of whoever is on this machine. TRUST_PROXY is for the application to judge.
        "--no-proxy-headers",
        "--timeout-graceful-shutdown", str(_WEB_GRACE_SECONDS),
    )  # fmt: skip
    beat = (*celery, "beat", "--pidfile=", *_QUIET)
    return [
        # Celery's warm shutdown on SIGTERM is the drain: no new job, the running ones may end.
        *(
            Service(
                name=name,
                argv=argv,
                env=env,
                cwd=ROOT,
                stage=STAGE_WORKERS,
                stop_seconds=config.drain_sec + 1.0,
                shows=_shows(_CELERY_ROUTINE),
            )
            for name, argv in (("worker", worker), ("io", io))
            if name != "io" or config.io_concurrency
        ),
        Service(name="system", argv=system, env=env, cwd=ROOT, stage=STAGE_WORKERS, shows=_shows(_CELERY_ROUTINE)),
        Service(name="beat", argv=beat, env=env, cwd=ROOT, stage=STAGE_BEAT, stop_seconds=5.0),
        Service(
            name="web",
            argv=web,
            env=env,
            cwd=ROOT,
            stage=STAGE_WEB,
            early=True,
            stop_seconds=_WEB_GRACE_SECONDS + 2.0,
            shows=_shows(_WEB_ROUTINE),
        ),
    ]


def _shows(routine: tuple[str, ...]) -> Callable[[str], bool]:
    return lambda line: not any(text in line for text in routine)
