"""What is remembered: memories, their vectors, the models that made those, and the working memory of sessions."""

from __future__ import annotations

import uuid

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector, SearchVectorField
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from pgvector.django import VectorField

TEXT_CONFIG = "english"
"""Postgres' text search configuration: how words are stemmed, on both sides."""
MAX_TTL_SEC = 31_536_000


class EmbeddingStatus(models.TextChoices):
    """Where a memory stands with semantic search."""

    PENDING = "pending", "Pending"
    """Waits for an embedding job; for ever while MEMORY_VECTOR_ENABLED is 0."""
    READY = "ready", "Ready"
    """Has a vector of what it says now, in the model that searches use."""
    FAILED = "failed", "Failed"
    """`embedding_error` says why; tried again at `embed_after`, never where that is null."""


class Memory(models.Model):
    """A JSON value by scope and key. `store.py` writes it, `embedding.py` its embedding columns."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    scope = models.CharField(max_length=80)
    key = models.CharField(max_length=120)
    value = models.JSONField(null=True, blank=True, encoder=DjangoJSONEncoder)
    tags = ArrayField(models.TextField(), default=list, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="From then on nobody sees it")
    embedding_status = models.CharField(
        max_length=7, choices=EmbeddingStatus, default=EmbeddingStatus.PENDING, db_default=EmbeddingStatus.PENDING
    )
    embedding_error = models.JSONField(null=True, blank=True, encoder=DjangoJSONEncoder)
    embedded_at = models.DateTimeField(null=True, blank=True)

    written_by = models.CharField(max_length=160, default="", db_default="", blank=True)
    job_id = models.UUIDField(null=True, blank=True, help_text="The job that wrote it; no foreign key, jobs are pruned")
    trusted = models.BooleanField(
        default=True, db_default=True, help_text="Off: what a model or a stranger said; never an instruction"
    )
    revision = models.BigIntegerField(
        default=1, db_default=1, help_text="Grows with each write; a vector of another revision is not searched"
    )
    words = models.TextField(default="", blank=True, help_text="What text search reads: key, tags and value as words")
    lexemes = models.GeneratedField(
        expression=SearchVector("words", config=TEXT_CONFIG), output_field=SearchVectorField(), db_persist=True
    )
    embed_after = models.DateTimeField(
        null=True, blank=True, help_text="An embedding job may take it from then on; null: none needs to"
    )
    embed_tries = models.PositiveSmallIntegerField(default=0, db_default=0, help_text="That failed, of this revision")

    class Meta:
        ordering = ["-updated_at", "-id"]
        verbose_name_plural = "memories"
        constraints = [
            models.UniqueConstraint(fields=["scope", "key"], name="memory_is_one_for_each_scope_and_key"),
            models.CheckConstraint(
                condition=Q(embedding_status__in=EmbeddingStatus.values), name="memory_embedding_status_is_known"
            ),
            models.CheckConstraint(
                condition=Q(embedding_status="failed", embedding_error__isnull=False)
                | (~Q(embedding_status="failed") & Q(embedding_error__isnull=True)),
                name="memory_has_an_error_iff_it_failed",
            ),
            models.CheckConstraint(
                condition=~Q(embedding_status="ready") | Q(embedded_at__isnull=False),
                name="memory_is_ready_once_embedded",
            ),
        ]
        indexes = [
            models.Index(fields=["scope", "-updated_at", "-id"], name="memory_newest_of_scope"),
            models.Index(fields=["-updated_at", "-id"], name="memory_newest"),
            # With the id: a search learns from it alone which memories there are, and stops when there are many.
            models.Index(fields=["scope", "embedding_status", "expires_at"], include=["id"], name="memory_by_state"),
            models.Index(fields=["expires_at"], condition=Q(expires_at__isnull=False), name="memory_expiring"),
            # What is to be embedded, and what is to be embedded again by another model: new rows never wait for old.
            models.Index(
                fields=["embed_after"],
                condition=Q(embed_after__isnull=False) & ~Q(embedding_status="ready"),
                name="memory_to_embed",
            ),
            models.Index(
                fields=["embed_after"],
                condition=Q(embed_after__isnull=False, embedding_status="ready"),
                name="memory_to_embed_again",
            ),
            models.Index(fields=["embedding_status"], condition=~Q(embedding_status="ready"), name="memory_not_ready"),
            GinIndex(fields=["lexemes"], name="memory_by_word"),
            GinIndex(fields=["tags"], name="memory_by_tag"),
            GinIndex(fields=["value"], opclasses=["jsonb_path_ops"], name="memory_by_value"),
        ]

    def __str__(self) -> str:
        return f"{self.scope}/{self.key}"


class Space(models.Model):
    """One embedding model: only vectors of the same one can be compared. `spaces.py` moves its state."""

    class State(models.TextChoices):
        """What it is there for."""

        BUILDING = "building", "Being filled"
        """The configuration names it; searches use the one before until this has every vector."""
        ACTIVE = "active", "In use"
        RETIRED = "retired", "Retired"
        """Its vectors are being deleted, or are."""

    id = models.SmallAutoField(primary_key=True)
    provider = models.CharField(max_length=16, help_text="minilm, ollama or openai")
    model = models.CharField(max_length=200)
    dimension = models.PositiveIntegerField(
        null=True, blank=True, help_text="Of its vectors; null until the first was made"
    )
    state = models.CharField(max_length=8, choices=State, default=State.BUILDING)
    marked_to = models.UUIDField(
        null=True, blank=True, help_text="While it is being filled: memories up to this id are queued for it"
    )
    is_marked = models.BooleanField(default=False, db_default=False, help_text="All of them are")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ["-id"]
        verbose_name = "embedding model"
        constraints = [
            models.UniqueConstraint(fields=["provider", "model"], name="space_is_one_for_each_model"),
            models.UniqueConstraint(
                fields=["state"], condition=~Q(state="retired"), name="space_active_and_building_are_one_each"
            ),
            models.CheckConstraint(
                condition=Q(state__in=["building", "active", "retired"]), name="space_state_is_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"

    @property
    def index_name(self) -> str:
        """The name of its HNSW index."""
        return f"memory_vector_hnsw_{self.pk}"


class Vector(models.Model):
    """The vector of one memory in one model. Deleted with its memory, by Postgres."""

    pk = models.CompositePrimaryKey("memory_id", "space_id")
    memory = models.ForeignKey(
        Memory, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="vectors"
    )
    space = models.ForeignKey(
        Space, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="vectors"
    )
    revision = models.BigIntegerField(help_text="Of the memory that it was made of")
    embedding = VectorField(help_text="float32; its length is the model's dimension")
    made_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(F("space"), F("memory"), name="vector_by_space")]

    def __str__(self) -> str:
        return f"{self.memory_id} in {self.space_id}"


class Session(models.Model):
    """The working memory of one session: what it is about now. Replaced whole, gone when it expires."""

    id = models.CharField(primary_key=True, max_length=160)
    state = models.JSONField(encoder=DjangoJSONEncoder, help_text="The contract's state, without id and time")
    updated_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()
    written_by = models.CharField(max_length=160, default="", db_default="", blank=True)

    class Meta:
        ordering = ["-updated_at", "-id"]
        verbose_name = "working memory"
        verbose_name_plural = "working memory"
        indexes = [
            models.Index(fields=["-updated_at", "-id"], name="session_newest"),
            models.Index(fields=["expires_at"], name="session_expiring"),
        ]

    def __str__(self) -> str:
        return self.id
