"""Edges between tasks, notes for the resolver, and rows that belong to tasks: breaches among a slice."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from mainspring.core.laws import EdgeFacts, edge_breach
from mainspring.core.model import decode_policy
from mainspring.stores.sqlite.connection import Database
from mainspring.verbs.audit import Finding

EDGE = (
    "e.parent, e.child, e.open, p.state, c.state, c.policy,"
    " EXISTS (SELECT 1 FROM unresolved u WHERE u.parent = e.parent)"
    " FROM edges e LEFT JOIN tasks p ON p.n = e.parent LEFT JOIN tasks c ON c.n = e.child"
)
EDGES_FROM = f"SELECT {EDGE} WHERE (e.parent, e.child) > (?, ?) ORDER BY e.parent, e.child LIMIT ?"
ONE_EDGE = f"SELECT {EDGE} WHERE e.parent = ? AND e.child = ?"
EDGES_OF = f"SELECT {EDGE} WHERE e.child = ?"

# What is stored beside a task under its number, and goes with it.
BELONGINGS = (
    ("dependencies", "task"),
    ("steps", "task"),
    ("logged", "task"),
    ("logs", "task"),
)
OWNERS = (
    "SELECT b.{column}, t.n IS NULL FROM (SELECT DISTINCT {column} FROM {table} WHERE {column} > ?"
    " ORDER BY {column} LIMIT ?) b LEFT JOIN tasks t ON t.n = b.{column}"
)


class Edge(NamedTuple):
    parent: int
    child: int
    facts: EdgeFacts

    @property
    def finding(self) -> Finding | None:
        breach = edge_breach(self.facts)
        if breach is None:
            return None
        subject = f"edge of tasks number {self.parent} and {self.child}"
        return Finding(breach.law, subject, breach.detail, ("edge", self.parent, self.child))


def edges(db: Database, sql: str, bindings: Sequence[object]) -> list[Edge]:
    return [_edge(values) for values in db.execute(sql, bindings).fetchall()]


def _edge(values: Sequence[Any]) -> Edge:
    parent, child, is_open, parent_state, child_state, policy, noted = values
    return Edge(
        parent,
        child,
        EdgeFacts(is_open, parent_state, child_state, decode_policy(policy).on_parent_failure, bool(noted)),
    )


def strays(db: Database, table: str, column: str, after: int, limit: int) -> tuple[list[Finding], list[int]]:
    """Owners' numbers beyond `after`, and a finding for each that is no task."""
    rows = db.execute(OWNERS.format(table=table, column=column), (after, limit)).fetchall()
    law = "stray_unresolved" if table == "unresolved" else "stray_record"
    findings = [
        Finding(law, f"{table} of task number {n}", "there is no such task", ("stray", table, n))
        for n, is_stray in rows
        if is_stray
    ]
    return findings, [n for n, _ in rows]


def found_in(edges: Iterable[Edge]) -> list[Finding]:
    return [finding for edge in edges if (finding := edge.finding) is not None]
