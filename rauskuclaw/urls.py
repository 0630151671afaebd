"""Every address of the web server. The API's own have no final slash; `canonical_path` forgives one."""

from django.contrib import admin
from django.urls import include, path

from metrics.api.prometheus import Prometheus
from rauskuclaw.health import Health, Ping, Ready
from rauskuclaw.pages import Docs, Home, Schema

admin.autodiscover()

urlpatterns = [
    path("", Home.as_view(), name="home"),
    path("health", Health.as_view(), name="health"),
    path("ready", Ready.as_view(), name="ready"),
    path("metrics", Prometheus.as_view(), name="prometheus"),
    path("v1/ping", Ping.as_view(), name="ping"),
    path("v1/schema", Schema.as_view(), name="schema"),
    path("v1/", include("jobs.api.urls")),
    path("v1/", include("schedules.api.urls")),
    path("v1/", include("chat.api.urls")),
    path("v1/", include("workspaces.api.urls")),
    path("v1/", include("memory.api.urls")),
    path("v1/", include("access.api.urls")),
    path("v1/", include("metrics.api.urls")),
    path("v1/", include("providers.api.urls")),
    path("docs", Docs.as_view(), name="docs"),
    path("admin/", admin.site.urls),
]

handler400 = "rauskuclaw.api.errors.bad_request"
handler403 = "rauskuclaw.api.errors.forbidden"
handler404 = "rauskuclaw.api.errors.not_found"
handler500 = "rauskuclaw.api.errors.server_error"
