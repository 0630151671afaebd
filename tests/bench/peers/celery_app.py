"""The yardstick: a bare Celery application with a no-op task. No results, no rows, nothing kept.

As Celery's optimising guide says for many short tasks: prefork, a prefetch multiplier of 64, no results, no events,
no gossip and mingle. Acknowledged early, which is Celery's default.
"""

import os

from celery import Celery

from tests.bench.marks import mark
from tests.bench.peers.submitting import serve

app = Celery("bare", broker=os.environ["REDIS_URL"])
app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=64,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    broker_transport_options={"global_keyprefix": "bare:"},
    task_default_queue="bare",
    worker_hijack_root_logger=False,
)


@app.task(name="bare.noop")
def noop() -> None:
    """Nothing but its mark."""
    mark()


if __name__ == "__main__":
    serve(one=noop.delay)
