"""Django's settings, all of them derived from `rauskuclaw.config`."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from rauskuclaw import logs, tracing
from rauskuclaw.config import ROOT, Config, load
from rauskuclaw.own_secret import own_secret

tracing.import_redis_plainly()

CONFIG: Config = load()


def _secret_key(config: Config) -> str:
    if config.secret_key is not None:
        return config.secret_key.get_secret_value()
    return own_secret(config.var_dir / "secrets" / "django", lambda: secrets.token_urlsafe(48))


def _database(config: Config) -> dict[str, Any]:
    url = urlsplit(config.database_url.get_secret_value() if config.database_url else "postgresql://127.0.0.1:1/none")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": url.hostname or "",
        "PORT": url.port or 5432,
        "NAME": unquote(url.path.lstrip("/")) or "rauskuclaw",
        "USER": unquote(url.username or ""),
        "PASSWORD": unquote(url.password or ""),
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "connect_timeout": 3,
            "application_name": "rauskuclaw",
            # The statements of jobs/sql ask to be prepared, and are planned once a connection: parsing and planning
            # cost several times what running them does. No other statement is ever run so often; Django's None would
            # forbid it for all.
            "prepare_threshold": 2**31,
            # A plan made while a table was small would go on reading all of it when it has grown: so, indexes.
            # pgvector's: how far a search looks (ADR 24), and that it goes on while a filter has left too few rows.
            "options": "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off"
            " -c hnsw.ef_search=200 -c hnsw.iterative_scan=relaxed_order"
            # pg_trgm's, where there is one: a word with a letter wrong is still like it.
            " -c pg_trgm.word_similarity_threshold=0.4",
            # A dead peer (failover, cut network) is noticed in seconds instead of the kernel's 2 hours.
            "keepalives_idle": 10,
            "keepalives_interval": 3,
            "keepalives_count": 3,
        },
    }


SECRET_KEY = _secret_key(CONFIG)
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", *CONFIG.allowed_hosts]
if CONFIG.host not in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
    ALLOWED_HOSTS.append(CONFIG.host)
elif not CONFIG.allowed_hosts:
    ALLOWED_HOSTS = ["*"]
CSRF_TRUSTED_ORIGINS = list(CONFIG.trusted_origins)

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    # Without autodiscovery: rauskuclaw/urls.py does that, so that workers and beat do not load the admin.
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "channels",
    "rauskuclaw",
    "access",
    "jobs",
    "memory",
    "metrics",
    "providers",
    "chat",
    "schedules",
    "workspaces",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "rauskuclaw.api.middleware.envelope",
    "rauskuclaw.api.middleware.canonical_path",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "rauskuclaw.admin_messages.AdminMessages",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
APPEND_SLASH = True
ROOT_URLCONF = "rauskuclaw.urls"
ASGI_APPLICATION = "rauskuclaw.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [ROOT / "rauskuclaw" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {"default": _database(CONFIG)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATA_UPLOAD_MAX_MEMORY_SIZE = CONFIG.max_body_bytes

LOGIN_REDIRECT_URL = "admin:index"
AUTHENTICATION_BACKENDS = ["access.backends.LimitedModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
SESSION_COOKIE_AGE = CONFIG.session_ttl_sec
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Strict"
CSRF_COOKIE_SAMESITE = "Strict"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = any(origin.startswith("https://") for origin in CONFIG.trusted_origins)
CSRF_FAILURE_VIEW = "rauskuclaw.api.errors.csrf_failure"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if CONFIG.trust_proxy:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

EMAIL_HOST, EMAIL_PORT = CONFIG.smtp_host, CONFIG.smtp_port
EMAIL_HOST_USER = CONFIG.smtp_user
EMAIL_HOST_PASSWORD = CONFIG.smtp_password.get_secret_value() if CONFIG.smtp_password else ""
EMAIL_USE_TLS, EMAIL_USE_SSL = CONFIG.smtp_security == "starttls", CONFIG.smtp_security == "tls"
EMAIL_TIMEOUT = CONFIG.callback_timeout_sec
DEFAULT_FROM_EMAIL = CONFIG.mail_from

LANGUAGE_CODE = "en"
USE_I18N = False
TIME_ZONE = "UTC"
USE_TZ = True
DATETIME_FORMAT, DATE_FORMAT, TIME_FORMAT = "Y-m-d H:i:s", "Y-m-d", "H:i:s"
STATIC_URL = "/static/"
STATICFILES_DIRS: list[Path] = [ROOT / "rauskuclaw" / "static"]
# Straight from the packages: `make up` needs no collectstatic step.
WHITENOISE_USE_FINDERS = True

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["access.authentication.PrincipalAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["access.permissions.RolePermission"],
    "DEFAULT_PARSER_CLASSES": ["rauskuclaw.api.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": [
        "rauskuclaw.api.renderers.CompactJSONRenderer",
        "rauskuclaw.api.renderers.BrowsableRenderer",
    ],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "rauskuclaw.api.negotiation.Negotiation",
    "DEFAULT_THROTTLE_CLASSES": ["rauskuclaw.api.throttling.PrincipalRateThrottle"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "rauskuclaw.api.errors.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "URL_FORMAT_OVERRIDE": None,
}

SPECTACULAR_SETTINGS = {
    "ENUM_NAME_OVERRIDES": {
        "JobState": "jobs.models.Status",
        "WorkspaceEntryKind": "workspaces.api.serializers.ENTRY_KINDS",
        "WorkspaceNewKind": "workspaces.api.serializers.NEW_KINDS",
        "AlertSeverity": ["warn"],
        "BlockerSeverity": "memory.api.serializers.SEVERITIES",
        "KeyRole": "access.models.Role",
        "MessageRole": "chat.models.Role",
    },
    "TITLE": "RauskuClaw API",
    "DESCRIPTION": "Durable, typed AI and automation jobs.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "RENDERER_WHITELIST": ["rauskuclaw.api.renderers.CompactJSONRenderer"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "jobs.api.stream_schema.add_stream",
    ],
}

UNFOLD = {
    "SITE_TITLE": "RauskuClaw",
    "SITE_HEADER": "RauskuClaw",
    "SITE_ICON": "rauskuclaw.admin_site.icon",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "rauskuclaw.admin_site.icon"}],
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "SIDEBAR": {"show_search": False, "navigation": "rauskuclaw.admin_site.navigation"},
    # The teal of the project's own pages (rauskuclaw/static/rauskuclaw/base.css), lightest to darkest.
    "COLORS": {
        "primary": {
            "50": "#effafa", "100": "#d3f1f2", "200": "#abe2e5", "300": "#76cdd2", "400": "#3fb0b7", "500": "#1c939b",
            "600": "#0d7c84", "700": "#0a6970", "800": "#0e545a", "900": "#11464b", "950": "#052d31",
        }
    },
}  # fmt: skip

LOGGING = logs.settings(CONFIG)
