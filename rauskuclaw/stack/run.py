"""What `make up` does, from the lock to the clean stop."""

import os
import socket
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from typing import TextIO

from rauskuclaw.config import Config
from rauskuclaw.config_sources import read_run_env
from rauskuclaw.stack.child import Child, Service
from rauskuclaw.stack.console import Console
from rauskuclaw.stack.errors import StackError, StopRequested
from rauskuclaw.stack.files import empty_folder
from rauskuclaw.stack.leftovers import STACK_ID, clean_up
from rauskuclaw.stack.postgres import Postgres
from rauskuclaw.stack.prepared import is_prepared
from rauskuclaw.stack.probe import ReadyProbe
from rauskuclaw.stack.processes import adopt_orphans
from rauskuclaw.stack.services import app_services, bootstrap
from rauskuclaw.stack.state import Lock, StateFile, write_run_env
from rauskuclaw.stack.supervisor import Supervisor
from rauskuclaw.stack.valkey import Valkey

SERVER_SECONDS = 120.0
"""Crash recovery of a big database takes its time, and interrupting it only makes it start again."""
BOOTSTRAP_SECONDS = 600.0
READY_SECONDS = 90.0

Plan = Callable[[Config, Mapping[str, str]], tuple[Service | None, list[Service]]]


def whole_plan(config: Config, env: Mapping[str, str]) -> tuple[Service | None, list[Service]]:
    """The one-off task, unless an earlier start did all of it, and the services of a complete stack."""
    url = env.get("DATABASE_URL") or (config.database_url.get_secret_value() if config.database_url else "")
    done = is_prepared(url, needs_key=not (config.key_entries or config.auth_disabled))
    return None if done else bootstrap(env), app_services(config, env)


def run_stack(config: Config, *, out: TextIO = sys.stdout, as_json: bool = False, plan: Plan = whole_plan) -> int:
    """Run the stack until somebody stops it. The exit code: 0 after a clean stop, 1 when it could not run.

    Prints progress, then `ready: URL` and where the key is. Call it from the main thread of a process of its own: it
    takes the signals and becomes the parent of all orphans among its descendants.
    """
    console = Console(out, as_json=as_json)
    try:
        return _Run(config, console, plan).run()
    except StackError as error:
        console.error(str(error))
        return 1


