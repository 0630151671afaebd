"""Retention as the API and the command show it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from jobs.retention import partitions, registry
from jobs.retention.models import ALL_TYPES, RetentionRun
from jobs.retention.policies import Policies
from jobs.retention.run import Finding
from rauskuclaw.api.fields import iso_ms, iso_ms_or_none
from rauskuclaw.config import load


def overview_json() -> dict[str, Any]:
    """Every policy, the log's partitions, and how far the last run came."""
    policies = Policies()
    days = partitions.partitions()
    return {
        "enabled": load().retention_enabled,
        "policy": policy_json(policies, ALL_TYPES),
        "types": [policy_json(policies, type_) for type_ in policies.types],
        "others": [{"kind": kind.name, "policy": kind.policy} for kind in registry.kinds()],
        "log": {
            "partitions": len(days),
            "oldest": iso_ms_or_none(days[0].lower) if days else None,
            "size_bytes": sum(it.size_bytes for it in days),
        },
        "last_run": _last_run_json(),
    }


def policy_json(policies: Policies, type_: str) -> dict[str, Any]:
    """What holds for a type (null: all others), and under `said` what its own row says of it."""
    return {"type": None if type_ == ALL_TYPES else type_, **asdict(policies.of(type_)), "said": policies.said(type_)}


def finding_json(finding: Finding) -> dict[str, Any]:
    """What would go of one kind."""
    return {
        "kind": finding.kind,
        "type": finding.type,
        "policy": finding.policy,
        "count": finding.old.count,
        "more": finding.old.count >= registry.COUNTED_MOST,
        "oldest": iso_ms_or_none(finding.old.oldest),
        "size_bytes": finding.old.size_bytes,
    }


def _last_run_json() -> dict[str, Any] | None:
    last = RetentionRun.objects.first()
    if last is None:
        return None
    return {
        "started_at": iso_ms(last.started_at),
        "seen_at": iso_ms(last.seen_at),
        "ended_at": iso_ms_or_none(last.ended_at),
        "removed": last.removed,
        "more": last.more,
    }
