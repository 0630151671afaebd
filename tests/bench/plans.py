"""The plans that statements really get, and what no plan may do: read a table from end to end, or sort without bound.

Every statement of a block is explained just before it runs, in the same transaction, against the same rows: prepared
statements as the generic plan they run with, the ORM's with their values. `EXPLAIN ANALYZE` runs it, and a savepoint
takes that back.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from unittest import mock

import psycopg
from django.db import connection, transaction
from psycopg import ClientCursor, sql

BIG_TABLES = frozenset(
    {
        "jobs_job", "jobs_joblog", "jobs_attempt", "schedules_schedule", "schedules_run", "memory_memory",
        "memory_vector", "memory_session", "providers_modelcall",
    }
)  # fmt: skip
"""They grow with the jobs there have been, with the schedules and with what is remembered. No plan may scan one."""
BOUND = 12_000
"""Rows that one node may read: explain and the text search count up to 10,000 and 5,000 on purpose. Beyond, the cost
grows with the table."""
_EXPLAINED = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Plan:
    """One statement's plan, as `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)` gives it."""

    statement: str
    tree: dict[str, Any]

    def nodes(self) -> Iterator[dict[str, Any]]:
        """Every node, the top one first."""
        waiting = [self.tree["Plan"]]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += node.get("Plans", [])

    def faults(self) -> list[str]:
        """Why this plan does not hold when the table grows; nothing when it does."""
        found = []
        for node in self.nodes():
            kind, relation = node["Node Type"], node.get("Relation Name", "")
            if "Seq Scan" in kind and relation in BIG_TABLES:
                found.append(f"{kind} on {relation}")
            if (rows := _rows_read(node)) > BOUND:
                found.append(f"{kind} {node.get('Index Name') or relation}".strip() + f" reads {rows:,.0f} rows")
        return found

    def text(self) -> str:
        """The plan in short: a line a node, with the rows it read and the milliseconds it took."""
        lines: list[str] = []

        def show(node: Mapping[str, Any], depth: int) -> None:
            name = " ".join(filter(None, (node["Node Type"], node.get("Index Name") or node.get("Relation Name"))))
            loops = node["Actual Loops"]
            if loops:
                cost = f"rows={node['Actual Rows'] * loops:g} ms={node['Actual Total Time'] * loops:.3f}"
                if removed := node.get("Rows Removed by Filter"):
                    cost += f" filtered={removed * loops:g}"
            else:
                cost = "never ran"
            lines.append(f"{'  ' * depth}{name}  {cost}")
            for child in node.get("Plans", []):
                show(child, depth + 1)

        show(self.tree["Plan"], 0)
        return "\n".join(lines)


def _rows_read(node: Mapping[str, Any]) -> float:
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    rows: float = (node["Actual Rows"] + removed) * node["Actual Loops"]
    return rows


@contextlib.contextmanager
def captured(*, as_if_large: bool = False) -> Iterator[list[Plan]]:
    """The plans of all statements that the block runs on Django's connection.

    as_if_large: the tables are small, where scanning is right; take the plan that a large table would get.
    """
    plans: list[Plan] = []
    busy = False

    def explain(execute: Any, statement: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal busy
        if not busy and not many and _EXPLAINED.match(statement):
            busy = True
            try:
                plans.append(Plan(_tidy(statement), _explain(statement, params, as_if_large)))
            finally:
                busy = False
        return execute(statement, params, many, context)

    with connection.execute_wrapper(explain), mock.patch.object(psycopg.Connection, "pipeline", _one_by_one):
        yield plans


def _one_by_one(_: Any) -> transaction.Atomic:
    """Nothing can be asked between two statements of a pipeline; in a transaction they do the same."""
    return transaction.atomic()


def _explain(statement: str, params: Any, as_if_large: bool) -> dict[str, Any]:
    with transaction.atomic():
        # A cursor without Django's and our wrappers: what is asked here is not part of what is measured.
        cursor = ClientCursor(connection.connection)
        try:
            if as_if_large:
                cursor.execute("SET LOCAL enable_seqscan = off")
            if is_prepared := "$1" in statement:
                cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
                cursor.execute(b"PREPARE explained AS " + statement.encode())
                arguments = sql.SQL(", ").join(sql.Literal(value) for value in params)
                called = sql.SQL("EXECUTE explained ({})").format(arguments)
                cursor.execute(sql.SQL("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {}").format(called))
            else:
                cursor.execute(b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement.encode(), params)
            row = cursor.fetchone()
            assert row is not None
            tree: dict[str, Any] = row[0][0] if isinstance(row[0], list) else json.loads(row[0])[0]
            if is_prepared:
                cursor.execute("DEALLOCATE explained")
        finally:
            cursor.close()
            transaction.set_rollback(True)
    return tree


def _tidy(statement: str) -> str:
    return re.sub(r"\s+", " ", statement).strip()
