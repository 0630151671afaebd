"""Dramatiq on Redis with its default middleware and threads; KEEP_RESULTS=1 adds results. It has no bulk enqueue."""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from tests.bench.marks import mark
from tests.bench.peers.submitting import serve

URL, KEEP_RESULTS = os.environ["REDIS_URL"], bool(os.environ.get("KEEP_RESULTS"))
broker = RedisBroker(url=URL)
if KEEP_RESULTS:
    broker.add_middleware(Results(backend=RedisBackend(url=URL)))
dramatiq.set_broker(broker)


@dramatiq.actor(**({"store_results": True} if KEEP_RESULTS else {}))
def noop() -> None:
    """Nothing but its mark."""
    mark()


if __name__ == "__main__":
    serve(one=noop.send)
