"""Routes of `/v1/auth/*`, `/v1/keys`, `/v1/secrets` and `/v1/ui-prefs`, to be included under `v1/`."""

from django.urls import path

from access.api import schema  # noqa: F401 - teaches the OpenAPI generator the credentials
from access.api.secrets import OneSecret, Secrets
from access.api.ui_prefs import UiPrefsView
from access.api.views import Key, Keys, Session, StreamTokens, Whoami

urlpatterns = [
    path("auth/whoami", Whoami.as_view()),
    path("auth/sse-token", StreamTokens.as_view()),
    path("auth/session", Session.as_view()),
    path("keys", Keys.as_view()),
    path("keys/<uuid:key_id>", Key.as_view()),
    path("ui-prefs", UiPrefsView.as_view(), name="ui-prefs"),
    path("secrets", Secrets.as_view()),
    path("secrets/<path:name>", OneSecret.as_view()),
]
