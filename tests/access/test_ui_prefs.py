"""Preferences of clients, their secrets, and tools overridden at run time (contract 2.12 and 7.5)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from access import runtime_tools, secrets, ui_prefs
from access.models import AuditEntry, Secret, UiPrefs
from jobs.handlers.base import AttemptFailed
from jobs.handlers.tool_exec import ExecInput, ToolExec
from rauskuclaw.config import Config
from tests.apiclient import GPU_ONLY, READER, Api

BRAVE = "BSA-0123456789-very-secret"
TOOLS = "/v1/ui-prefs?scope=runtime_tools"


@pytest.fixture(autouse=True)
def read_anew() -> Iterator[None]:
    runtime_tools.forget()
    yield
    runtime_tools.forget()


def put(api: Api, prefs: Any, scope: str = "default", **options: Any) -> Any:
    return api("PUT", f"/v1/ui-prefs?scope={scope}", {"prefs": prefs}, **options)


def test_a_scope_is_empty_until_it_is_written(api: Api) -> None:
    empty = {"ok": True, "scope": "default", "prefs": {}, "created_at": None, "updated_at": None}

    assert api.get("/v1/ui-prefs").json == api.get("/v1/ui-prefs?scope=undefined").json == empty


def test_writing_replaces_all(api: Api) -> None:
    first = put(api, {"devMode": True, "chatMaxPromptTokens": 12000, "note": None})
    second = put(api, {"devMode": False})

    assert first.json["prefs"] == {"devMode": True, "chatMaxPromptTokens": 12000, "note": None}
    assert api.get("/v1/ui-prefs").json == second.json
    assert second.json["prefs"] == {"devMode": False}
    assert second.json["created_at"] == first.json["created_at"]
    assert [entry.action for entry in AuditEntry.objects.all()] == ["ui_prefs.replaced"] * 2


def test_the_bare_object_is_taken_too(api: Api) -> None:
    assert api("PUT", "/v1/ui-prefs?scope=a:b", {"devMode": True}).json["prefs"] == {"devMode": True}
    assert api.get("/v1/ui-prefs").json["prefs"] == {}


@pytest.mark.parametrize(
    ("scope", "body"),
    [
        ("default", []),
        ("default", {"prefs": []}),
        ("default", {"prefs": "x"}),
        ("default", {"prefs": {"x": "y" * 32_768}}),
        ("no%20scope", {}),
        ("x" * 81, {}),
        ("default", {"prefs": {"hooks": [{"api_key": "a secret in a list"}]}}),
        ("default", {"prefs": {"Ünusual name": {"api_key": "it cannot be named"}}}),
    ],
    ids=["list", "list-inside", "text", "large", "scope", "long-scope", "secret-in-list", "unnameable"],
)
def test_what_cannot_be_kept_is_refused(api: Api, scope: str, body: Any) -> None:
    answer = api("PUT", f"/v1/ui-prefs?scope={scope}", body)

    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert not UiPrefs.objects.exists()
    assert not Secret.objects.exists()


def test_just_what_fits_is_kept(api: Api) -> None:
    assert put(api, {"x": "y" * (32_768 - len('{"x":""}'))}).status == 200


def test_a_read_key_reads(api: Api) -> None:
    assert put(api, {}, key=READER).code == "FORBIDDEN"
    assert api.get("/v1/ui-prefs", key=READER).status == 200


class TestSecrets:
    def test_they_are_sealed_and_never_shown(self, api: Api) -> None:
        answers = [put(api, {"web_search": {"brave_api_key": BRAVE, "enabled": True}}, "runtime_tools"), api.get(TOOLS)]

        for answer in answers:
            assert answer.json["prefs"] == {"web_search": {"enabled": True, "brave_api_key_configured": True}}
            assert BRAVE not in answer.text
        assert BRAVE not in str(UiPrefs.objects.get().value)
        assert BRAVE not in str(list(AuditEntry.objects.values_list("details", flat=True)))
        assert secrets.read("ui-prefs/runtime_tools/web_search.brave_api_key") == BRAVE

    def test_what_is_shown_can_be_sent_back(self, api: Api) -> None:
        put(api, {"web_search": {"brave_api_key": BRAVE}}, "runtime_tools")
        shown = api.get(TOOLS).json["prefs"]

        answer = put(api, {**shown, "tool_exec": {"enabled": False}}, "runtime_tools")

        assert answer.json["prefs"]["web_search"] == {"brave_api_key_configured": True}
        assert secrets.read("ui-prefs/runtime_tools/web_search.brave_api_key") == BRAVE
        assert UiPrefs.objects.get().value == {"web_search": {}, "tool_exec": {"enabled": False}}

    @pytest.mark.parametrize(
        "prefs",
        [{}, {"web_search": {"brave_api_key": ""}}, {"web_search": {"brave_api_key": None}}, {"tool_exec": {}}],
        ids=["nothing", "blank", "null", "without-its-object"],
    )
    def test_they_go_when_they_are_taken_back(self, api: Api, prefs: Any) -> None:
        put(api, {"web_search": {"brave_api_key": BRAVE}}, "runtime_tools")

        answer = put(api, prefs, "runtime_tools")

        assert "configured" not in answer.text
        assert not Secret.objects.exists()

    def test_scopes_do_not_share_them(self, api: Api) -> None:
        put(api, {"api_key": "the first of two"}, "one")
        put(api, {"api_key": "the second of two"}, "two")
        put(api, {}, "one")

        assert list(Secret.objects.values_list("name", flat=True)) == ["ui-prefs/two/api_key"]


class TestRuntimeTools:
    def shown(self, api: Api) -> Any:
        return api.get("/v1/runtime/handlers").json["handlers"]

    def test_overrides_are_shown(self, api: Api) -> None:
        put(
            api,
            {
                "tool_exec": {"enabled": True, "allowlist": "git, ls", "timeout_ms": 500},
                "data_fetch": {"enabled": True, "allowlist": ["example.com"], "timeout_ms": 900, "max_bytes": 1024},
                "web_search": {"enabled": True, "provider": "brave", "max_results": 3, "brave_api_key": BRAVE},
            },
            "runtime_tools",
        )

        shown = self.shown(api)

        assert shown["tool_exec"] == {
            "enabled": True,
            "allowlist_count": 2,
            "allowlist": ["git", "ls"],
            "timeout_ms": 500,
        }
        assert (shown["data_fetch"]["allowlist"], shown["data_fetch"]["max_bytes"]) == (["example.com"], 1024)
        assert (shown["web_search"]["provider"], shown["web_search"]["max_results"]) == ("brave", 3)
        assert shown["web_search"]["brave_api_key_configured"] is True
        assert BRAVE not in str(shown)

    @pytest.mark.parametrize(
        "tools",
        [
            {"tool_exec": {"enabled": "yes", "allowlist": "", "timeout_ms": 99}},
            {"tool_exec": {"enabled": None, "allowlist": [], "timeout_ms": 120_001}},
            {"tool_exec": {"allowlist": {"a": 1}, "timeout_ms": True}},
            {"tool_exec": {"allowlist": " , ", "timeout_ms": 100.5}},
            {"tool_exec": "enabled"},
            {"web_search": {"provider": "other", "base_url": "ftp://x", "max_results": 0}},
            {"unknown": {"enabled": True}},
        ],
    )
    def test_what_makes_no_sense_overrides_nothing(self, api: Api, tools: Any) -> None:
        before = self.shown(api)

        put(api, tools, "runtime_tools")

        assert self.shown(api) == before

    def test_switching_off_what_the_configuration_switches_on(self, api: Api, configure: Callable[..., Config]) -> None:
        configure(TOOL_EXEC_ENABLED=1, WEB_SEARCH_BRAVE_API_KEY=BRAVE)
        put(api, {"tool_exec": {"enabled": False}, "web_search": {"brave_api_key": ""}}, "runtime_tools")

        shown = self.shown(api)

        assert shown["tool_exec"]["enabled"] is False
        assert shown["web_search"]["brave_api_key_configured"] is False

    def test_a_key_for_some_queues_overrides_nothing(self, api: Api) -> None:
        answer = put(api, {"tool_exec": {"enabled": True}}, "runtime_tools", key=GPU_ONLY)

        assert (answer.status, answer.json["error"]["details"]) == (403, {"allowed_queues": ["gpu"]})
        assert put(api, {}, "default", key=GPU_ONLY).status == 200

    def test_handlers_go_by_them(self, api: Api) -> None:
        class Asked:
            input = ExecInput(command="nothing-of-this-name")
            log = staticmethod(lambda *_args, **_meta: None)

            def remaining_sec(self) -> float:
                return 30.0

        put(api, {"tool_exec": {"enabled": True, "allowlist": ["nothing-of-this-name"]}}, "runtime_tools")
        with pytest.raises(AttemptFailed) as allowed:
            ToolExec().run(Asked())  # type: ignore[arg-type]
        put(api, {"tool_exec": {"enabled": False}}, "runtime_tools")
        with pytest.raises(AttemptFailed) as off:
            ToolExec().run(Asked())  # type: ignore[arg-type]

        assert (allowed.value.code.name, off.value.code.name) == ("COMMAND_FAILED", "HANDLER_DISABLED")

    def test_a_process_reads_them_once_in_a_while(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        ui_prefs.replace("runtime_tools", {"tool_exec": {"timeout_ms": 200}}, by="test")
        assert runtime_tools.effective().tool_exec_timeout_ms == 200
        ui_prefs.replace("runtime_tools", {"tool_exec": {"timeout_ms": 300}}, by="test")

        assert runtime_tools.effective().tool_exec_timeout_ms == 200
        monkeypatch.setattr(runtime_tools, "FRESH_SEC", -1.0)
        assert runtime_tools.effective().tool_exec_timeout_ms == 300

    @pytest.mark.django_db(transaction=True)
    def test_an_event_loop_reads_them_too(self) -> None:
        ui_prefs.replace("runtime_tools", {"data_fetch": {"enabled": True, "max_bytes": 600}}, by="test")

        config = asyncio.run(runtime_tools.aeffective())

        assert (config.data_fetch_enabled, config.data_fetch_max_bytes) == (True, 600)

    def test_a_key_that_does_not_open_counts_as_none(self, api: Api, configure: Callable[..., Config]) -> None:
        put(api, {"web_search": {"brave_api_key": BRAVE}}, "runtime_tools")
        Secret.objects.update(sealed="enc:1:00000000:AAAA")

        assert self.shown(api)["web_search"]["brave_api_key_configured"] is False
