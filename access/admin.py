"""The admin's pages for keys, secrets, users and the audit log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.contrib.postgres.fields import ArrayField
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextInputWidget

from access import audit, keys, secrets, ui_prefs
from access.models import ApiKey, AuditEntry, Secret, UiPrefs
from rauskuclaw.admin_filters import MomentFilter
from rauskuclaw.errors import Problem


def actor_of(request: HttpRequest) -> str:
    """The admin's user as the audit log names it."""
    return f"user:{request.user.get_username()}"


class KeyForm(forms.ModelForm):  # type: ignore[type-arg]
    """A new key's name and rights."""

    class Meta:
        model = ApiKey
        fields = ["name", "role", "sse", "queue_allowlist", "expires_at"]

    def clean(self) -> dict[str, Any]:
        """Tell what `keys.create` would refuse beside the field that is wrong."""
        values = super().clean() or self.cleaned_data
        values["queue_allowlist"] = values.get("queue_allowlist") or None
        if not self.errors:
            rights = {field: values[field] for field in ("name", "role", "queue_allowlist", "expires_at")}
            try:
                keys.check(**rights)
            except Problem as problem:
                faults = (problem.details or {}).get("errors") or [{"path": "name", "message": problem.message}]
                for fault in faults:
                    self.add_error(fault["path"].partition("[")[0], fault["message"])
        return values


@admin.register(ApiKey)
class ApiKeyAdmin(ModelAdmin):  # type: ignore[misc]
    """Keys: make, look, revoke. A key's rights never change."""

    form = KeyForm
    list_display = ["name", "shown_prefix", "role", "queues", "state", "last_used_at", "expires_at", "created_by"]
    list_filter = ["role", ("revoked_at", admin.EmptyFieldListFilter)]
    search_fields = ["name", "prefix"]
    actions = ["revoke"]
    formfield_overrides = {ArrayField: {"widget": UnfoldAdminTextInputWidget}}

    @admin.display(description="key", ordering="prefix")
    def shown_prefix(self, key: ApiKey) -> str:
        """The readable part."""
        return f"rk_{key.prefix}_…"

    @admin.display(description="queues")
    def queues(self, key: ApiKey) -> str:
        """The allowlist in words."""
        return "every queue" if key.queue_allowlist is None else ", ".join(key.queue_allowlist)

    @admin.display(description="state")
    def state(self, key: ApiKey) -> str:
        """Whether it opens the door."""
        if key.revoked_at:
            return "revoked"
        return "expired" if key.expires_at and key.expires_at <= timezone.now() else "live"

    def save_model(self, request: HttpRequest, obj: ApiKey, form: KeyForm, change: bool) -> None:
        """Make the key through the verb that records it."""
        made = keys.create(**form.cleaned_data, by=actor_of(request))
        obj.__dict__.update(made.key.__dict__)
        form.secret = made.secret  # type: ignore[attr-defined]

    def save_related(self, request: HttpRequest, form: KeyForm, formsets: Any, change: bool) -> None:
        """Hand the secret to the response. (A key has nothing related to save.)"""
        request.made_secret = form.secret  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        """Show the key, this once. Not as a message: those travel in a cookie or wait in the session's row."""
        page = {**self.admin_site.each_context(request), "title": "New API key", "key": obj, "opts": self.opts}
        page["secret"] = request.made_secret  # type: ignore[attr-defined]
        return TemplateResponse(request, "access/key_created.html", page)

    @admin.action(description="Revoke the selected keys", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """Revoke each of them."""
        revoked = [keys.revoke(key.pk, by=actor_of(request)) for key in queryset]
        self.message_user(request, f"Revoked: {', '.join(key.name for key in revoked)}.", messages.SUCCESS)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Who may use the action."""
        return request.user.has_perm("access.revoke_apikey")

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        """Nobody: make another key instead."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        """Nobody: revoked keys stay."""
        return False


class SecretForm(forms.ModelForm):  # type: ignore[type-arg]
    """A secret's name, its new value, and a note."""

    value = forms.CharField(
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "off"}),
        strip=False,
        help_text="It is never shown again",
    )

    class Meta:
        model = Secret
        fields = ["name", "value", "note"]

    def clean(self) -> dict[str, Any]:
        """Tell what `secrets.put` would refuse beside the field that is wrong."""
        values = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                secrets.check(values.get("name") or self.instance.name, values["value"])
            except Problem as problem:
                for fault in (problem.details or {})["errors"]:
                    self.add_error(fault["path"], fault["message"])
        return values


