"""The judge: no finding, and the invariants held. test_checker.py breaks each rule."""

from __future__ import annotations

from tests.chaos import flow_rules, group_rules, invariants
from tests.chaos.evidence import Evidence
from tests.chaos.rules import Finding, RuleBook

RULES = RuleBook({**invariants.BOOK, **flow_rules.BOOK, **group_rules.BOOK})


def check(evidence: Evidence) -> list[Finding]:
    """Every violation of every rule."""
    return [Finding(name, *wrong) for name, rule in RULES.items() for wrong in rule.judge(evidence)]
