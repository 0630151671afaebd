"""Submits to Procrastinate. A file of its own, because an App must not be made in the main module."""

import sys

from tests.bench.peers.procrastinate_app import app, noop
from tests.bench.peers.submitting import serve

CHUNK = 500


def bulk(count: int) -> None:
    """Defer in batches."""
    for start in range(0, count, CHUNK):
        noop.batch_defer(*[{} for _ in range(min(CHUNK, count - start))])


if __name__ == "__main__":
    with app.open():
        if sys.argv[1:] == ["schema"]:
            app.schema_manager.apply_schema()
        else:
            serve(one=noop.defer, bulk=bulk)
