"""Moving house: all that one store holds is copied into another, which is empty, and verified.

    source ──dump──► page ──load──► target          first pass
    source ──dump──► sums    =   sums ◄──dump── target    verification

Nobody may work on either store meanwhile. The copy holds both stores' terms, so that no server leads; it
looks whether anybody has beaten lately; and it reads the source twice. Whatever was written to it between
the passes, by whomever, shows, and then the copy is given up: the target stays marked, and no node works on
it. If the target holds something else than it was given, the kind is read again from both, to name a few of
the records.
"""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import islice

import msgspec

from mainspring.core.model import SECOND_US
from mainspring.core.moving import Sum, shelf_of
from mainspring.errors import StoreError, WrongState
from mainspring.ports import Clock, Refused, Store, Term
from mainspring.services.differing import ROWS_TOLD, differences
from mainspring.verbs.moving import Dumped, Kind, Record, kind_cursor, name_of, parse_dump_cursor

# Whoever copies again after this one was killed waits for so long.
TERM_S = 15.0
TERM_RENEWED_S = 3.0
# A worker says that it is alive three times a lease; with the usual lease that is every five seconds.
SILENT_S = 30.0
PAGE_BYTES = 8 * 1024 * 1024
PAGE_FIRST, PAGE_MOST = 16, 2_000

_encode = msgspec.msgpack.Encoder().encode


class Copied(msgspec.Struct):
    """What was copied of one kind. `digest` is that of both stores."""

    kind: Kind
    count: int
    digest: str


class Progress(msgspec.Struct, frozen=True):
    """`step` is `copy`, `verify the target`, `verify the source` or `compare`. So many records of the kind
    are done."""

    step: str
    kind: Kind
    count: int


async def copy(
    source: Store, target: Store, clock: Clock, told: Callable[[Progress], None] = lambda _: None
) -> list[Copied]:
    """Copy everything from one open store into another that is open and empty.

    Raises `WrongState` if a node works on one of them, the target is not empty, or the source is written to
    meanwhile; `StoreError` if a store fails, a record cannot be stored, or the stores turn out to differ. A
    target that has begun to fill stays marked as unfinished, and the next copy into it begins anew.
    """
    name = f"store copy {clock.new_id()}"
    async with AsyncExitStack() as stack:
        sites = [_Site(store, what, name, clock) for store, what in ((source, "source"), (target, "target"))]
        for site in sites:
            await stack.enter_async_context(site.held())
        await _check_source(source)
        if (refused := await target.begin_load(name)) is not None:
            raise WrongState(f"the target is not empty: {refused.detail}")
        copied = _Reading("copy", sites, told)
        async for page in copied.pages(source):
            _check(page, await target.load(name, page.records))
        verified = copied.again("verify the target")
        await verified.through(target)
        if (kind := copied.differs(verified)) is not None:
            raise StoreError(
                f"the stores differ after the copy: the target has {kind.label}: {verified.sum_of(kind)}, not"
                f" {copied.sum_of(kind)}: {await _found(kind, copied, verified, source, target)}. Mend such"
                " records in the source, or delete them, and copy again"
            )
        again = copied.again("verify the source")
        await again.through(source)
        if (kind := copied.differs(again)) is not None:
            found = f"{kind.label}: {again.sum_of(kind)}, not {copied.sum_of(kind)}"
            raise WrongState(f"the source was written to during the copy ({found}): stop all nodes first")
        await target.end_load(name)
        return [Copied(kind, copied.sums[kind].count, copied.sums[kind].digest) for kind in Kind]


def _check(page: Dumped, answers: Sequence[Refused | None]) -> None:
    for record, answer in zip(page.records, answers, strict=True):
        if answer is not None:
            name = name_of(record)
            raise StoreError(
                f"the target does not take one of the {page.kind.label}, {name!r}: {answer.detail}"
            )


async def _check_source(source: Store) -> None:
    if await source.unfinished_load() is not None:
        raise WrongState("the source is itself a copy that was not finished")
    if source.features.transactional and await source.submissions(1):
        raise WrongState(
            "submissions of users' transactions wait in the source: let a server take them in first"
        )


