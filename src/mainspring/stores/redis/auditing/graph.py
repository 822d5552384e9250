"""Edges between tasks, and what stands in an index without a task that says so: breaches among a slice."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from mainspring.core.laws import EdgeFacts, edge_breach
from mainspring.core.model import FINAL, OnParentFailure
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import pack
from mainspring.verbs.audit import Finding

RULES = {int(rule): rule for rule in OnParentFailure}
SETS = ("dependents", "edges")
# Tables that hold what belongs to a task, and indexes of which an entry without a task has a law of its own.
LAWS = {
    "unresolved": "stray_unresolved",
    **dict.fromkeys(
        (
            "bodies", "ends", "attempts", "checkpoints", "progress", "parents", "history", "step_names",
            "log_ends", "log_heads", "long_logs", "steps", "log_blocks", "fires",
        ),
        "stray_record",
    ),
}  # fmt: skip


class Edge(NamedTuple):
    """`is_listed`: it stands among all edges of the parent."""

    parent: str
    child: str
    facts: EdgeFacts
    is_listed: bool

    def findings(self) -> list[Finding]:
        subject, key = f"edge of tasks {self.parent} and {self.child}", ("edge", self.parent, self.child)
        if not (self.is_listed or self.facts.is_open):
            return []
        breach = edge_breach(self.facts)
        if breach is not None:
            return [Finding(breach.law, subject, breach.detail, key)]
        if not self.is_listed:
            return [Finding("damaged_index", subject, "its parent's edges do not name it", key)]
        if not self.facts.is_open and self.facts.child in FINAL:
            return [Finding("damaged_index", subject, "its child has ended", key)]
        return []


class Edges(NamedTuple):
    """`set` and `cursor` are where the next slice goes on; `set` is empty after the last."""

    edges: list[Edge]
    set: str
    cursor: str


async def look(db: Database, set_: str, cursor: str, limit: int) -> Edges:
    reply = await db.run("audit_edges", b"", set_.encode(), cursor.encode(), limit)
    told, next_set, next_cursor = reply.answers
    return Edges([_edge(one) for one in told], next_set or "", next_cursor)


async def pairs(db: Database, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Edge]:
    """Each parent and child with the edge between them, which may be neither listed nor open."""
    reply = await db.run("audit_edges", pack(list(wanted)))
    found = [_edge(one) for one in reply.answers[0]]
    return {(edge.parent, edge.child): edge for edge in found}


def _edge(told: Sequence[Any]) -> Edge:
    parent, child, is_open, is_listed, parent_state, child_state, rule, is_noted = told
    facts = EdgeFacts(
        is_open,
        None if parent_state is False else parent_state,
        None if child_state is False else child_state,
        RULES.get(rule, OnParentFailure.CANCEL),
        is_noted,
    )
    return Edge(parent, child, facts, is_listed)


# --- entries of nobody ------------------------------------------------------------------------------


class Strays(NamedTuple):
    """`table` and `cursor` are where the next slice goes on; `table` is 0 after the last."""

    findings: list[Finding]
    table: int
    cursor: str


async def strays(db: Database, table: int, cursor: str, limit: int) -> Strays:
    reply = await db.run("audit_indexes", table, cursor.encode(), limit)
    told, next_table, next_cursor = reply.answers
    found = [
        _stray(name, reply.part(owner) or b"", reply.part(member) or b"", running)
        for name, owner, member, running in told
    ]
    return Strays(found, next_table, next_cursor)


def _stray(table: str, id_: bytes, member: bytes, running: int) -> Finding:
    owner = id_.decode(errors="replace")
    if table == "claims":
        law = "damaged_index" if running else "stray_lease"
        detail = f"{running} of its tasks run, and it is booked in another way"
        return Finding(law, f"a claim of {owner}", detail, ("claim", member.hex()))
    law = LAWS.get(table, "damaged_index")
    if table == "heads":
        return Finding(law, f"task {owner}", "the index tasks does not have it", ("index", "tasks", owner))
    detail = f"in {table}, and nothing says that it belongs there"
    return Finding(law, f"entry of {owner}", detail, ("stray", table, owner, member.hex()))
