"""The settings of what tells people and programs: callbacks, mail, metrics and alerts (contract section 15)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, SecretStr
from pydantic_settings import BaseSettings

from rauskuclaw.config_fields import Csv, Switch, at_least, setting


class TellingSettings(BaseSettings):
    """Who is told what, and how."""

    callbacks_enabled: bool = setting(
        True, "CALLBACKS_ENABLED", "Whether callbacks are sent at all.", cfg="callbacks.enabled"
    )
    callback_allowlist: Csv = setting(
        (), "CALLBACK_ALLOWLIST", "Hosts callbacks may go to (comma-separated; sub-domains included). A host named"
        " here literally may have a private address.", cfg="callbacks.allowlist", renamed_by="callbacks.allowlist_env",
    )  # fmt: skip
    callback_when_allowlist_empty: Literal["allow_all", "deny_all"] = setting(
        "deny_all", "CALLBACK_ALLOWLIST_BEHAVIOR_WHEN_EMPTY", "What an empty allowlist means.",
        cfg="callbacks.allowlist_behavior_when_empty",
    )  # fmt: skip
    callback_signing_enabled: Switch = setting(
        False, "CALLBACK_SIGNING_ENABLED", "`1`: sign each callback with HMAC-SHA256.", cfg="callbacks.signing.enabled"
    )
    callback_signing_secret: SecretStr | None = setting(
        None, "CALLBACK_SIGNING_SECRET", "The signing secret. Signing without it sends nothing.",
        renamed_by="callbacks.signing.secret_env",
    )  # fmt: skip
    callback_signing_tolerance_sec: int = setting(
        300, "CALLBACK_SIGNING_TOLERANCE_SEC", "How old a signature the verification helper accepts, in seconds.",
        cfg="callbacks.signing.tolerance_sec", ge=1,
    )  # fmt: skip
    callback_timeout_sec: float = setting(
        10.0, "CALLBACK_TIMEOUT_SEC", "Longest wait for a callback's answer, in seconds.", cfg="callbacks.timeout_sec",
        gt=0, le=120,
    )  # fmt: skip
    callback_max_age_sec: int = setting(
        86_400, "CALLBACK_MAX_AGE_SEC", "A callback not delivered in this many seconds is dead.",
        cfg="callbacks.max_age_sec", ge=1,
    )  # fmt: skip

    smtp_host: str = setting(
        "", "SMTP_HOST", "Mail server that alerts are sent through; empty: no mail is sent.", cfg="mail.host"
    )
    smtp_port: int = setting(587, "SMTP_PORT", "Its port.", cfg="mail.port", ge=1, le=65535)
    smtp_user: str = setting("", "SMTP_USER", "User name there; empty: none.", cfg="mail.user")
    smtp_password: SecretStr | None = setting(None, "SMTP_PASSWORD", "Password there.")
    smtp_security: Literal["starttls", "tls", "none"] = setting(
        "starttls", "SMTP_SECURITY", "How the connection is secured.", cfg="mail.security"
    )
    mail_from: str = setting(
        "rauskuclaw@localhost", "MAIL_FROM", "Sender of mails.", cfg="mail.from", pattern=r"^[^\r\n]{3,320}$"
    )

    metrics_enabled: Switch = setting(
        True, "METRICS_ENABLED", "`0`: nothing is counted, and no alert is raised by itself.", cfg="metrics.enabled"
    )
    metrics_retention_days: Annotated[int, at_least(1)] = setting(
        7, "METRICS_RETENTION_DAYS", "How long counts by the minute are kept, in days; less than 1 is 1.",
        cfg="metrics.retention_days", le=3650,
    )  # fmt: skip
    metrics_public: Switch = setting(
        False, "METRICS_PUBLIC", "`1`: `/metrics`, for Prometheus, needs no key.", cfg="metrics.public"
    )
    alert_window_sec: Annotated[int, at_least(60)] = setting(
        3600, "ALERT_WINDOW_SEC", "Window of counters and alerts, in seconds; less than 60 is 60.",
        cfg="metrics.alerts.window_sec", le=604_800,
    )  # fmt: skip
    alert_queue_stalled_sec: Annotated[int, at_least(5)] = setting(
        900, "ALERT_QUEUE_STALLED_SEC", "QUEUE_STALLED: age of the oldest queued job, in seconds; less than 5 is 5.",
        cfg="metrics.alerts.queue_stalled_sec",
    )  # fmt: skip
    alert_failure_rate_pct: Annotated[int, at_least(1), AfterValidator(lambda value: min(100, value))] = setting(
        50, "ALERT_FAILURE_RATE_PCT", "HIGH_FAILURE_RATE: share of failed jobs, in percent; clamped to 1..100.",
        cfg="metrics.alerts.failure_rate_pct",
    )  # fmt: skip
    alert_failure_rate_min_completed: Annotated[int, at_least(1)] = setting(
        20, "ALERT_FAILURE_RATE_MIN_COMPLETED", "HIGH_FAILURE_RATE: only with so many jobs ended; less than 1 is 1.",
        cfg="metrics.alerts.failure_rate_min_completed",
    )  # fmt: skip