@admin.register(Secret)
class SecretAdmin(ModelAdmin):  # type: ignore[misc]
    """Secrets: set, replace, delete. No page shows a value."""

    form = SecretForm
    list_display = ["name", "note", "updated_at", "updated_by"]
    search_fields = ["name", "note"]

    def get_readonly_fields(self, request: HttpRequest, obj: Secret | None = None) -> list[str]:
        """A name is for good: values are sealed for it."""
        return ["name"] if obj else []

    def save_model(self, request: HttpRequest, obj: Secret, form: SecretForm, change: bool) -> None:
        """Set it through the verb that seals and records."""
        kept = secrets.put(obj.name, form.cleaned_data["value"], note=obj.note, by=actor_of(request))
        obj.__dict__.update(kept.__dict__)

    def delete_model(self, request: HttpRequest, obj: Secret) -> None:
        """Delete it through the verb that records."""
        secrets.delete(obj.name, by=actor_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Secret]) -> None:
        """Delete each of them."""
        for name in list(queryset.values_list("name", flat=True)):
            secrets.delete(name, by=actor_of(request))


@admin.register(UiPrefs)
class UiPrefsAdmin(ModelAdmin):  # type: ignore[misc]
    """Preferences of clients, to read and to reset. Clients write them; what of them is secret is among the secrets."""

    list_display = ["scope", "updated_at"]
    readonly_fields = ["scope", "value", "created_at", "updated_at"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Clients do that."""
        return False

    def delete_model(self, request: HttpRequest, obj: UiPrefs) -> None:
        """Reset a scope, with its secrets, through the verb that records."""
        ui_prefs.replace(obj.scope, {}, by=actor_of(request))
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[UiPrefs]) -> None:
        """Reset each of them."""
        for prefs in queryset:
            self.delete_model(request, prefs)


@admin.register(AuditEntry)
class AuditEntryAdmin(ModelAdmin):  # type: ignore[misc]
    """The audit log, to read."""

    list_display = ["id", "at", "actor", "action", "object_type", "object_id"]
    list_filter = ["action", "object_type", ("at", MomentFilter)]
    list_filter_submit = True
    search_fields = ["actor", "object_id"]
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody: entries come with what they tell of."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        """Nobody."""
        return False


class Audited(ModelAdmin):  # type: ignore[misc]
    """An admin page whose changes are recorded in the audit log, in the transaction that makes them."""

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        """Record a creation."""
        self._record(request, obj, "created")
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        """Record a change: the names of the fields, not their values."""
        self._record(request, obj, "updated", changes=message)
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Model]) -> Any:
        """Record each deletion."""
        for obj in queryset:
            self._record(request, obj, "deleted")
        return super().log_deletions(request, queryset)

    def _record(self, request: HttpRequest, obj: Model, done: str, **details: Any) -> None:
        name = obj._meta.model_name or ""
        audit.record(
            actor=actor_of(request), action=f"{name}.{done}", object_type=name, object_id=str(obj.pk),
            details={"name": str(obj), **details},
        )  # fmt: skip


admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(DjangoUserAdmin, Audited):  # type: ignore[misc, type-arg]
    """People who sign in with a password: staff are admins of the API, the others read."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, Audited):  # type: ignore[misc]
    """Permissions of the admin's pages, bundled."""
