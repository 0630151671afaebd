"""`deploy.run`: the plan of a deployment, never the deployment (contract 6.3)."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from jobs.handlers.base import AttemptFailed, Handler, JobContext
from jobs.handlers.fields import ObjectInput, cut_text, one_or_many
from rauskuclaw import errors
from rauskuclaw.api.fields import iso_ms
from rauskuclaw.config import load

CHECKS = ["artifact_present", "rollback_checkpoint", "health_check_route", "callback_delivery"]
DEFAULT_SERVICES = ["api", "worker", "ui"]

ServiceName = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,79}$")]
Strategy = Literal["rolling", "blue-green", "canary"]


class DeployInput(ObjectInput):
    """What to plan for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"target": "staging", "strategy": "canary", "services": ["api"], "version": "1.4.2"}]
        }
    )

    target: Annotated[str, cut_text(80, default="staging")] = Field(
        "staging", description="Where to; must be in DEPLOY_TARGET_ALLOWLIST."
    )
    dry_run: Any = Field(True, description="Only a dry run is possible: `false` is refused, anything else means true.")
    strategy: Strategy = Field("rolling", description="How instances are replaced.")
    services: list[ServiceName] = Field(
        DEFAULT_SERVICES, description="What to deploy, by name; `service` may name a single one.", max_length=100
    )
    version: Annotated[str, cut_text(120)] = Field("", description="What version; cut at 120 characters.")

    @model_validator(mode="before")
    @classmethod
    def _read_services(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        named = one_or_many(value.get("services") or value.get("service") or DEFAULT_SERVICES)
        return {**value, "services": named}


class DeployPlan(BaseModel):
    """The plan. Nothing was deployed."""

    deployment_id: uuid.UUID
    requested_at: str = Field(description="UTC, ISO 8601 with milliseconds.")
    target: str
    dry_run: Literal[True] = True
    strategy: Strategy
    version: str | None
    services: list[str]
    summary: str
    plan_steps: list[str]
    checks: list[str]


class DeployRun(Handler[DeployInput, DeployPlan]):
    """Plans a deployment, as a dry run: it reaches nothing."""

    id = "builtin:deploy.run"
    short = True
    Input = DeployInput
    Output = DeployPlan
    checks_input_at_creation = False

    def run(self, ctx: JobContext[DeployInput]) -> DeployPlan:
        """The plan for `ctx.input`. Fails with POLICY_DENIED for a target that is not allowlisted."""
        given = ctx.input
        if given.dry_run is False:
            raise AttemptFailed(
                errors.INPUT_INVALID, "deploy.run only plans: leave input.dry_run out or set it to true"
            )
        allowed = load().deploy_target_allowlist
        if given.target not in allowed:
            raise AttemptFailed(
                errors.POLICY_DENIED,
                f"deploy.run may not plan for {given.target!r}: the allowlist is {', '.join(allowed) or 'empty'}",
                {"target": given.target, "allowed_targets": list(allowed)},
            )
        ctx.log("Building deploy dry-run plan", target=given.target, strategy=given.strategy, services=given.services)
        steps = _steps(given)
        ctx.log("Deploy dry-run plan ready", target=given.target, steps=len(steps))
        return DeployPlan(
            deployment_id=uuid.uuid4(),
            requested_at=iso_ms(datetime.now(UTC)),
            target=given.target,
            strategy=given.strategy,
            version=given.version or None,
            services=given.services,
            summary=f"Dry-run {given.strategy} deploy plan for {len(given.services)} service(s) to {given.target}.",
            plan_steps=steps,
            checks=CHECKS,
        )


_ROLLOUT: dict[Strategy, str] = {
    "rolling": "Replace the instances of {services} one after another",
    "blue-green": "Start {services} beside the running ones, then switch the traffic",
    "canary": "Send a small share of the traffic to {services}, then widen it",
}


def _steps(given: DeployInput) -> list[str]:
    services = ", ".join(given.services)
    return [
        f"Check the artifacts of {given.version or 'the current version'} for {services}",
        f"Record a rollback checkpoint on {given.target}",
        _ROLLOUT[given.strategy].format(services=services),
        f"Call the health check of each service on {given.target}",
        "Deliver the callback with the result",
    ]