async def _found(kind: Kind, one: "_Reading", other: "_Reading", source: Store, target: Store) -> str:
    """Which records of the kind differ, found by the shelves on which the two readings do."""
    shelves = set(one.sums[kind].differing(other.sums[kind])[:ROWS_TOLD])
    here = await one.again("compare").shelved(source, kind, shelves)
    there = await one.again("compare").shelved(target, kind, shelves)
    rows = list(islice(differences(kind, here, there), ROWS_TOLD))
    return "; ".join(rows) or "they have become equal since: somebody writes to one of them"


class _Reading:
    """One pass over a store: its pages, and the sums of what it dumped."""

    def __init__(self, step: str, sites: "Sequence[_Site]", told: Callable[[Progress], None]) -> None:
        self._step = step
        self._sites = sites
        self._told = told
        self.sums = {kind: Sum() for kind in Kind}

    def again(self, step: str) -> "_Reading":
        return _Reading(step, self._sites, self._told)

    def sum_of(self, kind: Kind) -> str:
        return f"{self.sums[kind].count} ({self.sums[kind].digest})"

    def differs(self, other: "_Reading") -> Kind | None:
        """The first kind of which they found something else."""
        return next((kind for kind in Kind if self.sum_of(kind) != other.sum_of(kind)), None)

    async def through(self, store: Store) -> None:
        async for _ in self.pages(store):
            continue

    async def shelved(self, store: Store, kind: Kind, shelves: Collection[int]) -> dict[str, Record]:
        """The records of a kind that count on these shelves, by their names."""
        found: dict[str, Record] = {}
        async for page in self.pages(store, kind):
            if page.kind is not kind:
                break
            found |= {name: one for one in page.records if shelf_of(name := name_of(one)) in shelves}
        return found

    async def pages(self, store: Store, kind: Kind = Kind.TASKS) -> AsyncIterator[Dumped]:
        """From the first of the kind on. Pages of a bounded size, however large the records are: those of
        each kind are met with a few."""
        cursor, limit = kind_cursor(kind), PAGE_FIRST
        while True:
            page = await store.dump(cursor, limit)
            size, total = 0, self.sums[page.kind]
            for record in page.records:
                encoded = _encode(record)
                size += len(encoded)
                total.add(name_of(record), encoded)
            yield page
            for site in self._sites:
                await site.renew()
            self._told(Progress(self._step, page.kind, total.count))
            if page.cursor is None:
                return
            cursor = page.cursor
            fitting = limit * PAGE_BYTES // max(size, 1)
            limit = max(1, min(fitting, 2 * limit, PAGE_MOST))
            if (comes := parse_dump_cursor(cursor)[0]) is not kind:
                kind, limit = comes, PAGE_FIRST


class _Site:
    """One of the two stores, and the term that keeps servers from leading there."""

    def __init__(self, store: Store, what: str, name: str, clock: Clock) -> None:
        self._store = store
        self._what = what
        self._name = name
        self._clock = clock
        self._taken_s = 0.0

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Raises `WrongState` if anybody works on the store."""
        term = await self._take()
        try:
            for worker in await self._store.workers():
                age_s = worker.age_us / SECOND_US
                if age_s < SILENT_S:
                    raise WrongState(
                        f"the worker {worker.worker} is at work on the {self._what}: stop it first"
                        f" (it said so {age_s:.0f} s ago; {SILENT_S:g} s of silence will do)"
                    )
            yield
        finally:
            # The copy's own end is what counts. A term that is not given back runs out by itself.
            with suppress(StoreError):
                await self._store.resign(self._name, term.number)

    async def renew(self) -> None:
        if self._clock.monotonic() - self._taken_s > TERM_RENEWED_S:
            await self._take()

    async def _take(self) -> Term:
        self._taken_s = self._clock.monotonic()
        term = await self._store.take_term(self._name, int(TERM_S * SECOND_US))
        if term.holder != self._name:
            raise WrongState(
                f"the node {term.holder} is at work on the {self._what}: stop it first (its term ends"
                f" {term.expires_in_us / SECOND_US:.1f} s after its death)"
            )
        return term
