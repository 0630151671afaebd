"""The yardstick: a bare Celery application with a no-op task. No results, no rows, nothing kept."""

import os

from celery import Celery

app = Celery("bare", broker=os.environ["REDIS_URL"])
app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=4,
    broker_transport_options={"global_keyprefix": "bare:"},
    task_default_queue="bare",
    worker_hijack_root_logger=False,
)


@app.task(name="bare.noop")
def noop() -> None:
    """Nothing."""
