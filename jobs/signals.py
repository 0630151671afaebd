"""What other apps may hear of."""

from __future__ import annotations

from django.dispatch import Signal

happened = Signal()
"""Something to count that no row tells of; sent with `name` (`job.idempotency_hit`), `labels` and `count`."""
