"""What is done about findings: each is looked up again in the transaction that mends it."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import apsw

from mainspring.core.laws import LAWS, LONGEST_TERM_US, arrival_breach
from mainspring.core.limits import rule_for
from mainspring.stores.sqlite.auditing import books, firing, graph, workflows
from mainspring.stores.sqlite.auditing.mending import mend
from mainspring.stores.sqlite.auditing.rebuilding import mend_edge
from mainspring.stores.sqlite.auditing.records import Record, records
from mainspring.stores.sqlite.limits import read_rule
from mainspring.stores.sqlite.moves import release_children
from mainspring.stores.sqlite.transaction import BUMP_GENERATION, Transaction
from mainspring.verbs.audit import Finding, Mended, Mending

PUT_COUNT = "INSERT OR REPLACE INTO counts (queue, state, n) VALUES (?, ?, ?)"
MEND_SHARE = (
    "UPDATE shares SET weight = iif(weight > 0 AND weight < 9e999, weight, 1.0),"
    " virtual_us = iif(abs(virtual_us) < 9e999, virtual_us, 0.0)"
    f" WHERE tenant = ? AND {books.BAD_SHARE}"
)
END_TERM = f"UPDATE term SET expires_us = ?1 WHERE expires_us > ?1 + {LONGEST_TERM_US}"
READ_KEY = "SELECT tasks FROM idempotency WHERE principal = ? AND key = ?"
DROP_KEY = "DELETE FROM idempotency WHERE principal = ? AND key = ?"

# From the file up: an index is right before rows are moved by it, rows are right before they are counted.
ORDER = (
    "index", "file", "task", "edge", "workflow", "schedule", "stray", "key", "arrival", "share", "worker",
    "term", "limit", "clock", "count",
)  # fmt: skip

_Told = tuple[Mending, str]
_Work = Callable[[Transaction, list[Finding]], list[_Told]]
_GONE = (Mending.GONE, "it was not broken any more")


def repair(tx: Transaction, findings: Sequence[Finding]) -> list[Mended]:
    """One answer per finding, in their order."""
    told: dict[int, _Told] = {}
    kinds = _KINDS | {"task": partial(_tasks, lost=_mend_lines(tx, findings))}
    for kind in ORDER:
        places = [place for place, finding in enumerate(findings) if finding.key[:1] == (kind,)]
        if places:
            answers = kinds[kind](tx, [findings[place] for place in places])
            told.update(zip(places, answers, strict=True))
    release_children(tx)
    unknown = (Mending.REPORTED, "not a finding of this store")
    return [Mended(finding, *told.get(place, unknown)) for place, finding in enumerate(findings)]


def _one_by_one(work: Callable[[Transaction, Finding], _Told]) -> _Work:
    return lambda tx, findings: [work(tx, finding) for finding in findings]


# --- tasks and edges --------------------------------------------------------------------------------


def _mend_lines(tx: Transaction, findings: Sequence[Finding]) -> set[int]:
    """The tasks that no claim could find; when this returns, it can."""
    wanted = {
        int(finding.key[1])
        for finding in findings
        if finding.law == "not_in_line" and finding.key[:1] == ("task",)
    }
    lost = {n for n, record in _records(tx, wanted).items() if "not_in_line" in _broken(record)}
    if lost:
        _reindex(tx, "tasks_ready")
    return lost


def _tasks(tx: Transaction, findings: list[Finding], *, lost: set[int]) -> list[_Told]:
    """A record is mended as a whole, so that several findings about it are answered together."""
    wanted = [int(finding.key[1]) for finding in findings]
    told: dict[int, tuple[set[str], str]] = {}
    for n in dict.fromkeys(wanted):
        record = _records(tx, (n,)).get(n)
        broken = _broken(record)
        what = mend(tx, record) if record is not None and broken else ""
        told[n] = (broken | {"not_in_line"}, what or "found again") if n in lost else (broken, what)
    return [
        (Mending.REPAIRED, told[n][1]) if finding.law in told[n][0] else _GONE
        for finding, n in zip(findings, wanted, strict=True)
    ]


def _records(tx: Transaction, wanted: Iterable[int]) -> dict[int, Record]:
    return records(tx.db, wanted, tx.now_us, max(tx.minted, tx.now_us))


def _broken(record: Record | None) -> set[str]:
    return set() if record is None else {finding.law for finding in record.findings()}


def _edge(tx: Transaction, finding: Finding) -> _Told:
    what = mend_edge(tx, int(finding.key[1]), int(finding.key[2]), finding.law)
    return _GONE if what is None else (Mending.REPAIRED, what)


def _schedule(tx: Transaction, finding: Finding) -> _Told:
    what = firing.mend(tx, str(finding.key[1]), finding.law)
    return _GONE if what is None else (Mending.REPAIRED, what)


def _workflow(tx: Transaction, finding: Finding) -> _Told:
    what = workflows.mend(tx, int(finding.key[1]), finding.law)
    return _GONE if what is None else (Mending.REPAIRED, what)


def _stray(tx: Transaction, finding: Finding) -> _Told:
    _, table, n = finding.key
    columns = dict(graph.BELONGINGS) | {"unresolved": "parent"}
    column = columns[str(table)]
    return _changed(
        tx,
        f"DELETE FROM {table} WHERE {column} = ? AND NOT EXISTS (SELECT 1 FROM tasks WHERE n = {column})",
        (n,),
        "removed",
    )


# --- books ------------------------------------------------------------------------------------------


def _counts(tx: Transaction, findings: list[Finding]) -> list[_Told]:
    """Every row is counted anew, with what this transaction has moved already."""
    counted, booked = books.counted_anew(tx.db), books.booked_counts(tx.db)
    return [_count(tx, finding, counted, booked) for finding in findings]


def _count(tx: Transaction, finding: Finding, counted: books.Counts, booked: books.Counts) -> _Told:
    _, queue, state = finding.key
    place = (str(queue), int(state))
    pending, right = tx.counts.get(place, 0), counted.get(place, 0)
    before = booked.get(place, 0) + pending
    if before == right:
        return _GONE
    tx.db.execute(PUT_COUNT, (*place, right - pending))
    return Mending.REPAIRED, f"from {before} to {right}"


def _arrival(tx: Transaction, finding: Finding) -> _Told:
    name = str(finding.key[1])
    arrival_us = tx.db.execute("SELECT arrival_us FROM arrivals WHERE name = ?", (name,)).get
    if arrival_us is None or arrival_breach(rule_for(name, tx.rules), arrival_us, tx.now_us) is None:
        return _GONE
    return _changed(tx, "DELETE FROM arrivals WHERE name = ?", (name,), "starts may be booked from now on")


def _share(tx: Transaction, finding: Finding) -> _Told:
    return _changed(tx, MEND_SHARE, finding.key[1:], LAWS[finding.law].mending)


def _key(tx: Transaction, finding: Finding) -> _Told:
    _, principal, key = finding.key
    tasks = tx.db.execute(READ_KEY, (principal, key)).get
    if tasks is None or books.readable_ids(tasks):
        return _GONE
    return _changed(tx, DROP_KEY, (principal, key), "removed")


def _worker(tx: Transaction, finding: Finding) -> _Told:
    info = tx.db.execute("SELECT info FROM workers WHERE worker = ?", finding.key[1:]).get
    if info is None or books.readable_worker(info) is not None:
        return _GONE
    return _changed(tx, "DELETE FROM workers WHERE worker = ?", finding.key[1:], "removed")


def _term(tx: Transaction, finding: Finding) -> _Told:
    return _changed(tx, END_TERM, (tx.now_us,), "it has ended")


def _limit(tx: Transaction, finding: Finding) -> _Told:
    stored = tx.db.execute("SELECT rule FROM limits WHERE name = ?", (finding.key[1],)).get
    if stored is None or read_rule(stored) is not None:
        return _GONE
    return Mending.REPORTED, "set it anew or remove it; until then none of its tasks starts"


def _clock(tx: Transaction, finding: Finding) -> _Told:
    return Mending.REPORTED, "time comes right when this host's clock has caught up"


def _index(tx: Transaction, finding: Finding) -> _Told:
    name = str(finding.key[1])
    table = tx.db.execute("SELECT tbl_name FROM sqlite_schema WHERE type = 'index' AND name = ?", (name,)).get
    complaints = tx.db.execute(f'PRAGMA integrity_check("{table}")').fetchall() if table else []
    if not any(str(complaint).endswith(f"index {name}") for (complaint,) in complaints):
        return _GONE
    try:
        _reindex(tx, name)
    except apsw.ConstraintError as error:
        return Mending.REPORTED, f"it cannot be built anew ({error}): restore the file from a backup"
    return Mending.REPAIRED, "built anew"


def _reindex(tx: Transaction, name: str) -> None:
    tx.db.execute(f'REINDEX "{name}"')
    # SQLite does not count a reindex as a change, and what changed nothing is not committed.
    tx.db.execute(BUMP_GENERATION)


def _file(tx: Transaction, finding: Finding) -> _Told:
    return Mending.REPORTED, "restore the file from a backup"


def _changed(tx: Transaction, sql: str, bindings: Sequence[object], what: str) -> _Told:
    before = tx.db.total_changes()
    tx.db.execute(sql, bindings)
    return (Mending.REPAIRED, what) if tx.db.total_changes() > before else _GONE


_KINDS: dict[str, _Work] = {
    "index": _one_by_one(_index),
    "file": _one_by_one(_file),
    "edge": _one_by_one(_edge),
    "schedule": _one_by_one(_schedule),
    "workflow": _one_by_one(_workflow),
    "stray": _one_by_one(_stray),
    "key": _one_by_one(_key),
    "arrival": _one_by_one(_arrival),
    "share": _one_by_one(_share),
    "worker": _one_by_one(_worker),
    "term": _one_by_one(_term),
    "limit": _one_by_one(_limit),
    "clock": _one_by_one(_clock),
    "count": _counts,
}
