"""`/v1/mcp-servers`: registering servers, and deciding which of their tools models may have."""

from __future__ import annotations

from typing import Any, ClassVar

from django.urls import path
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from access.permissions import RolePermission, UnrestrictedAdmin
from access.principals import principal_of
from jobs import bodies
from jobs.api.serializers import answer
from jobs.api.views import ERRORS
from providers.mcp import asking, servers
from providers.mcp.models import Approval, McpServer
from providers.mcp.representation import server_json, tool_json
from providers.mcp.requests import NewServer, ServerChange, ToolChange

Body = serializers.Serializer[Any]
NEW = {
    "name": "docs",
    "transport": "http",
    "url": "https://docs.example.org/mcp",
    "headers": {"authorization": "Bearer …"},
}
CHANGE = {"enabled": True, "approval": "untrusted"}
ACCEPT = {"accept": "3b0c…64 hex digits of definition_hash", "enabled": True}


class McpAdmin(UnrestrictedAdmin):
    """Whoever may make keys."""

    message = "MCP servers are managed by an admin key that may use every queue."


class McpServerChange(Body):
    """What of a server can be changed; `providers.mcp.requests` checks it."""

    url = serializers.CharField(required=False, help_text="http: its endpoint")
    headers = serializers.DictField(
        child=serializers.CharField(allow_null=True), required=False, write_only=True,
        help_text="http: values, sealed and never shown again; or `secret:mcp/…`, `enc:…`. null takes one away",
    )  # fmt: skip
    command = serializers.CharField(required=False, help_text="stdio: a command of MCP_STDIO_ALLOWLIST")
    args = serializers.ListField(child=serializers.CharField(), required=False)
    env = serializers.DictField(
        child=serializers.CharField(allow_null=True), required=False, write_only=True, help_text="stdio: as headers"
    )
    enabled = serializers.BooleanField(required=False, help_text="false by default")
    approval = serializers.ChoiceField(choices=Approval.choices, required=False, help_text="always by default")
    connect_timeout_sec = serializers.IntegerField(required=False, min_value=1, max_value=120)
    call_timeout_sec = serializers.IntegerField(required=False, min_value=1, max_value=3600)


class McpServerRequest(McpServerChange):
    """A server to register."""

    name = serializers.CharField(max_length=32, help_text="a-z 0-9 -; for good")
    transport = serializers.ChoiceField(choices=McpServer.Transport.choices)


class McpToolChange(Body):
    """What is decided about a tool."""

    accept = serializers.CharField(required=False, help_text="The `definition_hash` that was looked at")
    enabled = serializers.BooleanField(required=False)
    approval = serializers.ChoiceField(
        choices=[("", "As the server's"), *Approval.choices], required=False, allow_blank=True
    )


class McpServerObject(Body):
    """A server."""

    name = serializers.CharField()
    transport = serializers.ChoiceField(choices=McpServer.Transport.choices)
    url = serializers.CharField(allow_null=True)
    headers = serializers.ListField(child=serializers.CharField(), help_text="Their names")
    command = serializers.CharField(allow_null=True)
    args = serializers.ListField(child=serializers.CharField())
    env = serializers.ListField(child=serializers.CharField(), help_text="Their names")
    enabled = serializers.BooleanField()
    approval = serializers.ChoiceField(choices=Approval.choices)
    connect_timeout_sec = serializers.IntegerField()
    call_timeout_sec = serializers.IntegerField()
    reported = serializers.DictField(help_text="`name` and `version`, as the server says")
    refreshed_at = serializers.DateTimeField(allow_null=True)
    rejected = serializers.ListField(child=serializers.DictField(), help_text="Tools not taken over: name and reason")
    last_error = serializers.DictField(allow_null=True, help_text="Of the last refresh: code, message, at")
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField()
    updated_at = serializers.DateTimeField()
    updated_by = serializers.CharField()


class McpToolObject(Body):
    """A tool. Title, description, schema and hints are the server's words."""

    name = serializers.CharField()
    function = serializers.CharField(help_text="What models call it")
    title = serializers.CharField()
    description = serializers.CharField()
    input_schema = serializers.DictField()
    hints = serializers.DictField(help_text="Claims such as readOnlyHint; nothing goes by them")
    definition_hash = serializers.CharField()
    accepted_hash = serializers.CharField(allow_null=True)
    is_accepted = serializers.BooleanField()
    accepted = serializers.DictField(allow_null=True, help_text="What was accepted, where it is not the present one")
    accepted_at = serializers.DateTimeField(allow_null=True)
    accepted_by = serializers.CharField(allow_null=True)
    changed_at = serializers.DateTimeField(allow_null=True, help_text="When it ceased to be what was accepted")
    enabled = serializers.BooleanField()
    approval = serializers.CharField(allow_null=True)
    effective_approval = serializers.CharField(help_text="Its own, else its server's: always, untrusted or never")


