"""`python -m rauskuclaw.stack.process ROLE`: one process of the stack, for whoever supervises it: systemd, containers.

It becomes what `make up` would start for that role, with the same arguments, so signals and exit codes are that
process's own. Servers are not started: DATABASE_URL and REDIS_URL say where they are.
"""

import os
import sys
from typing import NoReturn

from rauskuclaw.config import Config, load
from rauskuclaw.stack.child import Service
from rauskuclaw.stack.services import app_services, bootstrap

EXIT_USAGE = 2


def roles(config: Config) -> dict[str, Service]:
    """What may be asked for: `bootstrap`, which ends by itself, and the services of a whole stack."""
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return {"bootstrap": bootstrap(env)} | {service.name: service for service in app_services(config, env)}


def main(arguments: list[str]) -> NoReturn:
    """Become the process. Exits with 2 when there is none of that name."""
    known = roles(load())
    if len(arguments) != 1 or arguments[0] not in known:
        told = "IO_CONCURRENCY=0: there is no I/O worker. " if arguments == ["io"] else ""
        sys.stderr.write(f"{told}usage: python -m rauskuclaw.stack.process {'|'.join(known)}\n")
        sys.exit(EXIT_USAGE)
    service = known[arguments[0]]
    if service.cwd is not None:
        os.chdir(service.cwd)
    os.execve(service.argv[0], service.argv, dict(service.env))  # noqa: S606 - no shell reads it, and argv is ours


if __name__ == "__main__":
    main(sys.argv[1:])
