"""`mainspring doctor`: whether a store keeps its own laws, and the mending of what does not."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
from msgspec.structs import replace

from mainspring.cli import show
from mainspring.cli.exits import Exit
from mainspring.cli.options import CONFIG, load_settings
from mainspring.clock import SystemClock
from mainspring.config import Settings
from mainspring.core.addresses import scheme_of, shown
from mainspring.core.laws import LAWS
from mainspring.errors import InvalidInput
from mainspring.node.opening import named, store_of
from mainspring.services.doctor import examine, treat
from mainspring.services.lookout import what_nobody_does
from mainspring.stores import file_of
from mainspring.verbs.audit import Finding, Mended


class FindingView(msgspec.Struct):
    law: str
    subject: str
    detail: str
    meaning: str
    mending: str
    grave: bool


class MendedView(msgspec.Struct):
    law: str
    subject: str
    outcome: str
    what: str


class Diagnosis(msgspec.Struct):
    """`findings` is what is broken at the end, `mended` what was done before; `rows` were looked at.

    `leader` is the node that leads, if one does, and `undone` what is left undone as long as none does."""

    healthy: bool
    rows: int
    leader: str | None
    undone: str
    findings: list[FindingView]
    mended: list[MendedView]


@click.command()
@click.option("--db", metavar="FILE", help="The SQLite file; by default scheduler.db.")
@click.option("--store", metavar="URL", help="The store's URL, instead of --db.")
@click.option("--repair", is_flag=True, help="Mend what can be mended, and say what was done.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@CONFIG
def doctor(db: str | None, store: str | None, repair: bool, output: str, config: Path | None) -> int:
    """Look all of a store over: does every law hold that must hold between its parts?

    Servers may go on working meanwhile. Reads everything; without --repair it changes nothing. Ends with 0
    if nothing is broken (any more), else with 1.
    """
    if db is not None and store is not None:
        raise click.UsageError("give --db or --store, not both")
    settings = load_settings({"db": db, "store": store}, config)
    _check_there_is_one(settings)
    diagnosis = asyncio.run(_diagnose(settings, repair))
    if output == "json":
        show.echo_json(msgspec.json.encode(diagnosis))
    else:
        _show(diagnosis, repair)
        if not diagnosis.rows and diagnosis.leader is None:
            click.echo(f"there is nothing in {shown(settings.store_url)}: is it the store that you meant?")
        if diagnosis.undone:
            click.echo(diagnosis.undone)
    return Exit.OK if diagnosis.healthy else Exit.FAILED


def _check_there_is_one(settings: Settings) -> None:
    """Opening a store makes it, if there is none: a misspelt name must not be found healthy."""
    field, file = settings.store_origin, file_of(settings.store_url)
    if scheme_of(settings.store_url) == "memory":
        raise InvalidInput(field, "such a store ends with its process", "a store that outlives it")
    if file is not None and not Path(file).is_file():
        raise InvalidInput(field, f"there is no file {file}", "the file of a server")


async def _diagnose(settings: Settings, repair: bool) -> Diagnosis:
    # Without `--repair` nothing is changed: an older schema neither.
    store = store_of(replace(settings, no_migrate=True), SystemClock())
    with named(settings):
        await store.open()
    try:
        found, rows = await examine(store)
        done: Sequence[Mended] = ()
        if repair and found:
            done, found = await treat(store, found)
        term = await store.term()
        undone = await what_nobody_does(store) if term is None else ""
    finally:
        await store.close()
    leader = None if term is None else term.holder
    findings, mended = [_finding(one) for one in found], [_mended(one) for one in done]
    return Diagnosis(not found, rows, leader, undone, findings, mended)


def _finding(finding: Finding) -> FindingView:
    meaning, mending, grave = LAWS[finding.law]
    return FindingView(finding.law, finding.subject, finding.detail, meaning, mending, grave)


def _mended(mended: Mended) -> MendedView:
    finding = mended.finding
    return MendedView(finding.law, finding.subject, mended.mending.name.lower(), mended.what)


# --- for people -------------------------------------------------------------------------------------


def _show(diagnosis: Diagnosis, repair: bool) -> None:
    if diagnosis.mended:
        rows = [
            (one.law, show.text(one.subject), one.outcome, show.text(one.what, 100))
            for one in diagnosis.mended
        ]
        show.table(("LAW", "OF", "OUTCOME", "WHAT WAS DONE"), rows)
        told = Counter(one.outcome for one in diagnosis.mended)
        click.echo(", ".join(f"{count} {outcome}" for outcome, count in sorted(told.items())))
    if diagnosis.healthy:
        click.echo(f"healthy: {len(LAWS)} laws hold over {diagnosis.rows} rows")
        return
    counts = Counter(finding.law for finding in diagnosis.findings)
    examples = {finding.law: finding for finding in reversed(diagnosis.findings)}
    table = [
        (
            law,
            counts[law],
            "grave" if one.grave else "",
            show.text(f"{one.subject}: {one.detail}", 120),
            show.text(one.mending or "nothing: see docs/operations.md", 80),
        )
        for law, one in examples.items()
    ]
    show.table(("BROKEN", "TIMES", "", "FOR EXAMPLE", "REPAIR DOES"), table)
    if not repair:
        click.echo("nothing was changed; --repair mends, -o json lists every finding")
