"""What each store costs by itself, as a table.

python -m benchmarks.stores [--store sqlite,postgres,redis] [--only claims,rest] [--quick]
                            [--finished 10000000] [--held 300] [--rounds 1] [--json FILE] [--write FILE]
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import Bar, Probe
from benchmarks.peers.catalogue import CLASSES, OURS, Participant, Workload
from benchmarks.peers.running import measure, placed
from tests.servers import stop_all

STORES = ("sqlite", "postgres", "redis")
ONLY = ("claims", "finished", "held", "workers", "memory", "rest")
SIZES = (1, 10, 100)
BARS = {1: {1: 1.5, 10: 1.5, 100: 2.0}, 1000: {1: 1.5, 10: 1.5, 100: 3.0}}
Row = dict[str, Any]


def main() -> None:
    options = _options()
    rows: list[Row] = []
    try:
        for store in options.store:
            for figure in options.only:
                print(f"measuring {figure} on {store}", file=sys.stderr, flush=True)
                try:
                    rows += FIGURES[figure](store, options)
                except Exception as error:
                    rows.append(_row(store, figure, f"failed: {error}"))
    finally:
        stop_all()
    print(_table(rows))
    if options.json:
        options.json.write_text("".join(json.dumps(row) + "\n" for row in rows))
    if options.write:
        options.write.write_text(_table(rows))


# --- figures --------------------------------------------------------------------------------------


def _claims(store: str, options: argparse.Namespace) -> Iterator[Row]:
    short, long = lengths = (10_000, 50_000 if options.quick else 1_000_000)
    for tenants, bars in BARS.items():
        params = {"lengths": lengths, "tenants": tenants}
        found = _medians(store, "stores.claims:by_length", params, options.rounds, two=True)
        whose = "one tenant" if tenants == 1 else f"{tenants:,} tenants"
        for size in SIZES:
            what, bar = f"claim of {size}, {long:,} waiting, {whose}", Bar(at_most=bars[size])
            value, other = found[f"long of {size}"], found[f"short of {size}"]
            yield _beside(store, what, value, f"{short:,} waiting", other, bar)


def _finished(store: str, options: argparse.Namespace) -> Iterator[Row]:
    if store == "postgres":
        params = {"finished": options.finished, "limit_s": options.finished_limit}
        found = _medians(store, "stores.aged:beside_finished", params, 1, two=True)
        for size in SIZES:
            what = f"claim of {size}, 10,000 waiting, {found['made']:,.0f} finished"
            value, other = found[f"aged of {size}"], found[f"fresh of {size}"]
            yield _beside(store, what, value, "none finished", other, Bar(at_most=BARS[1][size]))


def _held(store: str, options: argparse.Namespace) -> Iterator[Row]:
    if store == "postgres":
        found = _medians(store, "stores.aged:under_snapshot", {"seconds": options.held}, 1, two=True)
        held = f"a transaction held open for {options.held:g} s"
        for size in SIZES:
            value, other = found[f"aged of {size}"], found[f"fresh of {size}"]
            yield _beside(store, f"claim of {size}, {held}", value, "a fresh store", other, Bar())
        rate, first = found["last"], found["first"]
        yield _beside(store, f"submit, run, finish; {held}", rate, "its first seconds", first, Bar(), "/s")


def _workers(store: str, options: argparse.Namespace) -> Iterator[Row]:
    one = 0.0
    tasks = 4_000 if options.quick else 40_000
    for workers in (1, 2, 4):
        params = {"waiting": tasks, "count": tasks, "seconds": 30.0, "workers": workers, "fill": (60.0, 60.0)}
        work = Workload("drain", "drain", params, limit_s=180.0)
        runs = [measure(CLASSES[store], Participant(OURS, False), work) for _ in range(options.rounds)]
        if errors := [run["error"] for run in runs if "error" in run]:
            raise RuntimeError(errors[0])
        rate, worker_us, server_us = (
            statistics.median(run.get(key, 0.0) for run in runs)
            for key in ("rate", "worker_cpu_us", "server_cpu_us")
        )
        one = one or rate
        what = f"drain by {workers} worker process{'es' if workers > 1 else ''}"
        yield _beside(store, what, rate, "one", one, Bar(), "/s")
        yield _row(store, f"{what}: CPU of the workers, per task", worker_us, "us")
        if server_us:
            yield _row(store, f"{what}: CPU of the server, per task", server_us, "us")


def _memory(store: str, options: argparse.Namespace) -> Iterator[Row]:
    if store == "redis":
        tasks = 10_000 if options.quick else 200_000
        found = _medians(store, "stores.claims:redis_memory", {"tasks": tasks}, 1)
        for state in ("waiting", "finished"):
            yield _row(
                store, f"memory per million {state}, with all indexes", found[state] * 1e6 / 2**20, "MB"
            )


def _rest(store: str, options: argparse.Namespace) -> Iterator[Row]:
    found = _medians(store, "rest:at_rest", {"seconds": 5 if options.quick else 20}, 1)
    yield _beside(
        store, "store calls a second, at rest", found["calls"], "promised", 5.0, Bar(at_most=1), "/s"
    )
    yield _row(store, "CPU at rest, share of a core", found["cpu"])


FIGURES = {
    "claims": _claims,
    "finished": _finished,
    "held": _held,
    "workers": _workers,
    "memory": _memory,
    "rest": _rest,
}


def _medians(
    store: str, target: str, params: Mapping[str, Any], rounds: int, two: bool = False
) -> dict[str, float]:
    """What the probe found on an empty store, or on `two`: the median of the rounds."""
    runs = []
    for _ in range(rounds):
        with placed(CLASSES[store]) as (_, place), placed(CLASSES[store]) as (_, other):
            urls = {"url": place.url} | ({"other": other.url} if two else {})
            runs.append(Probe(target, {**params, **urls}).run())
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


# --- the table ------------------------------------------------------------------------------------


def _row(store: str, what: str, value: float | str, unit: str = "", **more: Any) -> Row:
    return {"store": store, "what": what, "value": value, "unit": unit, **more}


def _beside(store: str, what: str, value: float, beside: str, other: float, bar: Bar, unit: str = "s") -> Row:
    ratio = value / other
    verdict = "" if not str(bar) else "met" if bar.met(ratio) else "**missed**"
    told = {"beside": beside, "other": other, "ratio": ratio, "bar": str(bar), "verdict": verdict}
    return _row(store, what, value, unit, **told)


def _table(rows: Sequence[Row]) -> str:
    titles = ["store", "what", "value", "beside", "its value", "ratio", "bar", ""]
    lines = [titles, ["---"] * len(titles)]
    for row in rows:
        value = f"{_shown(row['value'])} {row['unit']}".strip()
        others = [row.get("beside", ""), _shown(row.get("other", "")), _shown(row.get("ratio", ""))]
        lines.append([row["store"], row["what"], value, *others, row.get("bar", ""), row.get("verdict", "")])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _shown(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.stores", description=__doc__)
    parser.add_argument("--store", default=",".join(STORES), help="some of %(default)s")
    parser.add_argument("--only", default=",".join(ONLY), help="some of %(default)s")
    parser.add_argument("--rounds", type=int, default=1, help="medians of so many")
    parser.add_argument("--quick", action="store_true", help="little of everything, to see that all works")
    parser.add_argument("--finished", type=int, help="finished rows (10,000,000)")
    parser.add_argument(
        "--finished-limit", type=float, default=420.0, help="seconds to make them in, at most"
    )
    parser.add_argument("--held", type=float, help="seconds for which a transaction is held open (300)")
    parser.add_argument("--json", type=Path, help="write the rows to this file, too")
    parser.add_argument("--write", type=Path, help="write the table to this file, too")
    options = parser.parse_args()
    options.finished = options.finished or (250_000 if options.quick else 10_000_000)
    options.held = options.held or (4.0 if options.quick else 300.0)
    for name, known in (("store", STORES), ("only", ONLY)):
        chosen = getattr(options, name).split(",")
        if unknown := set(chosen) - set(known):
            parser.error(f"no {name} {unknown.pop()!r}: {', '.join(known)}")
        setattr(options, name, chosen)
    return options


if __name__ == "__main__":
    main()