class _Run:
    def __init__(self, config: Config, console: Console, plan: Plan) -> None:
        self._config = config
        self._console = console
        self._plan = plan
        self._url = config.own_url
        self._stack_id = uuid.uuid4().hex
        var_dir = config.var_dir
        try:
            # Others may walk through, not list: `nobody` (Postgres, when root runs this) must reach its data.
            var_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
            (var_dir / "secrets").mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise StackError(f"VAR_DIR={var_dir} cannot be used: {error.strerror}. Set VAR_DIR to another.") from None
        self._lock = Lock(var_dir)
        self._state_file = StateFile(var_dir / "stack.json", url=self._url, stack_id=self._stack_id)

    def run(self) -> int:
        self._lock.acquire(self._url)
        try:
            for said in clean_up(self._config.var_dir):
                self._console.event(said)
            _require_free(self._config.host, self._config.port)
            empty_folder(self._config.var_dir / "tmp")
            return self._supervise()
        finally:
            self._lock.release()

    def _supervise(self) -> int:
        supervisor = Supervisor(self._console, self._state_file)
        supervisor.listen_for_signals()
        adopt_orphans()
        failure = ""
        try:
            self._start(supervisor)
            supervisor.watch()
        except StopRequested:
            pass
        except StackError as error:
            failure = str(error)
        self._console.use_clock(elapsed=True)
        if failure:
            self._console.error(failure)
        self._console.event("stopping what had started" if failure else "stopping (Ctrl-C again to kill)")
        try:
            supervisor.stop()
        finally:
            supervisor.close()
        self._state_file.remove()
        self._console.event("stopped")
        return 1 if failure else 0

    def _start(self, supervisor: Supervisor) -> None:
        servers = self._servers()
        addresses = {name: server.url for name, server in servers.items()}
        env = self._environment(addresses)
        started = []
        # Valkey first: it loads its file while a new Postgres cluster is being made.
        for server in reversed(servers.values()):
            server.prepare()
            started.append(supervisor.start(server.service()))
        supervisor.wait_ready(started, seconds=SERVER_SECONDS)
        write_run_env(self._config.var_dir / "run.env", {**addresses, "RAUSKUCLAW_URL": self._url})

        task, services = self._plan(self._config, env)
        children = [supervisor.start(service) for service in services if service.early]
        if task:
            began = time.monotonic()
            supervisor.run_to_end(task, seconds=BOOTSTRAP_SECONDS)
            self._console.step(task.name, f"migrated and seeded in {time.monotonic() - began:.2f} s")
        children += [supervisor.start(service) for service in services if not service.early]
        self._wait_for_ready(supervisor, children)

        self._console.result("ready", self._url)
        self._console.result("api_key", self._where_the_key_is())
        self._console.use_clock(elapsed=False)

    def _wait_for_ready(self, supervisor: Supervisor, children: list[Child]) -> None:
        probe = ReadyProbe(self._config.reachable_host, self._config.port)
        probe.start()
        said = {"database", "migrations", "redis"}  # by earlier lines

        def ready() -> bool:
            if probe.checks and "web" not in said:
                said.add("web")
                self._console.step("web", f"answers on {self._url}")
            for name in sorted(probe.good() - said):
                said.add(name)
                self._console.step(name, str(probe.checks[name].get("detail", "ok")))
            return probe.ready and all(child.is_ready() for child in children)

        try:
            supervisor.wait_for(
                ready, seconds=READY_SECONDS, what=lambda: f"not ready ({probe.missing()})", of=children
            )
        finally:
            probe.cancel()
        for child in children:
            supervisor.mark_running(child)

    def _servers(self) -> dict[str, Postgres | Valkey]:
        """The embedded servers by the setting that would replace them."""
        config, servers = self._config, dict[str, Postgres | Valkey]()
        # An address that only run.env names is the one an embedded server had in an earlier run.
        kept = read_run_env(config.var_dir / "run.env")
        for name, given, embedded in (
            ("DATABASE_URL", config.database_url, Postgres),
            ("REDIS_URL", config.redis_url, Valkey),
        ):
            if given is None or given.get_secret_value() == kept.get(name.lower()):
                servers[name] = embedded(config.var_dir)
            else:
                self._console.step("postgres" if name == "DATABASE_URL" else "redis", f"external, from {name}")
        return servers

    def _environment(self, addresses: Mapping[str, str]) -> dict[str, str]:
        return {
            **os.environ,
            **addresses,
            "VAR_DIR": str(self._config.var_dir),
            "PYTHONUNBUFFERED": "1",
            # A killed worker cleans up nothing; the next start does.
            "TMPDIR": str(self._config.var_dir / "tmp"),
            STACK_ID: self._stack_id,
        }

    def _where_the_key_is(self) -> str:
        config, kept = self._config, self._config.var_dir / "secrets" / "api_key"
        if config.key_entries:
            return "from the configuration" if config.api_keys else "from API_KEY"
        if config.auth_disabled:
            return "none needed: authentication is disabled"
        return str(kept) if kept.exists() else "one that exists already; `manage.py apikey` makes another"


def _require_free(host: str, port: int) -> None:
    """Raise StackError unless the web server will be able to listen there."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise StackError(f"HOST={host} is no address of this machine: {error.strerror or error}") from None
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as probe:
            # As uvicorn does: a port whose last connections still linger is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as error:
                raise StackError(
                    f"port {port} on {host} cannot be used: {(error.strerror or str(error)).lower()}. Set PORT to a"
                    " free one, or stop what uses it. Nothing was started."
                ) from None


def main(*, as_json: bool = False) -> int:
    """`make up`: read the configuration and run the stack. The exit code; 2 for a configuration that cannot be used."""
    from rauskuclaw.config import ConfigError, load

    try:
        config = load()
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201 - there is no console yet
        return 2
    return run_stack(config, as_json=as_json)
