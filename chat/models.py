"""Threads, their messages and the jobs that answers suggest. `threads.py` and `suggestions.py` change them."""

from __future__ import annotations

import uuid

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q
from django.db.models.functions import Left, Now

SEARCHED = Left("text", 50_000)
"""Of a message, what a search finds: Postgres takes no more than 1 MiB of different words."""


class Role(models.TextChoices):
    """Who speaks."""

    USER = "user", "A person"
    ASSISTANT = "assistant", "The model"
    RESULTS = "results", "Jobs that an answer suggested"
    """What they came to: data that nobody vouches for, never instructions."""


class State(models.TextChoices):
    """How far a message is; only answers are ever anything but done."""

    PENDING = "pending", "Is being written"
    DONE = "done", "Is whole"
    FAILED = "failed", "Could not be written"
    CANCELLED = "cancelled", "Was stopped"


class SuggestionState(models.TextChoices):
    """What has become of a suggestion."""

    SUGGESTED = "suggested", "Waits for a person"
    APPROVED = "approved", "Waits for a job that it depends on"
    RUNNING = "running", "Its job has not ended"
    DONE = "done", "Its job has ended"
    DISMISSED = "dismissed", "Is not to be done"


class Thread(models.Model):
    """A conversation: a tree of messages, of which one branch is shown."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    title = models.CharField(max_length=200, blank=True, default="")
    queue = models.CharField(max_length=80, default="default", help_text="Of its answers, and who may see it")
    settings = models.JSONField(default=dict, help_text="How it is answered: chat/requests.py, Settings")
    head = models.ForeignKey(
        "Message", null=True, blank=True, on_delete=models.SET_NULL, related_name="+", db_index=False,
        help_text="The last message of the branch that is shown",
    )  # fmt: skip
    created_by = models.CharField(max_length=160)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now(), help_text="When its last message came, or was finished")
    archived_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-updated_at", "-id"]
        indexes = [
            models.Index(fields=["-updated_at", "-id"], name="thread_newest"),
            GinIndex(SearchVector("title", config="simple"), name="thread_by_title"),
        ]

    def __str__(self) -> str:
        return self.title or str(self.id)


class Message(models.Model):
    """Something that was said. Its text never changes once it is done: editing makes a branch."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    thread = models.ForeignKey(Thread, on_delete=models.CASCADE, related_name="messages", db_index=False)
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.CASCADE, related_name="replies")
    role = models.CharField(max_length=9, choices=Role)
    text = models.TextField(blank=True, default="")
    state = models.CharField(max_length=9, choices=State, default=State.DONE)
    job_id = models.UUIDField(null=True, blank=True, help_text="The job that writes, or wrote, the answer")
    error = models.JSONField(null=True, blank=True, encoder=DjangoJSONEncoder)
    facts = models.JSONField(default=dict, blank=True, help_text="Model, usage, finish reason, suggestions left out")
    created_by = models.CharField(max_length=160)
    reference = models.CharField(max_length=200, blank=True, default="", help_text="The credential of who asked")
    request_digest = models.CharField(max_length=64, null=True, blank=True)  # noqa: DJ001 - unique where there is one
    created_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            models.CheckConstraint(condition=Q(role__in=Role.values), name="message_role_is_known"),
            models.CheckConstraint(condition=Q(state__in=State.values), name="message_state_is_known"),
            models.CheckConstraint(
                condition=Q(state=State.DONE) | Q(role=Role.ASSISTANT), name="message_is_unfinished_only_as_an_answer"
            ),
            models.UniqueConstraint(fields=["thread", "request_digest"], name="message_is_posted_once"),
        ]
        indexes = [
            models.Index(fields=["thread", "created_at", "id"], name="message_of_thread"),
            models.Index(fields=["job_id"], condition=Q(state=State.PENDING), name="message_pending"),
            GinIndex(SearchVector(SEARCHED, config="simple"), name="message_by_words"),
        ]

    def __str__(self) -> str:
        return f"{self.role} {self.id}"


class Suggestion(models.Model):
    """A job that an answer asked for."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="suggestions", db_index=False)
    position = models.PositiveSmallIntegerField(help_text="From 0, in the order of the answer")
    fields = models.JSONField(help_text="type, queue, input, priority, timeout_sec, max_attempts, tags")
    state = models.CharField(max_length=9, choices=SuggestionState, default=SuggestionState.SUGGESTED)
    reasons = ArrayField(models.TextField(), default=list, blank=True, help_text="Why it needs a person's approval")
    job_id = models.UUIDField(null=True, blank=True)
    job_status = models.CharField(max_length=9, blank=True, default="", help_text="The job's, when it had ended")
    problem = models.JSONField(null=True, blank=True, help_text="Why no job could be made: code, message")
    decided_by = models.CharField(max_length=160, blank=True, default="")
    decided_at = models.DateTimeField(null=True, blank=True)
    results = models.ForeignKey(
        Message, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", db_index=False,
        help_text="The message that tells what its job came to",
    )  # fmt: skip

    class Meta:
        ordering = ["message", "position"]
        constraints = [
            models.UniqueConstraint(fields=["message", "position"], name="suggestion_has_its_place"),
            models.CheckConstraint(condition=Q(state__in=SuggestionState.values), name="suggestion_state_is_known"),
            models.CheckConstraint(
                condition=~Q(state__in=["running", "done"]) | Q(job_id__isnull=False), name="suggestion_runs_as_a_job"
            ),
        ]
        indexes = [
            models.Index(fields=["job_id"], condition=Q(state="running"), name="suggestion_running"),
            models.Index(
                fields=["message"], condition=Q(state="done", results__isnull=True), name="suggestion_to_be_told"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.fields.get('type')} {self.id}"
