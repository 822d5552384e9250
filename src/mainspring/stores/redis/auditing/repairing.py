"""What is done about findings: each is looked up again, and mended if nothing of it has moved meanwhile."""

from collections.abc import Awaitable, Callable, Iterable, Sequence

from mainspring.core.laws import LAWS, LONGEST_TERM_US, arrival_breach
from mainspring.core.limits import rule_for
from mainspring.core.model import State
from mainspring.stores.redis.auditing import books, graph, mending, records, rewriting
from mainspring.stores.redis.auditing.graph import Edge
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import pack
from mainspring.verbs.audit import Finding, Mended, Mending

# Rows are right before they are counted.
ORDER = (
    "index", "stray", "kept", "claim", "task", "edge", "workflow", "schedule", "key", "expiring", "arrival",
    "share", "worker", "term", "minted", "limit", "group", "count", "running", "lane",
)  # fmt: skip
# Somebody may move what is to be mended again and again: so often it is looked up anew.
TRIES = 5

_Told = tuple[Mending, str]
_Work = Callable[[Database, list[Finding]], Awaitable[list[_Told]]]
_GONE = (Mending.GONE, "it was not broken any more")


async def repair(db: Database, findings: Sequence[Finding]) -> list[Mended]:
    """One answer per finding, in their order."""
    told: dict[int, _Told] = {}
    for kind in ORDER:
        places = [place for place, finding in enumerate(findings) if finding.key[:1] == (kind,)]
        if places:
            answers = await _KINDS[kind](db, [findings[place] for place in places])
            told.update(zip(places, answers, strict=True))
    unknown = (Mending.REPORTED, "not a finding of this store")
    return [Mended(finding, *told.get(place, unknown)) for place, finding in enumerate(findings)]


def _one_by_one(work: Callable[[Database, Finding], Awaitable[str | None]]) -> _Work:
    async def all_of(db: Database, findings: list[Finding]) -> list[_Told]:
        return [_repaired(await work(db, finding)) for finding in findings]

    return all_of


def _repaired(what: str | None) -> _Told:
    return _GONE if what is None else (Mending.REPAIRED, what)


# --- tasks and edges --------------------------------------------------------------------------------


async def _tasks(db: Database, findings: list[Finding]) -> list[_Told]:
    """A task is mended as a whole, so that several findings about it are answered together."""
    wanted = [str(finding.key[1]) for finding in findings]
    told = await _mend_tasks(db, set(wanted))
    answers: list[_Told] = []
    for finding, task in zip(findings, wanted, strict=True):
        laws, what = told.get(task, (set(), ""))
        answers.append((Mending.REPAIRED, what) if finding.law in laws else _GONE)
    return answers


async def _mend_tasks(db: Database, wanted: Iterable[str]) -> dict[str, tuple[set[str], str]]:
    """The laws that each of the tasks broke, and what was done."""
    told: dict[str, tuple[set[str], str]] = {}
    left = set(wanted)
    for _ in range(TRIES):
        found = await records.records(db, left)
        broken = {task: {one.law for one in record.findings()} for task, record in found.items()}
        ill = [record for task, record in found.items() if broken[task]]
        if not ill:
            break
        around = await mending.surroundings(db, ill)
        plans = [mending.plan(record, around[record.id]) for record in ill]
        for plan, is_done in zip(plans, await mending.write(db, plans), strict=True):
            task = plan.record.id
            if is_done:
                told[task] = broken[task], "; ".join(plan.what) or "numbers given anew"
        left = {record.id for record in ill} - told.keys()
        if not left:
            break
    return told


async def _edges(db: Database, findings: list[Finding]) -> list[_Told]:
    wanted = [(str(finding.key[1]), str(finding.key[2])) for finding in findings]
    found = await graph.pairs(db, set(wanted))
    acts = {pair: _act(edge) for pair, edge in found.items() if edge.findings()}
    lines = [(*pair, act, *_states(found[pair])) for pair, act in acts.items()]
    reply = await db.run("mend_edges", pack(lines))
    done = {pair for pair, is_done in zip(acts, reply.answers, strict=True) if is_done}
    # A child that waited for a parent that is lost goes on, or ends.
    bereaved = {child for parent, child in done if found[parent, child].facts.child == State.BLOCKED}
    told = await _mend_tasks(db, bereaved)
    answers = []
    for finding, pair in zip(findings, wanted, strict=True):
        laws = {one.law for one in found[pair].findings()}
        what = _SAID[acts[pair]] if pair in acts else ""
        if pair[1] in told:
            what += f"; task {pair[1]}: {told[pair[1]][1]}"
        answers.append((Mending.REPAIRED, what) if pair in done and finding.law in laws else _GONE)
    return answers


