"""Registered servers and what they offer. `servers.py` writes what an operator decides, `listing.py` what they said."""

from __future__ import annotations

from typing import cast

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from rauskuclaw.config_handlers import ApprovalPolicy

MAX_SERVER_NAME = 32


class Approval(models.TextChoices):
    """When a person must agree before a model's call of a tool is made."""

    ALWAYS = "always", "Each call"
    UNTRUSTED = "untrusted", "Calls after untrusted text has entered the conversation"
    NEVER = "never", "No call"


class McpServer(models.Model):
    """A server, and how to reach it. Values of headers and variables are references to secrets, never secrets."""

    class Transport(models.TextChoices):
        """How it is spoken to."""

        HTTP = "http", "Streamable HTTP"
        STDIO = "stdio", "A command of the worker's machine"

    id = models.BigAutoField(primary_key=True)
    name = models.CharField(
        max_length=MAX_SERVER_NAME, unique=True, help_text="a-z 0-9 -; part of the names of its tools, and for good"
    )
    transport = models.CharField(max_length=5, choices=Transport)
    url = models.CharField(max_length=2000, blank=True, default="", help_text="http: its endpoint")
    headers = models.JSONField(default=dict, blank=True, help_text="http: name and reference to a secret")
    command = models.CharField(max_length=1000, blank=True, default="", help_text="stdio: one of MCP_STDIO_ALLOWLIST")
    args = ArrayField(models.CharField(max_length=4000), default=list, blank=True, help_text="stdio: its arguments")
    env = models.JSONField(default=dict, blank=True, help_text="stdio: variable and reference to a secret")
    enabled = models.BooleanField(default=False)
    approval = models.CharField(max_length=9, choices=Approval, default=Approval.ALWAYS)
    connect_timeout_sec = models.PositiveSmallIntegerField(default=10, help_text="Until it has said who it is")
    call_timeout_sec = models.PositiveSmallIntegerField(default=60, help_text="For a whole call or refresh")
    reported_name = models.CharField(max_length=200, blank=True, default="", editable=False)
    reported_version = models.CharField(max_length=100, blank=True, default="", editable=False)
    refreshed_at = models.DateTimeField(null=True, editable=False)
    rejected = models.JSONField(default=list, editable=False, help_text="Tools that were not taken over, and why")
    last_error_code = models.CharField(max_length=60, blank=True, default="", editable=False)
    last_error = models.CharField(max_length=1000, blank=True, default="", editable=False)
    last_error_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    created_by = models.CharField(max_length=160, editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_by = models.CharField(max_length=160, editable=False)

    class Meta:
        ordering = ["name"]
        verbose_name = "MCP server"
        constraints = [
            models.CheckConstraint(
                condition=(Q(transport="http", command="") & ~Q(url=""))
                | (Q(transport="stdio", url="") & ~Q(command="")),
                name="mcpserver_has_the_address_of_its_transport",
            ),
            models.CheckConstraint(
                condition=Q(connect_timeout_sec__range=(1, 120), call_timeout_sec__range=(1, 3600)),
                name="mcpserver_timeouts_are_in_bounds",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class McpTool(models.Model):
    """A tool as its server last defined it. Models may have it while the accepted definition is the present one."""

    id = models.BigAutoField(primary_key=True)
    server = models.ForeignKey(McpServer, on_delete=models.CASCADE, related_name="tools", editable=False)
    name = models.CharField(max_length=128, editable=False)
    function = models.CharField(max_length=64, unique=True, editable=False, help_text="What models call it")
    title = models.CharField(max_length=200, blank=True, default="", editable=False)
    description = models.TextField(blank=True, default="", editable=False)
    input_schema = models.JSONField(editable=False)
    hints = models.JSONField(default=dict, editable=False, help_text="What the server claims of it: readOnlyHint, …")
    definition_hash = models.CharField(max_length=64, editable=False)
    accepted_hash = models.CharField(max_length=64, blank=True, default="", editable=False)
    accepted = models.JSONField(null=True, editable=False, help_text="The definition that was accepted")
    accepted_at = models.DateTimeField(null=True, editable=False)
    accepted_by = models.CharField(max_length=160, blank=True, default="", editable=False)
    changed_at = models.DateTimeField(null=True, editable=False, help_text="When it ceased to be what was accepted")
    enabled = models.BooleanField(default=False)
    approval = models.CharField(max_length=9, choices=Approval, blank=True, default="", help_text="Empty: the server's")

    class Meta:
        ordering = ["server", "name"]
        verbose_name = "MCP tool"
        constraints = [
            models.UniqueConstraint(fields=["server", "name"], name="mcptool_is_one_of_its_server"),
            models.CheckConstraint(
                condition=Q(enabled=False) | Q(accepted_hash=models.F("definition_hash")),
                name="mcptool_is_enabled_only_as_accepted",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.server.name}/{self.name}"

    @property
    def is_accepted(self) -> bool:
        """Whether its present definition is the accepted one."""
        return self.accepted_hash == self.definition_hash

    @property
    def effective_approval(self) -> ApprovalPolicy:
        """Its own policy, else its server's."""
        return cast("ApprovalPolicy", self.approval or self.server.approval)
