"""The admin's pages for MCP servers and their tools."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldBooleanWidget

from access.admin import actor_of
from jobs import bodies
from jobs.admin.common import badge, each, json_block
from providers.mcp import asking, servers
from providers.mcp.models import McpServer, McpTool
from providers.mcp.requests import NewServer, ServerChange, ToolChange
from rauskuclaw.errors import Problem

_PLAIN = ("url", "command", "args", "enabled", "approval", "connect_timeout_sec", "call_timeout_sec")


def _values_field(label: str, example: str) -> forms.CharField:
    return forms.CharField(
        label=label, required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3, "autocomplete": "off"}),
        help_text=f"One {example} a line; kept sealed, never shown again. A name without a value takes it away.",
    )  # fmt: skip


class ServerForm(forms.ModelForm):  # type: ignore[type-arg]
    """A server; headers and variables only go in."""

    arguments = forms.CharField(
        required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}), help_text="stdio: one a line"
    )
    set_headers = _values_field("Set headers", "name: value")
    set_env = _values_field("Set variables", "NAME: value")

    class Meta:
        model = McpServer
        fields = ["name", "transport", "url", "command", "enabled", "approval", "connect_timeout_sec",
                  "call_timeout_sec"]  # fmt: skip

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.initial.setdefault("arguments", "\n".join(self.instance.args or []))

    def clean(self) -> dict[str, Any]:
        """Tell what the API would refuse beside the field that is wrong."""
        values = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                wanted = self.wanted()
                wanted.check_secrets()
                self._check_fit(wanted)
            except Problem as problem:
                for fault in (problem.details or {}).get("errors") or [{"path": "", "message": problem.message}]:
                    field = fault["path"].partition(".")[0]
                    shown = {"args": "arguments", "headers": "set_headers", "env": "set_env"}.get(field, field)
                    self.add_error(shown if shown in self.fields else None, fault["message"])
        return values

    def _check_fit(self, wanted: NewServer | ServerChange) -> None:
        """Raises Problem unless it has what its transport needs."""
        kept = self.instance
        fitted = McpServer(
            transport=self.cleaned_data.get("transport") or kept.transport,
            url=wanted.url or "",
            command=wanted.command or "",
            args=wanted.args or [],
            headers=kept.headers | (wanted.headers or {}),
            env=kept.env | (wanted.env or {}),
        )
        servers.check(fitted)

    def wanted(self) -> NewServer | ServerChange:
        """As the API would be sent it."""
        values = self.cleaned_data
        body = {name: values[name] for name in _PLAIN if name in values}
        body["args"] = [line for line in values["arguments"].splitlines() if line]
        body["headers"], body["env"] = _values(values["set_headers"]), _values(values["set_env"])
        if self.instance.pk:
            return bodies.parse(ServerChange, body)
        return bodies.parse(NewServer, {**body, "name": values["name"], "transport": values["transport"]})


def _values(text: str) -> dict[str, str | None]:
    pairs = [line.partition(":") for line in text.splitlines() if line.strip()]
    return {name.strip(): value.strip() or None for name, _, value in pairs}


@admin.register(McpServer)
class McpServerAdmin(ModelAdmin):  # type: ignore[misc]
    """Servers: register, change, refresh, delete."""

    form = ServerForm
    list_display = ["name", "transport", "state", "approval", "tool_count", "refreshed_at", "last_error_code"]
    list_filter = ["transport", "enabled"]
    search_fields = ["name", "url", "command"]
    actions = ["refresh"]
    _seen = (
        "header_names", "variable_names", "reported_name", "reported_version", "refreshed_at", "shown_rejected",
        "last_error_code", "last_error", "last_error_at", "created_by", "updated_by",
    )  # fmt: skip

    def get_readonly_fields(self, request: HttpRequest, obj: McpServer | None = None) -> list[str]:
        """Name and transport are for good."""
        return ["name", "transport", *self._seen] if obj else []

    def get_fields(self, request: HttpRequest, obj: McpServer | None = None) -> list[str]:
        """First what can be changed."""
        given = ["name", "transport", "url", "set_headers", "command", "arguments", "set_env", "enabled", "approval",
                 "connect_timeout_sec", "call_timeout_sec"]  # fmt: skip
        return [*given, *self._seen] if obj else given

    @admin.display(description="state")
    def state(self, server: McpServer) -> SafeString:
        """Whether it is asked, and whether something is to be done."""
        if not server.enabled:
            return badge("default", "off")
        if server.last_error_code:
            return badge("danger", "failed")
        if server.tools.exclude(changed_at=None).exists():
            return badge("warning", "tools changed")
        return badge("success", "on") if server.refreshed_at else badge("info", "never refreshed")

    @admin.display(description="tools")
    def tool_count(self, server: McpServer) -> str:
        """Those that models may have, of all."""
        return f"{server.tools.filter(enabled=True).count()} of {server.tools.count()}"

    @admin.display(description="headers")
    def header_names(self, server: McpServer) -> str:
        """Their names."""
        return ", ".join(sorted(server.headers)) or "–"

    @admin.display(description="variables")
    def variable_names(self, server: McpServer) -> str:
        """Their names."""
        return ", ".join(sorted(server.env)) or "–"

    @admin.display(description="rejected tools")
    def shown_rejected(self, server: McpServer) -> SafeString:
        """And why."""
        return json_block(server.rejected)

    @admin.action(description="Refresh: ask for its tools")
    def refresh(self, request: HttpRequest, queryset: QuerySet[McpServer]) -> None:
        """A job for each."""
        by = actor_of(request)
        each(request, queryset, lambda it: asking.ask_for_refresh(it.name, by=by), "Asked for", "Not refreshed")

    def save_model(self, request: HttpRequest, obj: McpServer, form: ServerForm, change: bool) -> None:
        """Through the verbs that seal and record."""
        wanted, by = form.wanted(), actor_of(request)
        if isinstance(wanted, NewServer):
            kept = servers.create(wanted, by=by)
        else:
            kept = servers.change(obj.name, wanted, by=by)
        obj.__dict__.update(kept.__dict__)

    def delete_model(self, request: HttpRequest, obj: McpServer) -> None:
        """With its secrets."""
        servers.delete(obj.name, by=actor_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[McpServer]) -> None:
        """Each of them."""
        for name in list(queryset.values_list("name", flat=True)):
            servers.delete(name, by=actor_of(request))


class ToolForm(forms.ModelForm):  # type: ignore[type-arg]
    """What is decided of a tool. A definition is accepted as the page showed it, whatever it may be by now."""

    shown_hash = forms.CharField(widget=forms.HiddenInput)
    accept = forms.BooleanField(
        label="Accept this definition", required=False, widget=UnfoldBooleanWidget,
        help_text="Read the description and the schema first: models are told them",
    )  # fmt: skip

    class Meta:
        model = McpTool
        fields = ["enabled", "approval"]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.initial["shown_hash"] = self.instance.definition_hash

    def clean(self) -> dict[str, Any]:
        """Tell what the API would refuse."""
        values = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                servers.check_tool(self.instance, self.wanted())
            except Problem as problem:
                self.add_error("accept", problem.message)
        return values

    def wanted(self) -> ToolChange:
        """As the API would be sent it."""
        values = self.cleaned_data
        body = {"enabled": values["enabled"], "approval": values["approval"]}
        return bodies.parse(ToolChange, body | ({"accept": values["shown_hash"]} if values["accept"] else {}))


@admin.register(McpTool)
class McpToolAdmin(ModelAdmin):  # type: ignore[misc]
    """Tools: look at what they are, accept them, switch them. Their texts are the server's."""

    list_display = ["function", "server", "name", "state", "enabled", "approval"]
    list_filter = ["server", "enabled", ("changed_at", admin.EmptyFieldListFilter)]
    search_fields = ["name", "function"]
    actions = ["disable"]
    form = ToolForm
    list_select_related = ["server"]
    fields = [
        "server", "name", "function", "state", "accept", "enabled", "approval", "shown_hash", "title",
        "description", "schema", "hints",
        "was_accepted", "definition_hash", "accepted_hash", "accepted_at", "accepted_by", "changed_at",
    ]  # fmt: skip
    readonly_fields = [name for name in fields if name not in {"accept", "enabled", "approval", "shown_hash"}]

    @admin.display(description="state")
    def state(self, tool: McpTool) -> SafeString:
        """Whether its definition is the accepted one."""
        if tool.is_accepted:
            return badge("success", "accepted")
        return badge("danger", "changed") if tool.accepted_hash else badge("info", "new")

    @admin.display(description="input schema")
    def schema(self, tool: McpTool) -> SafeString:
        """As the server has it now."""
        return json_block(tool.input_schema)

    @admin.display(description="what was accepted")
    def was_accepted(self, tool: McpTool) -> SafeString:
        """Where it is another than the present one."""
        return json_block(None if tool.is_accepted else tool.accepted)

    @admin.action(description="Switch off")
    def disable(self, request: HttpRequest, queryset: QuerySet[McpTool]) -> None:
        """Each."""

        def verb(tool: McpTool) -> object:
            return servers.change_tool(tool.server.name, tool.name, ToolChange(enabled=False), by=actor_of(request))

        each(request, queryset.select_related("server"), verb, "Switched off", "Not switched off")

    def save_model(self, request: HttpRequest, obj: McpTool, form: ToolForm, change: bool) -> None:
        """Through the verb that records."""
        kept = servers.change_tool(obj.server.name, obj.name, form.wanted(), by=actor_of(request))
        obj.__dict__.update(kept.__dict__)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Servers list them."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: McpTool | None = None) -> bool:
        """They go when their server lists them no more."""
        return False
