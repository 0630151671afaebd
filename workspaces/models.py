"""What is known of a project beside its files. The files themselves are in no table."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class ProjectMeta(models.Model):
    """Names and notes that people gave a project (contract 2.13). Projects are the clients' own: any id is one."""

    project_id = models.CharField(primary_key=True, max_length=200)
    display_name = models.CharField(max_length=200, null=True, blank=True)  # noqa: DJ001 - null is what clients read
    notes = models.TextField(null=True, blank=True)  # noqa: DJ001 - the same
    tags = models.JSONField(null=True, blank=True, help_text="A list")
    archived = models.BooleanField(default=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        verbose_name = verbose_name_plural = "project metadata"
        ordering = ["project_id"]

    def __str__(self) -> str:
        return self.display_name or self.project_id
