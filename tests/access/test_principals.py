"""What a principal may do, without any server."""

from __future__ import annotations

import pytest

from access.principals import Principal, RoleName
from rauskuclaw.errors import FORBIDDEN, Problem

GPU = Principal(name="gpu-team", role="admin", queue_allowlist=("gpu", "gpu.fast"))


@pytest.mark.parametrize(("role", "can_write"), [("admin", True), ("read", False)])
def test_only_an_admin_can_write(role: RoleName, can_write: bool) -> None:
    assert Principal(name="x", role=role).can_write is can_write


def test_without_an_allowlist_every_queue_is_allowed() -> None:
    Principal(name="ci", role="read").require_queue("anything")


def test_a_foreign_queue_is_refused_with_the_allowed_ones() -> None:
    with pytest.raises(Problem) as refused:
        GPU.require_queue("default")

    assert refused.value.code is FORBIDDEN
    assert refused.value.details == {"allowed_queues": ["gpu", "gpu.fast"]}


def test_an_allowlist_allows_its_queues_and_no_other() -> None:
    assert [GPU.allows_queue(queue) for queue in ("gpu", "gpu.fast", "gp", "gpu.f", "default")] == [
        True, True, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("principal", "actor"),
    [
        (Principal(name="ci", role="admin"), "key:ci"),
        (Principal(name="ci", role="admin", source="session", reference="env:1"), "key:ci"),
        (Principal(name="anna", role="read", source="user", reference="user:1"), "user:anna"),
        (Principal(name="anna", role="read", source="token", reference="user:1"), "user:anna"),
        (Principal(name="auth-disabled", role="admin", source="disabled"), "auth-disabled"),
        (Principal(name="auth-disabled", role="admin", source="token", reference="disabled"), "auth-disabled"),
    ],
)
def test_the_actor_is_the_same_whatever_way_a_credential_came_in(principal: Principal, actor: str) -> None:
    assert principal.actor == actor


def test_the_reference_is_not_printed() -> None:
    assert "env:1" not in repr(Principal(name="ci", role="admin", reference="env:1"))
