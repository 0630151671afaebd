"""The live processes of the stack."""

from __future__ import annotations

import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

BEAT_NODE = uuid.UUID(int=0)
"""The node row that stands for beat and the system worker."""


class Node(models.Model):
    """A live process of the stack that says so every few seconds: a job worker, the system worker or beat."""

    class Kind(models.TextChoices):
        WORKER = "worker", "Job worker"
        BEAT = "beat", "Beat and system worker"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    kind = models.CharField(max_length=6, choices=Kind)
    name = models.CharField(max_length=120)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    pid_created_at = models.FloatField(help_text="The process's start (epoch s): tells a reused pid apart")
    pool = models.CharField(
        max_length=7, default="process", db_default="process", help_text="A worker's: process or io"
    )
    queues = ArrayField(models.CharField(max_length=80), default=list)
    concurrency = models.PositiveIntegerField(default=0)
    version = models.CharField(max_length=40)
    started_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["kind", "name"]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"