LIST_ANSWER = answer("McpServers", servers=McpServerObject(many=True), count=serializers.IntegerField())
ONE_ANSWER = answer("OneMcpServer", server=McpServerObject())
DELETED_ANSWER = answer("McpServerDeleted", deleted=serializers.BooleanField())
REFRESH_ANSWER = answer("McpRefreshAsked", job_id=serializers.UUIDField(help_text="Its result: what was found"))
TOOLS_ANSWER = answer("McpTools", tools=McpToolObject(many=True), count=serializers.IntegerField())
TOOL_ANSWER = answer("OneMcpTool", tool=McpToolObject())


class McpView(APIView):
    """What all of these share."""

    permission_classes = [RolePermission, McpAdmin]


class ServersView(McpView):
    """The registered servers."""

    serializer_class = McpServerRequest
    examples: ClassVar[dict[str, Any]] = {"POST": NEW}

    @extend_schema(operation_id="mcp_servers_list", tags=["MCP servers"], responses={200: LIST_ANSWER, **ERRORS})
    def get(self, request: Request) -> Response:
        """All of them, by name."""
        found = [server_json(server) for server in McpServer.objects.all()[:1000]]
        return Response({"ok": True, "servers": found, "count": len(found)})

    @extend_schema(
        operation_id="mcp_server_create", tags=["MCP servers"], request=McpServerRequest,
        responses={201: ONE_ANSWER, **ERRORS},
        examples=[OpenApiExample("A server with a key", NEW, request_only=True)],
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Register a server. Nothing is asked of it before it is enabled and refreshed."""
        server = servers.create(bodies.parse(NewServer, request.data), by=principal_of(request).actor)
        return Response({"ok": True, "server": server_json(server)}, status=201)


class ServerView(McpView):
    """One server."""

    serializer_class = McpServerChange
    examples: ClassVar[dict[str, Any]] = {"PATCH": CHANGE}

    @extend_schema(operation_id="mcp_server", tags=["MCP servers"], responses={200: ONE_ANSWER, **ERRORS})
    def get(self, request: Request, name: str) -> Response:
        """How it is reached, and how its last refresh went."""
        return Response({"ok": True, "server": server_json(servers.find(name))})

    @extend_schema(
        operation_id="mcp_server_change", tags=["MCP servers"], request=McpServerChange,
        responses={200: ONE_ANSWER, **ERRORS},
    )  # fmt: skip
    def patch(self, request: Request, name: str) -> Response:
        """Change what is sent; of headers and env those that are named."""
        server = servers.change(name, bodies.parse(ServerChange, request.data), by=principal_of(request).actor)
        return Response({"ok": True, "server": server_json(server)})

    @extend_schema(
        operation_id="mcp_server_delete", tags=["MCP servers"], request=None, responses={200: DELETED_ANSWER, **ERRORS}
    )
    def delete(self, request: Request, name: str) -> Response:
        """Forget it, its tools and what was sealed for it."""
        servers.delete(name, by=principal_of(request).actor)
        return Response({"ok": True, "deleted": True})


class RefreshView(McpView):
    """Asking a server what it offers."""

    @extend_schema(
        operation_id="mcp_server_refresh", tags=["MCP servers"], request=None, responses={202: REFRESH_ANSWER, **ERRORS}
    )
    def post(self, request: Request, name: str) -> Response:
        """Make the job that lists the server's tools. New ones wait to be accepted; changed ones are switched off."""
        principal = principal_of(request)
        job = asking.ask_for_refresh(name, by=principal.actor, principal=principal)
        return Response({"ok": True, "job_id": str(job.pk)}, status=202)


class ToolsView(McpView):
    """The tools of a server."""

    @extend_schema(operation_id="mcp_tools_list", tags=["MCP servers"], responses={200: TOOLS_ANSWER, **ERRORS})
    def get(self, request: Request, name: str) -> Response:
        """As the last refresh found them."""
        found = [tool_json(tool) for tool in servers.find(name).tools.select_related("server").order_by("name")]
        return Response({"ok": True, "tools": found, "count": len(found)})


class ToolView(McpView):
    """One tool of a server."""

    serializer_class = McpToolChange
    examples: ClassVar[dict[str, Any]] = {"PATCH": ACCEPT}

    @extend_schema(
        operation_id="mcp_tool_change", tags=["MCP servers"], request=McpToolChange,
        responses={200: TOOL_ANSWER, **ERRORS},
        examples=[OpenApiExample("Accept and enable", ACCEPT, request_only=True)],
    )  # fmt: skip
    def patch(self, request: Request, name: str, tool: str) -> Response:
        """Accept the definition that was looked at, switch the tool, or give it a policy of its own."""
        wanted = bodies.parse(ToolChange, request.data)
        changed = servers.change_tool(name, tool, wanted, by=principal_of(request).actor)
        return Response({"ok": True, "tool": tool_json(changed)})


urlpatterns = [
    path("mcp-servers", ServersView.as_view(), name="mcp-servers"),
    path("mcp-servers/<str:name>", ServerView.as_view(), name="mcp-server"),
    path("mcp-servers/<str:name>/refresh", RefreshView.as_view(), name="mcp-server-refresh"),
    path("mcp-servers/<str:name>/tools", ToolsView.as_view(), name="mcp-tools"),
    path("mcp-servers/<str:name>/tools/<str:tool>", ToolView.as_view(), name="mcp-tool"),
]
