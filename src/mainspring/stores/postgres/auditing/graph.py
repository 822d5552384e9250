"""Edges between tasks, notes for the resolver, and rows that belong to tasks: breaches among a slice."""

from collections.abc import Iterable
from typing import NamedTuple

from asyncpg import Record

from mainspring.core.laws import EdgeFacts, edge_breach
from mainspring.core.model import decode_policy
from mainspring.stores.postgres.transaction import Transaction
from mainspring.verbs.audit import Finding

# What is stored beside a task under its id, and goes with it.
BELONGINGS = ("steps", "logged", "logs")


class Edge(NamedTuple):
    parent: str
    child: str
    facts: EdgeFacts

    @property
    def finding(self) -> Finding | None:
        breach = edge_breach(self.facts)
        if breach is None:
            return None
        subject = f"edge of tasks {self.parent} and {self.child}"
        return Finding(breach.law, subject, breach.detail, ("edge", self.parent, self.child))


async def edges(tx: Transaction, statement: str, *values: object) -> list[Edge]:
    return [_edge(row) for row in await tx.rows(statement, *values)]


def _edge(row: Record) -> Edge:
    rule = decode_policy(row["policy"]).on_parent_failure
    facts = EdgeFacts(int(row["open"]), row["parent_state"], row["child_state"], rule, row["noted"])
    return Edge(row["parent"], row["child"], facts)


async def strays(tx: Transaction, table: str, after: str, limit: int) -> tuple[list[Finding], list[str]]:
    """Owners beyond `after`, and a finding for each that is no task."""
    rows = await tx.rows(f"owners_of_{table}", after, limit)
    law = "stray_unresolved" if table == "unresolved" else "stray_record"
    findings = [
        Finding(law, f"{table} of task {row['task']}", "there is no such task", ("stray", table, row["task"]))
        for row in rows
        if row["is_stray"]
    ]
    return findings, [row["task"] for row in rows]


def found_in(edges: Iterable[Edge]) -> list[Finding]:
    return [finding for edge in edges if (finding := edge.finding) is not None]
