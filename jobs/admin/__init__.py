"""The admin's pages of this app.

Job types and queues are managed here; everything else is for looking, and for the verbs of `lifecycle`, `approvals` and
`callbacks`.
Nothing here writes a row by itself.
"""

from jobs.admin import approval, callbacks, job, job_type, node, queue, retention

__all__ = ["approval", "callbacks", "job", "job_type", "node", "queue", "retention"]