_SAID = {"note": "noted for the resolver", "close": "closed", "list": "listed", "drop": "removed"}


def _act(edge: Edge) -> str:
    (finding,) = edge.findings()
    if finding.law == "damaged_index":
        return "list" if edge.facts.is_open else "drop"
    return {"unapplied_end": "note", "stray_open_edge": "close"}.get(finding.law, "drop")


def _states(edge: Edge) -> tuple[int | bool, int | bool]:
    parent, child = edge.facts.parent, edge.facts.child
    return False if parent is None else parent, False if child is None else child


# --- indexes and books ------------------------------------------------------------------------------


async def _indexes(db: Database, findings: list[Finding]) -> list[_Told]:
    reply = await db.run("mend_indexes", pack([finding.key for finding in findings]))
    return [(Mending.REPAIRED, "made to agree") if is_done else _GONE for is_done in reply.answers]


async def _books(db: Database, findings: list[Finding]) -> list[_Told]:
    """Everything is counted anew in one go: what moves meanwhile would be counted on one side only."""
    lines = [
        ("count", f"{finding.key[2]}:{finding.key[1]}") if finding.key[0] == "count" else finding.key
        for finding in findings
    ]
    reply = await db.run("mend_books", pack(lines))
    return [(Mending.REPAIRED, f"from {told[0]} to {told[1]}") if told else _GONE for told in reply.answers]


async def _arrival(db: Database, finding: Finding) -> str | None:
    name, found = str(finding.key[1]), await books.read(db, 0, 0)
    rules = {each: rule for each, rule in found.rules.items() if rule is not None}
    arrival_us = found.arrivals.get(name)
    if arrival_us is None or arrival_breach(rule_for(name, rules), arrival_us, found.now_us) is None:
        return None
    return "starts may be booked from now on" if await db.do("ZREM", "arrivals", name) else None


async def _share(db: Database, finding: Finding) -> str | None:
    tenant = str(finding.key[1])
    text = await db.do("HGET", "shares", tenant)
    if text is None or books.readable_share(text) is not None:
        return None
    is_done = await rewriting.rewrite(db, "shares", tenant, text, pack((1, 0)))
    return LAWS["unreadable_share"].mending if is_done else None


async def _worker(db: Database, finding: Finding) -> str | None:
    worker = str(finding.key[1])
    text = await db.do("HGET", "workers", worker)
    if text is None or books.readable_worker(text):
        return None
    return "removed" if await rewriting.rewrite(db, "workers", worker, text, None) else None


async def _term(db: Database, finding: Finding) -> str | None:
    found = await books.read(db, 0, 0)
    if found.term_ends_us - found.now_us <= LONGEST_TERM_US:
        return None
    text = await db.do("HGET", "term", "expires_us")
    is_done = await rewriting.rewrite(db, "term", "expires_us", text, str(found.now_us).encode())
    return "it has ended" if is_done else None


async def _minted(db: Database, findings: list[Finding]) -> list[_Told]:
    found = await books.read(db, 0, 0)
    if "clock_ahead" not in {finding.law for finding in books.findings(found)}:
        return [_GONE] * len(findings)
    said = "the server's clock was set back; numbers go on rising from where they are"
    return [(Mending.REPORTED, said)] * len(findings)


async def _limits(db: Database, findings: list[Finding]) -> list[_Told]:
    rules = (await books.read(db, 0, 0)).rules
    said = "set it anew or remove it; until then none of its tasks starts"
    return [
        (Mending.REPORTED, said) if rules.get(str(finding.key[1]), _GONE) is None else _GONE
        for finding in findings
    ]


_KINDS: dict[str, _Work] = {
    **dict.fromkeys(("index", "stray", "kept", "claim", "group"), _indexes),
    "task": _tasks,
    "edge": _edges,
    "workflow": _one_by_one(rewriting.mend_workflow),
    "schedule": _one_by_one(rewriting.mend_schedule),
    "key": _one_by_one(rewriting.mend_key),
    "expiring": _one_by_one(rewriting.mend_end_of_key),
    "arrival": _one_by_one(_arrival),
    "share": _one_by_one(_share),
    "worker": _one_by_one(_worker),
    "term": _one_by_one(_term),
    "minted": _minted,
    "limit": _limits,
    **dict.fromkeys(("count", "running", "lane"), _books),
}
