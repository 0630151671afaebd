"""Procrastinate: an asynchronous no-op, LISTEN/NOTIFY on, rows kept as by default."""

import os

import procrastinate

from tests.bench.marks import mark

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["PROCRASTINATE_URL"]))


@app.task(name="noop", queue="bench")
async def noop() -> None:
    """Nothing but its mark."""
    mark()
