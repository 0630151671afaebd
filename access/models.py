"""API keys, the audit log and secrets: columns and constraints. `keys.py`, `audit.py` and `secrets.py` write them."""

from __future__ import annotations

import uuid

from django.contrib.postgres.fields import ArrayField
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now


class Role(models.TextChoices):
    """What a caller may do (contract 1.3)."""

    ADMIN = "admin", "Admin: reads and writes"
    READ = "read", "Read: only reads, search and stream tokens"


class ApiKey(models.Model):
    """A key that opens the API. The key itself is not stored: only its digest and the prefix people know it by.

    A key's rights never change. To change them, create another key and revoke this one; a revoked row stays, so that
    the audit log's names keep a meaning and a server that once had keys never falls back to open access.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120, help_text="Who or what uses it; shown in the audit log")
    prefix = models.CharField(max_length=8, unique=True, editable=False, help_text="The readable part: rk_<prefix>_…")
    hash = models.CharField(max_length=64, editable=False, help_text="SHA-256 of the whole key, in hex")
    role = models.CharField(max_length=5, choices=Role, default=Role.READ)
    sse = models.BooleanField("live streams", default=True, help_text="May follow jobs live")
    queue_allowlist = ArrayField(
        models.CharField(max_length=80),
        null=True,
        blank=True,
        help_text="Queues it may see and use; empty: every queue",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    created_by = models.CharField(max_length=160, editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False, help_text="To the minute")
    expires_at = models.DateTimeField(null=True, blank=True, help_text="UTC; empty: never")
    revoked_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = "API key"
        ordering = ["-created_at", "-id"]
        permissions = [("revoke_apikey", "Can revoke API keys")]
        constraints = [
            models.UniqueConstraint(
                fields=["name"], condition=Q(revoked_at__isnull=True), name="apikey_name_is_unique_among_live_keys"
            ),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="apikey_role_is_known"),
            models.CheckConstraint(
                condition=Q(prefix__regex="^[a-z2-7]{8}$"), name="apikey_prefix_is_8_base32_characters"
            ),
            models.CheckConstraint(condition=Q(hash__regex="^[0-9a-f]{64}$"), name="apikey_hash_is_a_sha256_in_hex"),
            models.CheckConstraint(
                condition=Q(queue_allowlist__isnull=True) | Q(queue_allowlist__len__gte=1),
                name="apikey_queue_allowlist_is_null_or_names_a_queue",
            ),
            models.CheckConstraint(
                condition=Q(expires_at__isnull=True) | Q(expires_at__gt=F("created_at")),
                name="apikey_expires_after_its_creation",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} (rk_{self.prefix}_…)"


class AuditEntry(models.Model):
    """Who changed what. Append-only: triggers refuse UPDATE, DELETE and TRUNCATE, but for `audit.prune`.

    Each entry's hash covers the hash before it, so that `manage.py audit verify` finds what somebody changed past
    the triggers.
    """

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField()
    actor = models.CharField(max_length=160, help_text="key:<name>, user:<name>, cli:<account> or auth-disabled")
    action = models.CharField(max_length=80, help_text="<object>.<past participle>: job.retried, key.created")
    object_type = models.CharField(max_length=40)
    object_id = models.CharField(max_length=160)
    details = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    previous_hash = models.CharField(max_length=64, unique=True)
    """Unique, so that two entries can never follow the same one: the chain cannot fork."""
    hash = models.CharField(max_length=64)

    class Meta:
        verbose_name_plural = "audit log"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["object_type", "object_id", "-id"], name="auditentry_by_object"),
            models.Index(fields=["actor", "-id"], name="auditentry_by_actor"),
            models.Index(fields=["action", "-id"], name="auditentry_by_action"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(hash__regex="^[0-9a-f]{64}$", previous_hash__regex="^[0-9a-f]{64}$"),
                name="auditentry_hashes_are_sha256_in_hex",
            )
        ]

    def __str__(self) -> str:
        return f"#{self.pk} {self.action} {self.object_id} by {self.actor}"


class AuditAnchor(models.Model):
    """What the log's first entry follows, since older ones were deleted. At most one row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    entry_id = models.BigIntegerField(help_text="The newest entry that was deleted")
    hash = models.CharField(max_length=64, help_text="Its hash")
    entries = models.BigIntegerField(help_text="How many were deleted, ever")

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="auditanchor_is_one_row")]

    def __str__(self) -> str:
        return f"the audit log begins after #{self.entry_id}"


class Secret(models.Model):
    """A secret that the project uses, such as a provider's key: sealed (`access/sealing.py`) and never shown."""

    name = models.CharField(
        primary_key=True, max_length=160, help_text="How settings refer to it: openai for secret:openai"
    )
    sealed = models.TextField(editable=False)
    note = models.CharField(max_length=200, blank=True, help_text="What it opens; shown to whoever may list secrets")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    created_by = models.CharField(max_length=160, editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False, help_text="When its value was last set")
    updated_by = models.CharField(max_length=160, editable=False)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(condition=Q(sealed__startswith="enc:"), name="secret_is_sealed"),
            models.CheckConstraint(
                condition=Q(name__regex="^[a-z0-9][a-z0-9._:/-]{0,159}$"), name="secret_name_is_well_formed"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class UiPrefs(models.Model):
    """The preferences of a client, by scope (contract 2.12). Those that are secrets are in `Secret`, not here."""

    scope = models.CharField(primary_key=True, max_length=80)
    value = models.JSONField(default=dict)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        verbose_name = verbose_name_plural = "client preferences"
        ordering = ["scope"]

    def __str__(self) -> str:
        return self.scope
