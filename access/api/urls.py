"""Routes of `/v1/auth/*`, `/v1/keys` and `/v1/secrets`, to be included under `v1/`."""

from django.urls import path

from access.api import schema  # noqa: F401 - teaches the OpenAPI generator the credentials
from access.api.secrets import OneSecret, Secrets
from access.api.views import Key, Keys, Session, StreamTokens, Whoami

urlpatterns = [
    path("auth/whoami", Whoami.as_view()),
    path("auth/sse-token", StreamTokens.as_view()),
    path("auth/session", Session.as_view()),
    path("keys", Keys.as_view()),
    path("keys/<uuid:key_id>", Key.as_view()),
    path("secrets", Secrets.as_view()),
    path("secrets/<path:name>", OneSecret.as_view()),
]
