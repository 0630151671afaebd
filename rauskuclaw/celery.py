"""The Celery application: how workers consume and what beat rings.

Celery carries ids only. No results, no ETA messages, no retries of its own: a job's life is in Postgres.
"""

import os
from typing import Any

from celery import Celery, signals
from kombu import Exchange, Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rauskuclaw.settings")

from rauskuclaw import garbage
from rauskuclaw.config import load
from rauskuclaw.wire import KEY_PREFIX, POOLS, PRIORITIES, SYSTEM_QUEUE, job_queue

CONFIG = load()
_direct = Exchange("", type="direct")

app = Celery("rauskuclaw")
app.conf.update(
    broker_url=CONFIG.redis_url.get_secret_value() if CONFIG.redis_url else "redis://127.0.0.1:1/0",
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        "global_keyprefix": KEY_PREFIX,
        "priority_steps": list(PRIORITIES),
        "queue_order_strategy": "priority",
        # Popping a message is the acknowledgement: no visibility timeout can ever run a job twice. A message lost
        # between the pop and the claim is the reconciler's to find.
        "ack_emulation": False,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 10,
    },
    task_queues=[
        Queue(name, _direct, routing_key=name)
        for name in (
            SYSTEM_QUEUE,
            *(job_queue(queue, pool) for queue in CONFIG.worker_queue_allowlist for pool in POOLS),
        )
    ],
    task_create_missing_queues=False,
    task_default_queue=SYSTEM_QUEUE,
    task_default_exchange="",
    task_default_exchange_type="direct",
    task_default_routing_key=SYSTEM_QUEUE,
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    task_acks_late=False,
    task_serializer="json",
    accept_content=["json"],
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    worker_send_task_events=False,
    worker_enable_remote_control=False,
    worker_hijack_root_logger=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    timezone="UTC",
    enable_utc=True,
    beat_scheduler="jobs.beat:Scheduler",
    beat_max_loop_interval=1,
    # The heartbeat: tasks without arguments, seconds. Rung by the monotonic clock, whatever the wall clocks say.
    beat_schedule={
        "reconcile": {"task": "jobs.reconcile", "schedule": 1.0},
        "deliver callbacks": {"task": "jobs.deliver_callbacks", "schedule": 1.0},
        "schedules": {"task": "schedules.tick", "schedule": 1.0},
        "prune": {"task": "jobs.prune", "schedule": 60.0},
        "count": {"task": "metrics.count", "schedule": 10.0},
        "evaluate alerts": {"task": "metrics.evaluate_alerts", "schedule": 10.0},
        "chats": {"task": "chat.settle", "schedule": 1.0},
        "tend memories": {"task": "memory.tend", "schedule": 10.0},
        "sweep the workspace": {"task": "workspaces.sweep", "schedule": 3600.0},
        "settle lost model calls": {"task": "providers.settle_lost_calls", "schedule": 10.0},
        "purge memories": {"task": "memory.purge", "schedule": 60.0},
    },
)
# Celery's Django fixup closes the database connection before and after each task unless this is set: a new connection
# a task cost more than the job. Broken ones are closed where the error is met (jobs/tasks.py, jobs/execution.py).
app.conf["CELERY_DB_REUSE_MAX"] = 10_000
app.autodiscover_tasks()


@signals.setup_logging.connect
def _log_as_all_do(**_kwargs: Any) -> None:
    """Django has set logging up (rauskuclaw/logs.py); with a receiver here, Celery leaves it alone."""


@signals.worker_init.connect
def _keep_what_is_imported(**_kwargs: Any) -> None:
    """Else each pool process would be forked after a collection that looks through all modules (0.1 s), and every later
    collection would unshare their memory."""
    garbage.keep_what_is_imported()
