"""What the project itself keeps in the database."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class Bootstrap(models.Model):
    """The one row that says what `manage.py bootstrap` last made of this database. Read by `stack/prepared.py`."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    fingerprint = models.CharField(max_length=64, help_text="Of the code that did it")
    migrations = models.PositiveIntegerField(help_text="How many were applied then")
    version = models.CharField(max_length=40)
    finished_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="bootstrap_is_one_row")]

    def __str__(self) -> str:
        return f"{self.version} at {self.finished_at}"
