"""Many seeds, on every core, and what they showed: broken promises, faults taken, steps seen.

A broken promise is told with its task's story, and its seed replays it identically.
"""

import gc
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import TypeVar

import msgspec

from mainspring.clock import SystemClock
from mainspring.core.lifecycle import EDGES, Cause
from mainspring.core.model import State
from mainspring.testing.checks import Audit, Violation, audit, explain
from mainspring.testing.checks.sights import SIGHTS, WITHOUT_ELECTION
from mainspring.testing.course import Outcome, run_seed
from mainspring.testing.planted import BUGS
from mainspring.testing.weather import OF_ELECTION, POINTS

SEEDS_FOR_A_BUG = 200
SEEDS_A_JOB = 10
SEEDS_FOR_A_POOL = 20
STORIES_TOLD = 3
# Over a run of 2,000 seeds every step and every fault must have been seen this often; fewer seeds, fewer.
SEEN_AT_LEAST, SEEN_OVER_SEEDS = 100, 2_000

Edge = tuple[State | None, Cause, State]
# A store in memory knows no transactions of users.
OF_TRANSACTIONS: frozenset[Edge] = frozenset({(State.SCHEDULED, Cause.REJECT, State.FAILED)})
T = TypeVar("T")
R = TypeVar("R")


class Finding(msgspec.Struct):
    """What one seed showed. `stories` are its first violations, told; `broken` names all of them."""

    seed: int
    digest: str
    virtual_s: float
    tasks: int
    faults: Counter[str]
    edges: Counter[Edge]
    seen: Counter[str]
    acknowledged_lost: int
    broken: list[str]
    stories: list[str]


def look(seed: int, *, elects: bool = True, with_digest: bool = False) -> Finding:
    """Run a seed and check its record."""
    outcome = run_seed(seed, elects=elects)
    record = outcome.record
    audited = _audited(outcome)
    violations = audited.violations
    return Finding(
        seed=seed,
        digest=record.digest() if with_digest else "",
        virtual_s=outcome.virtual_s,
        tasks=sum(count for (old, _, _), count in record.edges.items() if old is None),
        faults=record.faults,
        edges=record.edges,
        seen=audited.seen,
        acknowledged_lost=audited.acknowledged_lost,
        broken=sorted({violation.promise for violation in violations}),
        stories=[explain(record, violation) for violation in violations[:STORIES_TOLD]],
    )


def _audited(outcome: Outcome) -> Audit:
    try:
        return audit(outcome.record, outcome.stuck)
    except Exception as error:  # a record that the model cannot follow breaks a promise, too
        what = f"the checks failed: {error!r}"
        return Audit([Violation("no-stray-error", "", what, outcome.virtual_s)], 0, Counter())


def look_at(seeds: Sequence[int], *, elects: bool = True) -> list[Finding]:
    """One job of a pool."""
    findings = [look(seed, elects=elects) for seed in seeds]
    gc.collect()
    return findings


def hunt(number: int) -> tuple[int | None, list[str]]:
    """Plant bug `number` and run seeds until one shows it: that seed, and the promises it broke."""
    with BUGS[number].planted():
        for seed in range(SEEDS_FOR_A_BUG):
            finding = look(seed)
            if finding.broken:
                return seed, finding.broken
    return None, []


# --- the command line -------------------------------------------------------------------------------


def run_cli(seeds: int, seed: int | None, planted: bool, elects: bool = True) -> int:
    """`mainspring simulate`: 0 if every promise held (or every planted bug was caught), else 1."""
    if planted:
        return _hunt_all()
    if seed is not None:
        return _replay(seed, elects)
    return _search(seeds, elects)


def _replay(seed: int, elects: bool) -> int:
    finding = look(seed, elects=elects, with_digest=True)
    _say(f"seed {seed}: {finding.tasks} tasks, {finding.faults.total()} faults in {finding.virtual_s:.1f} s")
    _say(f"record {finding.digest}")
    for story in finding.stories:
        _say(story)
    return 1 if finding.broken else 0


