"""The published tables of nine cron libraries, Debian's own verdicts, and expressions found in the wild.

The exceptions stand in docs/schedules.md with their reasons; a test there compares the two lists.
"""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from mainspring.core.cron import parse_cron
from mainspring.errors import InvalidInput
from tests.oracles.cron_by_minutes import NAMES
from tests.oracles.cron_target import fires, fires_before

TABLE_EXCEPTIONS = {"croniter-0726", *(f"croniter-{number:04}" for number in range(930, 935))}
SYNTAX_EXCEPTIONS = {"glued": 95, "backward": 42, "never": 14, "step": 29}
CORPUS_REFUSED = {
    "19 19 * * =4",
    "0 0 7 * * ?",
    "@reboot",
    "0 0 30 2 *",
    "0 0 31 2 *",
    "{{ $cron }}",
    "{{cron}}",
}


def rows(cases: Path) -> list[dict]:
    return [json.loads(line) for line in (cases / "cron_tables.jsonl").read_text().splitlines()]


def zone(name: str | None) -> ZoneInfo | None:
    if name is None:
        return None
    if re.fullmatch(r"[+-]\d\d:\d\d", name):
        return datetime.fromisoformat(f"2000-01-01T00:00:00{name}").tzinfo
    return ZoneInfo(name)


def instant(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment


def earlier(moment: datetime, by: timedelta) -> datetime:
    """Elapsed time, not wall time."""
    if moment.tzinfo is None:
        return moment - by
    return (moment.astimezone(UTC) - by).astimezone(moment.tzinfo)


def accepts(expression: str) -> bool:
    try:
        parse_cron(expression)
    except InvalidInput:
        return False
    return True


def agrees(row: dict) -> bool:
    """Whether a row's verdict on Debian is what we do."""
    expression, verdict = row["expr5"], row["debian"]
    if row["kind"] in ("invalid", "valid"):
        published = "rejects" if row["kind"] == "invalid" else "accepts"
        return accepts(expression) == ((published if verdict == "same" else verdict) == "accepts")
    where = zone(row["tz"])
    start = datetime.fromisoformat(row.get("start") or row["at"])
    start = start.astimezone(where) if where and start.tzinfo else start.replace(tzinfo=where)
    verdict = row["expected"] if verdict == "same" else verdict
    if row["kind"] == "match":
        start = start.replace(second=0)
        found = fires(expression, row["tz"], earlier(start, timedelta(seconds=1)), 1)
        return [found == [start]] == verdict
    if row.get("inclusive") and not start.microsecond:
        start = earlier(start, timedelta(seconds=1))
    expected = [instant(text) for text in verdict]
    ask = fires_before if row.get("reverse") else fires
    found = [
        moment.astimezone(UTC) if where else moment
        for moment in ask(expression, row["tz"], start, len(expected))
    ]
    return found == expected


def test_published_tables(cases):
    """S1-11: 1,449 rows with a verdict on Debian's cron, among them those that look backwards."""
    judged = [row for row in rows(cases) if row["debian"] is not None]
    assert len(judged) > 1400
    differing = {row["id"] for row in judged if not agrees(row)}
    assert differing == TABLE_EXCEPTIONS


LONGEST = {"2": 29, "feb": 29} | dict.fromkeys(("4", "6", "9", "11", "apr", "jun", "sep", "nov"), 30)


def exception(expression: str, debian_accepts: bool) -> str | None:
    """Why we may part with the measured verdict of Debian's `crontab`, if we may."""
    fields = expression.lower().split()
    if not debian_accepts:
        return "step" if any(re.search(r"(^|,)\w+/[1-9]", field) for field in fields) else None
    plain = [re.sub(r"[a-z]{3}", lambda name: str(NAMES.get(name[0], name[0])), field) for field in fields]
    if not all(re.fullmatch(r"[0-9*,/-]+", field) for field in plain):
        return "glued"
    if any(int(a) > int(b) for field in plain for a, b in re.findall(r"(\d+)-(\d+)", field)):
        return "backward"
    earliest, months = int(re.split("[,-]", fields[2])[0]), fields[3].split(",")
    return "never" if all(earliest > LONGEST.get(month, 31) for month in months) else None


def debian_verdicts(cases: Path) -> dict[str, str]:
    lines = (cases / "cron_debian12_syntax.tsv").read_text().splitlines()
    fields = [line.split("\t") for line in lines]
    return {expression: rest[0] for expression, *rest in fields if rest and rest[0] in ("accept", "reject")}


def test_debian_syntax(cases):
    """S1-58: where the real `crontab` of Debian 12 and we part, the reason is one of four."""
    verdicts = debian_verdicts(cases)
    assert len(verdicts) == 1115
    found = dict.fromkeys(SYNTAX_EXCEPTIONS, 0)
    for expression, verdict in verdicts.items():
        if accepts(expression) != (verdict == "accept"):
            reason = exception(expression, verdict == "accept")
            assert reason is not None, (expression, verdict)
            found[reason] += 1
    assert found == SYNTAX_EXCEPTIONS


def test_corpus(cases):
    lines = (cases / "cron_corpus.txt").read_text().splitlines()
    expressions = [line.split("\t")[0] for line in lines if not line.startswith("#")]
    assert len(expressions) > 300
    assert {expression for expression in expressions if not accepts(expression)} == CORPUS_REFUSED


def test_the_documentation_lists_the_exceptions(cases):
    """Word for word: what the measured verdicts are parted with is what the page says."""
    page = (Path(__file__).parents[2] / "docs/schedules.md").read_text()
    blocks = re.findall(
        r"^```\n(.*?)^```", page[page.index("## Where we part with Debian") :], re.DOTALL | re.MULTILINE
    )
    listed = [re.split(r" {4}|\n", block.strip("\n")) for block in blocks]
    found: dict[str, list[str]] = {}
    for expression, verdict in debian_verdicts(cases).items():
        if accepts(expression) != (verdict == "accept"):
            found.setdefault(exception(expression, verdict == "accept") or "", []).append(expression)
    assert listed == [found[reason] for reason in ("step", "backward", "never", "glued")]
    assert set(re.findall(r"croniter-\d{4}", page)) <= TABLE_EXCEPTIONS
