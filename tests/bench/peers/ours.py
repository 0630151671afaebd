"""RauskuClaw through its Python API: `jobs.submission`."""

from __future__ import annotations

import os

import django

from tests.bench.peers.submitting import serve

CHUNK = 500
TYPE = "bench.mark"


def main() -> None:
    """Submit what is asked for."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rauskuclaw.settings")
    django.setup()
    from jobs.requests import NewJob
    from jobs.submission import submit, submit_batch

    new = NewJob(type=TYPE)

    def bulk(count: int) -> None:
        for start in range(0, count, CHUNK):
            submit_batch([new] * min(CHUNK, count - start), created_by="bench")

    serve(one=lambda: submit(new, created_by="bench"), bulk=bulk)


if __name__ == "__main__":
    main()
