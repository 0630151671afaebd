"""The embedded Postgres: a cluster under `VAR_DIR/postgres`, on loopback, with a password.

Durable as Postgres is by default (fsync, synchronous_commit, full_page_writes, checksums); only the throw-away cluster
of the tests gives that up for speed.
"""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import psutil

from rauskuclaw.stack.account import Account, choose, hand_over, nobody
from rauskuclaw.stack.binaries import POSTGRES_MAJOR, postgres_bin
from rauskuclaw.stack.child import Service
from rauskuclaw.stack.errors import StackError
from rauskuclaw.stack.files import keep_port, keep_secret
from rauskuclaw.stack.processes import spawn

USER = DATABASE = "rauskuclaw"

_MIB = 1024 * 1024
_ROUTINE = (
    "terminating connection due to administrator command",
    "the database system is starting up",
    "the database system is shutting down",
    "the database system is not yet accepting connections",
    "the database system is in recovery mode",
)
_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "wal_level=minimal", "max_wal_senders=0")


class Postgres:
    """One cluster in `var_dir`. `url` is its address, known before it runs.

    durable=False is for data that nobody will miss.
    """

    name = "postgres"

    def __init__(self, var_dir: Path, *, durable: bool = True) -> None:
        self.data = var_dir / "postgres"
        self.port = keep_port(var_dir / "postgres.port")
        self._durable = durable
        self._secret = var_dir / "secrets" / "postgres"
        self._password_is_new = not self._secret.exists()
        self._password = keep_secret(self._secret)
        self._account = Account.SELF
        self._env = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
        self.url = f"postgresql://{USER}:{self._password}@127.0.0.1:{self.port}/{DATABASE}"

    def prepare(self) -> None:
        """Make the cluster if there is none; check the one there is. Blocks for about half a second the first time.

        Raises StackError: wrong major version, somebody else's files, root without a way to become nobody, or initdb's
        own complaint.
        """
        self._account = choose(postgres_bin() / "postgres", self.data)
        if not self.data.exists():
            self._create()
            return
        version = self._version(self.data)
        if version != POSTGRES_MAJOR:
            raise StackError(
                f"{self.data} was made by Postgres {version or '(unknown)'}, and this is Postgres {POSTGRES_MAJOR}:"
                " dump it with the old version and load it into a new VAR_DIR, run pg_upgrade, or set DATABASE_URL."
            )
        hand_over(self.data, self._account)
        self.data.chmod(0o700)
        if self._password_is_new:  # the file was lost, the data was not
            self._single(self.data, f"ALTER ROLE {USER} PASSWORD '{self._password}';")

    def service(self) -> Service:
        """The server process. SIGINT is its fast shutdown; SIGTERM would wait for every client to leave."""
        return Service(
            name=self.name,
            argv=(str(postgres_bin() / "postgres"), "-D", str(self.data), *self._options()),
            env=self._env,
            account=self._account,
            stop_signal=signal.SIGINT,
            stop_seconds=20.0,
            death_signal=signal.SIGINT if self._durable else signal.SIGKILL,
            is_ready=self.is_ready,
            shows=_worth_showing,
        )

    def is_ready(self, pid: int) -> bool:
        """Whether process `pid` accepts connections, as it says itself in its pid file: no client needed."""
        try:
            lines = (self.data / "postmaster.pid").read_text("utf-8").splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def _options(self) -> list[str]:
        buffers = max(64, min(512, psutil.virtual_memory().total // _MIB // 32)) if self._durable else 64
        options = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            f"port={self.port}",
            "max_connections=200",
            f"shared_buffers={buffers}MB",
            "jit=off",
            "timezone=UTC",
            "log_timezone=UTC",
            "log_line_prefix=",
            "log_checkpoints=off",
            *(() if self._durable else _FAST),
        ]
        return [part for option in options for part in ("-c", option)]

    def _create(self) -> None:
        """initdb into a folder beside, then rename: an interrupted initdb never looks like a cluster."""
        new = self.data.with_name("postgres.new")
        if new.exists():
            shutil.rmtree(new)
        new.mkdir(mode=0o700)
        hand_over(new, self._account)
        read, write = os.pipe()
        os.write(write, self._password.encode() + b"\n")
        os.close(write)
        if self._account is Account.NOBODY:
            os.fchown(read, nobody().pw_uid, -1)  # initdb opens /dev/fd/N anew, by path
        argv = [
            str(postgres_bin() / "initdb"), "-D", str(new), "-U", USER,
            "--auth=scram-sha-256", f"--pwfile=/dev/fd/{read}", "--encoding=UTF8",
            # Postgres' own C.UTF-8: right upper and lower case for all of Unicode, on every machine, without ICU.
            "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C",
            "--no-instructions", *(() if self._durable else ("--no-sync",)),
        ]  # fmt: skip
        try:
            self._run(argv, pass_fds=(read,))
        finally:
            os.close(read)
        self._single(new, f"CREATE DATABASE {DATABASE};")
        new.rename(self.data)

    def _single(self, data: Path, sql: str) -> None:
        """Run one statement in single-user mode: no server, no password."""
        fsync = ["-c", "fsync=off"] if not self._durable else []
        self._run([str(postgres_bin() / "postgres"), "--single", "-D", str(data), *fsync, "postgres"], text=sql + "\n")

    def _run(self, argv: list[str], *, text: str = "", pass_fds: tuple[int, ...] = ()) -> None:
        try:
            process = spawn(argv, env=self._env, account=self._account, stdin=subprocess.PIPE, pass_fds=pass_fds)
        except (OSError, subprocess.SubprocessError) as error:
            raise StackError(
                f"{argv[0]} cannot be started ({error}): set DATABASE_URL to a server of your own."
            ) from None
        output = process.communicate(text.encode())[0].decode("utf-8", "replace").strip()
        if process.returncode:
            raise StackError(f"{Path(argv[0]).name} failed with exit code {process.returncode}:\n{output}")

    @staticmethod
    def _version(data: Path) -> str:
        try:
            return (data / "PG_VERSION").read_text("utf-8").strip()
        except OSError:
            return ""


def _worth_showing(line: str) -> bool:
    """Trouble of the server itself. A statement's ERROR is the business of the process that sent it."""
    if "FATAL:" in line or "PANIC:" in line:
        return not any(text in line for text in _ROUTINE)
    return "was terminated by signal" in line or "was not properly shut down" in line