def _search(seeds: int, elects: bool) -> int:
    clock = SystemClock()
    began_s = clock.monotonic()
    jobs = [range(start, min(start + SEEDS_A_JOB, seeds)) for start in range(0, seeds, SEEDS_A_JOB)]
    findings: list[Finding] = []
    for some in _spread(partial(look_at, elects=elects), jobs, seeds >= SEEDS_FOR_A_POOL):
        for finding in some:
            findings.append(finding)
            if finding.broken:
                _say(f"seed {finding.seed} breaks {', '.join(finding.broken)}")
        if len(findings) % (10 * SEEDS_A_JOB) == 0:
            took_s = clock.monotonic() - began_s
            _say(f"{len(findings)} of {seeds} seeds, {len(findings) / took_s:.1f} a second")
    failed = [finding for finding in findings if finding.broken]
    _summarise(findings, clock.monotonic() - began_s, elects)
    for finding in failed[:STORIES_TOLD]:
        how = f"--seed {finding.seed}" if elects else f"--no-election --seed {finding.seed}"
        _say(f"\nseed {finding.seed} (mainspring simulate {how} replays it)")
        _say(finding.stories[0])
    verdict = f"{len(failed)} of {seeds} seeds broke a promise" if failed else "every promise was kept"
    _say(f"\n{verdict}")
    return 1 if failed else 0


def _summarise(findings: Sequence[Finding], took_s: float, elects: bool) -> None:
    faults: Counter[str] = Counter()
    edges: Counter[Edge] = Counter()
    seen: Counter[str] = Counter()
    for finding in findings:
        faults.update(finding.faults)
        edges.update(finding.edges)
        seen.update(finding.seen)
    count = len(findings)
    least = min(finding.faults.total() for finding in findings)
    fewest = min(finding.tasks for finding in findings)
    virtual_s = sum(finding.virtual_s for finding in findings)
    lost = sum(finding.acknowledged_lost for finding in findings)
    _say(f"\n{count} seeds in {took_s:.0f} s, {count / took_s:.1f} a second; {virtual_s:.0f} s of their own")
    _say(f"each with at least {fewest} tasks and {least} faults")
    _say(f"acknowledged tasks lost with the last writes of a failing store (durability class B): {lost}")
    seen_least = SEEN_AT_LEAST * count / SEEN_OVER_SEEDS
    _say("\nsteps taken")
    _table(
        [(_edge_name(edge), edges[edge]) for edge in sorted(EDGES - OF_TRANSACTIONS, key=_edge_order)],
        seen_least,
    )
    _say("\nfaults met")
    points = POINTS if elects else [point for point in POINTS if point not in OF_ELECTION]
    _table([(point, faults[point]) for point in points], seen_least)
    _say("\nmet on the way")
    sights = SIGHTS if elects else WITHOUT_ELECTION
    _table([(sight, seen[sight]) for sight in sights], seen_least)


def _table(rows: Iterable[tuple[str, int]], least: float) -> None:
    for name, count in rows:
        _say(f"  {name:<36} {count:>9}{'   WARNING: too seldom' if count < least else ''}")


def _edge_name(edge: Edge) -> str:
    old, cause, new = edge
    return f"{'-' if old is None else old.label} --{cause.name.lower()}--> {new.label}"


def _edge_order(edge: Edge) -> tuple[int, int, int]:
    old, cause, new = edge
    return (0 if old is None else int(old), int(cause), int(new))


def _hunt_all() -> int:
    missed = 0
    for bug, (seed, broken) in zip(BUGS, _spread(hunt, range(len(BUGS)), True), strict=True):
        if seed is None:
            missed += 1
            _say(f"  NOT CAUGHT in {SEEDS_FOR_A_BUG} seeds: {bug.name}")
        else:
            _say(f"  seed {seed:>3}  {bug.name:<55} {', '.join(broken)}")
    _say(f"\n{len(BUGS) - missed} of {len(BUGS)} planted bugs were caught")
    return 1 if missed else 0


def _spread(work: Callable[[T], R], jobs: Sequence[T], in_pool: bool) -> Iterator[R]:
    """The results in the order of the jobs, whatever the number of cores."""
    cores = os.cpu_count() or 1
    if not in_pool or cores == 1:
        yield from map(work, jobs)
        return
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        yield from pool.map(work, jobs)


def _say(line: str) -> None:
    print(line, flush=True)
