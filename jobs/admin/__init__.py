"""The admin's pages of this app.

Job types and queues are managed here; everything else is for looking, and for the verbs of `lifecycle` and `callbacks`.
Nothing here writes a row by itself.
"""

from jobs.admin import callbacks, job, job_type, node, queue, retention

__all__ = ["callbacks", "job", "job_type", "node", "queue", "retention"]
