"""RQ with SimpleWorker: no fork for each job, as its documentation advises where speed matters more than isolation."""

import os

from redis import Redis
from rq import Queue

from tests.bench.marks import mark
from tests.bench.peers.submitting import serve

CHUNK = 500


def noop() -> None:
    """Nothing but its mark."""
    mark()


def main() -> None:
    """Submit what is asked for."""
    queue = Queue("bench", connection=Redis.from_url(os.environ["REDIS_URL"]))

    def bulk(count: int) -> None:
        for start in range(0, count, CHUNK):
            queue.enqueue_many(
                [Queue.prepare_data("tests.bench.peers.rq_app.noop") for _ in range(min(CHUNK, count - start))]
            )

    serve(one=lambda: queue.enqueue("tests.bench.peers.rq_app.noop"), bulk=bulk)


if __name__ == "__main__":
    main()
