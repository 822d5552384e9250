"""What is done about findings: each is looked up again in the transaction that mends it."""

from collections.abc import Awaitable, Callable, Sequence

from mainspring.core.laws import LAWS, LONGEST_TERM_US, arrival_breach
from mainspring.core.limits import rule_for
from mainspring.core.model import State
from mainspring.stores.postgres.auditing import books, firing, graph, workflows
from mainspring.stores.postgres.auditing.mending import mend
from mainspring.stores.postgres.auditing.rebuilding import mend_edge
from mainspring.stores.postgres.auditing.records import Record, records
from mainspring.stores.postgres.limits import read_rule
from mainspring.stores.postgres.moves import lock, release_children
from mainspring.stores.postgres.transaction import Transaction
from mainspring.verbs.audit import Finding, Mended, Mending

# Rows are right before they are counted.
ORDER = (
    "task", "edge", "workflow", "schedule", "stray", "key", "arrival", "share", "worker", "term", "limit",
    "count",
)  # fmt: skip

_Told = tuple[Mending, str]
_Work = Callable[[Transaction, list[Finding]], Awaitable[list[_Told]]]
_GONE = (Mending.GONE, "it was not broken any more")


async def repair(tx: Transaction, findings: Sequence[Finding]) -> list[Mended]:
    """One answer per finding, in their order."""
    told: dict[int, _Told] = {}
    for kind in ORDER:
        places = [place for place, finding in enumerate(findings) if finding.key[:1] == (kind,)]
        if places:
            answers = await _KINDS[kind](tx, [findings[place] for place in places])
            told.update(zip(places, answers, strict=True))
            await release_children(tx)
    unknown = (Mending.REPORTED, "not a finding of this store")
    return [Mended(finding, *told.get(place, unknown)) for place, finding in enumerate(findings)]


def _one_by_one(work: Callable[[Transaction, Finding], Awaitable[_Told]]) -> _Work:
    async def all_of(tx: Transaction, findings: list[Finding]) -> list[_Told]:
        return [await work(tx, finding) for finding in findings]

    return all_of


def _repaired(what: str | None) -> _Told:
    return _GONE if what is None else (Mending.REPAIRED, what)


def _dropped(rows: int, what: str) -> _Told:
    return (Mending.REPAIRED, what) if rows else _GONE


# --- tasks and edges --------------------------------------------------------------------------------


async def _tasks(tx: Transaction, findings: list[Finding]) -> list[_Told]:
    """A record is mended as a whole, so that several findings about it are answered together."""
    wanted = [str(finding.key[1]) for finding in findings]
    await tx.rows("lock_ids", sorted(set(wanted)))
    told: dict[str, tuple[set[str], str]] = {}
    for task in dict.fromkeys(wanted):
        record = (await records(tx, (task,))).get(task)
        broken = _broken(record)
        told[task] = (broken, await mend(tx, record) if record is not None and broken else "")
    return [
        (Mending.REPAIRED, told[task][1]) if finding.law in told[task][0] else _GONE
        for finding, task in zip(findings, wanted, strict=True)
    ]


def _broken(record: Record | None) -> set[str]:
    return set() if record is None else {finding.law for finding in record.findings()}


async def _edge(tx: Transaction, finding: Finding) -> _Told:
    return _repaired(await mend_edge(tx, str(finding.key[1]), str(finding.key[2]), finding.law))


async def _schedule(tx: Transaction, finding: Finding) -> _Told:
    return _repaired(await firing.mend(tx, str(finding.key[1]), finding.law))


async def _workflow(tx: Transaction, finding: Finding) -> _Told:
    return _repaired(await workflows.mend(tx, str(finding.key[1]), finding.law))


async def _stray(tx: Transaction, finding: Finding) -> _Told:
    _, table, task = finding.key
    if table not in ("unresolved", *graph.BELONGINGS) or await lock(tx, [str(task)]):
        return _GONE
    return _dropped(await tx.do(f"forget_{table}", [str(task)]), "removed")


# --- books ------------------------------------------------------------------------------------------


async def _counts(tx: Transaction, findings: list[Finding]) -> list[_Told]:
    """Every row is counted anew. Nobody else moves one until the commit: what moves meanwhile would be
    counted on one side only."""
    await tx.do("hold_still")
    counted, booked = await books.counted_anew(tx), await books.booked_counts(tx)
    told: list[_Told] = []
    for finding in findings:
        queue, state = str(finding.key[1]), int(finding.key[2])
        # What this transaction has moved already is counted, and still to be booked.
        pending = tx.pending(queue, [State(state)]) if 1 <= state <= len(State) else 0
        before, right = booked.get((queue, state), 0) + pending, counted.get((queue, state), 0)
        if before == right:
            told.append(_GONE)
            continue
        await tx.do("mend_count", queue, state, right - before)
        booked[queue, state] = right - pending
        told.append((Mending.REPAIRED, f"from {before} to {right}"))
    return told


async def _arrival(tx: Transaction, finding: Finding) -> _Told:
    name = str(finding.key[1])
    found = {row["name"]: row["arrival_us"] for row in await tx.rows("arrivals")}
    if name not in found or arrival_breach(rule_for(name, tx.rules), found[name], tx.now_us) is None:
        return _GONE
    return _dropped(await tx.do("drop_arrival", name), "starts may be booked from now on")


async def _share(tx: Transaction, finding: Finding) -> _Told:
    return _dropped(await tx.do("mend_share", str(finding.key[1])), LAWS[finding.law].mending)


async def _key(tx: Transaction, finding: Finding) -> _Told:
    principal, key = str(finding.key[1]), str(finding.key[2])
    row = await tx.row("key_to_mend", principal, key)
    if row is None or books.readable_ids(row["tasks"]):
        return _GONE
    return _dropped(await tx.do("drop_key", principal, key), "removed")


async def _worker(tx: Transaction, finding: Finding) -> _Told:
    worker = str(finding.key[1])
    found = {row["worker"]: row["info"] for row in await tx.rows("worker_reports")}
    if worker not in found or books.readable_worker(found[worker]) is not None:
        return _GONE
    return _dropped(await tx.do("drop_worker", worker), "removed")


async def _term(tx: Transaction, finding: Finding) -> _Told:
    return _dropped(await tx.do("end_endless_term", LONGEST_TERM_US), "it has ended")


async def _limit(tx: Transaction, finding: Finding) -> _Told:
    found = {row["name"]: row["rule"] for row in await tx.rows("rules")}
    name = str(finding.key[1])
    if name not in found or read_rule(found[name]) is not None:
        return _GONE
    return Mending.REPORTED, "set it anew or remove it; until then none of its tasks starts"


_KINDS: dict[str, _Work] = {
    "task": _tasks,
    "edge": _one_by_one(_edge),
    "workflow": _one_by_one(_workflow),
    "schedule": _one_by_one(_schedule),
    "stray": _one_by_one(_stray),
    "key": _one_by_one(_key),
    "arrival": _one_by_one(_arrival),
    "share": _one_by_one(_share),
    "worker": _one_by_one(_worker),
    "term": _one_by_one(_term),
    "limit": _one_by_one(_limit),
    "count": _counts,
}
