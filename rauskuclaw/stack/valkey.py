"""The embedded Redis: Valkey on loopback, with a password and an append-only file under `VAR_DIR/redis`."""

import signal
import socket
from pathlib import Path

from rauskuclaw.stack.binaries import valkey_server
from rauskuclaw.stack.child import Service
from rauskuclaw.stack.files import keep_port, keep_secret, write_atomically

_ROUTINE = ("Memory overcommit", "User requested shutdown", "bye bye", "Received SIGTERM", "Redis is now ready to exit")


class Valkey:
    """One server in `var_dir`. `url` is its address (database 0), known before it runs.

    durable=False keeps nothing on disk. databases: how many it has; more than one is for tests.
    """

    name = "redis"

    def __init__(self, var_dir: Path, *, durable: bool = True, databases: int = 1) -> None:
        self.data = var_dir / "redis"
        self.port = keep_port(var_dir / "redis.port")
        self._conf = var_dir / "redis.conf"
        self._durable = durable
        self._databases = databases
        self._password = keep_secret(var_dir / "secrets" / "redis")
        self.url = f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        """Write its configuration (mode 0600: it holds the password, which is therefore not in the process list)."""
        self.data.mkdir(exist_ok=True, mode=0o700)
        lines = [
            "bind 127.0.0.1",
            f"port {self.port}",
            f"requirepass {self._password}",
            f'dir "{self.data}"',
            f'pidfile "{self.data / "valkey.pid"}"',
            f"databases {self._databases}",
            'save ""',
            f"appendonly {'yes' if self._durable else 'no'}",
            "appendfsync everysec",
            # A full Redis refuses new work loudly; evicting would lose messages silently.
            "maxmemory-policy noeviction",
            "loglevel warning",
        ]
        write_atomically(self._conf, "\n".join(lines) + "\n")

    def service(self) -> Service:
        """The server process."""
        return Service(
            name=self.name,
            argv=(str(valkey_server()), str(self._conf)),
            env={"LC_ALL": "C", "TZ": "UTC"},
            stage=1,
            stop_seconds=10.0,
            death_signal=signal.SIGTERM if self._durable else signal.SIGKILL,
            is_ready=self.is_ready,
            shows=lambda line: not any(text in line for text in _ROUTINE),
        )

    def is_ready(self, _pid: int) -> bool:
        """Whether it answers PING with PONG; it answers LOADING while it reads its append-only file."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < 2 and (part := connection.recv(256)):
                    answer += part
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"
