"""Mainspring beside its peers: runs the workloads in interleaved rounds, prints what came of it.

python -m benchmarks.peers [--class postgres,redis] [--only drain,latency] [--peers pgqueuer]
                           [--rounds 5] [--quick] [--json FILE] [--add FILE] [--write docs/benchmarks.md]
"""

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.peers.catalogue import (
    CLASSES,
    OURS,
    RECOVERY,
    Class,
    Participant,
    Workload,
    workloads,
)
from benchmarks.peers.contenders import contenders
from benchmarks.peers.report import Report
from benchmarks.peers.running import measure, placed, probed
from tests.servers import stop_all


def main() -> None:
    options = _options()
    found: list[dict[str, Any]] = []
    try:
        chosen = [work for work in workloads(options.quick) if work.name in options.only]
        for number in range(options.rounds):
            for at in options.classes:
                for work in chosen:
                    if work.name not in at.leaves_out:
                        found += _round(number, at, work, options.peers, found)
        if "recovery" in options.only:
            found += _recovery(options.classes, options.peers)
    finally:
        stop_all()
    if options.json:
        options.json.write_text("".join(json.dumps(record) + "\n" for record in found))
    for file in options.add:
        found += map(json.loads, file.read_text().splitlines())
    report = Report(found)
    print(report.text())
    if options.write:
        options.write.write_text(report.text())


def _round(
    number: int, at: Class, work: Workload, peers: Sequence[str], found: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    records = []
    for who in contenders(number, at, work, found):
        if not peers or who.peer in peers:
            begun = time.monotonic()
            records.append(_record(at, who, work, number, measure(at, who, work), begun))
    return records


def _recovery(classes: Iterable[Class], peers: Sequence[str]) -> list[dict[str, Any]]:
    """Once for each, all at the same time: they wait most of it."""
    asked = [
        (at, who)
        for at in classes
        if RECOVERY.name not in at.leaves_out
        for who in at.participants(both=False)
        if not peers or who.peer in peers
    ]
    begun = time.monotonic()
    # Servers are started by this thread: they end with the one that started them.
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(len(asked) or 1) as pool:
        places = [stack.enter_context(placed(at)) for at, _ in asked]
        answers = list(
            pool.map(lambda place, pair: probed(pair[0], *place, pair[1], RECOVERY), places, asked)
        )
    return [
        _record(at, who, RECOVERY, 0, answer, begun) for (at, who), answer in zip(asked, answers, strict=True)
    ]


def _record(
    at: Class, who: Participant, work: Workload, number: int, answer: dict[str, Any], begun: float
) -> dict[str, Any]:
    took_s = time.monotonic() - begun
    told = {key: value for key, value in answer.items() if key not in ("server", "about")}
    print(f"{at.name} {work.name} {who.name} [{took_s:.0f} s]: {_told(told)}", file=sys.stderr, flush=True)
    return {
        "class": at.name, "workload": work.name, "peer": who.peer, "kept": who.kept, "round": number,
        "took_s": took_s, **answer,
    }  # fmt: skip


def _told(answer: dict[str, Any]) -> str:
    return ", ".join(
        f"{key} {value:,.4g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in answer.items()
    )


def _options() -> argparse.Namespace:
    names = [work.name for work in workloads(False)] + ["recovery"]
    parser = argparse.ArgumentParser(prog="benchmarks.peers", description=__doc__)
    parser.add_argument("--class", dest="classes", default=",".join(CLASSES), help="some of %(default)s")
    parser.add_argument("--only", default=",".join(names), help="some of %(default)s")
    parser.add_argument("--peers", default="", help=f"some peers by name ({OURS} is always measured)")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds; medians are shown")
    parser.add_argument("--quick", action="store_true", help="one round of little, to see that all works")
    parser.add_argument("--json", type=Path, help="write what each probe found to this file, too")
    parser.add_argument(
        "--add",
        type=Path,
        action="append",
        default=[],
        help="report what an earlier run wrote by --json, too",
    )
    parser.add_argument("--write", type=Path, help="write the report to this file, too")
    options = parser.parse_args()
    known = {
        "classes": CLASSES,
        "only": names,
        "peers": {OURS, *(peer for at in CLASSES.values() for peer in at.peers)},
    }
    for name, accepted in known.items():
        chosen = [word for word in getattr(options, name).split(",") if word]
        if unknown := set(chosen) - set(accepted):
            parser.error(f"{', '.join(sorted(unknown))} is none of {', '.join(sorted(accepted))}")
        setattr(options, name, chosen)
    options.classes = [CLASSES[name] for name in options.classes]
    if options.peers:
        options.peers = [OURS, *options.peers]
    options.rounds = 1 if options.quick else options.rounds
    return options


if __name__ == "__main__":
    main()
