"""What the documents say about the state machine is what the code does."""

from __future__ import annotations

from pathlib import Path

from jobs.lifecycle import RULES

ARCHITECTURE = Path(__file__).resolve().parents[2] / "docs" / "architecture.md"


def test_the_table_of_transitions_is_the_rules() -> None:
    text = ARCHITECTURE.read_text("utf-8")
    table = text.partition("<!-- rules:start -->\n")[2].partition("<!-- rules:end -->")[0]

    rows = [
        f"| {event} | {', '.join(sorted(rule.sources))} | {', '.join(sorted(rule.targets))} |"
        for event, rule in RULES.items()
    ]

    assert table.splitlines()[2:] == rows


def test_the_diagram_draws_each_transition() -> None:
    diagram = ARCHITECTURE.read_text("utf-8").partition("stateDiagram-v2")[2].partition("```")[0]

    for rule in RULES.values():
        for source in rule.sources:
            assert any(f"{source} --> {target}" in diagram for target in rule.targets)
