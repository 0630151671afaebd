"""Dramatiq on Redis with its default middleware and threads. It has no bulk enqueue."""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from tests.bench.marks import mark
from tests.bench.peers.submitting import serve

dramatiq.set_broker(RedisBroker(url=os.environ["REDIS_URL"]))


@dramatiq.actor
def noop() -> None:
    """Nothing but its mark."""
    mark()


if __name__ == "__main__":
    serve(one=noop.send)
