"""What was asked about a job, and what a person said. Imports no other model."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class ApprovalState(models.TextChoices):
    """How far it is; only a pending one changes."""

    PENDING = "pending", "Waits for a person"
    APPROVED = "approved", "Approved"
    DENIED = "denied", "Denied"
    EXPIRED = "expired", "Nobody decided in time"
    WITHDRAWN = "withdrawn", "Its job has ended otherwise"


class Approval(models.Model):
    """A job that does not begin before a person has seen exactly what it is to do (docs/approvals.md)."""

    job = models.OneToOneField("jobs.Job", on_delete=models.CASCADE, primary_key=True, related_name="approval")
    state = models.CharField(max_length=9, choices=ApprovalState, default=ApprovalState.PENDING)
    reason = models.TextField(help_text="Why a person is asked")
    arguments_hash = models.CharField(
        max_length=64, help_text="SHA-256 of the job's type, queue and input: what is approved, and nothing else"
    )
    requested_by = models.CharField(max_length=160, help_text="Who made the job that asks")
    requested_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(help_text="Denied if nobody has decided by then")
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField(max_length=160, blank=True, default="")
    note = models.TextField(
        blank=True, default="", help_text="What the person said of it; a denial's is told to the model"
    )

    class Meta:
        ordering = ["-requested_at", "-job"]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=ApprovalState.values), name="approval_state_is_known"),
            models.CheckConstraint(
                condition=Q(state=ApprovalState.PENDING, decided_at__isnull=True)
                | (~Q(state=ApprovalState.PENDING) & Q(decided_at__isnull=False)),
                name="approval_is_decided_iff_decided_at",
            ),
        ]
        indexes = [
            models.Index(fields=["-requested_at", "-job"], name="approval_newest"),
            models.Index(fields=["expires_at"], condition=Q(state=ApprovalState.PENDING), name="approval_pending"),
        ]

    def __str__(self) -> str:
        return f"approval of {self.job_id}"
