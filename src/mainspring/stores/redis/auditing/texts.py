"""Idempotency keys and workflows: breaches among texts that are stored, and where they stand."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from mainspring.core.model import FINAL
from mainspring.core.workflows import Callback
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import Reply, pack, unpack
from mainspring.verbs.audit import Finding

FROM_ALL = b""


class Text(NamedTuple):
    """A record by its name, and where it stands in the index of its kind (`None`: nowhere)."""

    name: str
    text: bytes
    place: float | None
    besides: Sequence[Any]


class Page(NamedTuple):
    """`cursor` is empty after the last one."""

    findings: list[Finding]
    cursor: str


async def read(db: Database, table: str, names: Iterable[str]) -> tuple[Reply, list[Text]]:
    reply = await db.run("audit_records", table.encode(), pack(sorted(set(names))), b"0", 0, 0)
    return reply, texts_of(reply)


async def page(
    db: Database, table: str, cursor: str, limit: int, fires: int = 0
) -> tuple[Reply, list[Text], str]:
    arguments = (table.encode(), FROM_ALL, cursor.encode(), limit, fires)
    reply = await db.run("audit_records", *arguments)
    next_cursor = reply.answers[1]
    return reply, texts_of(reply), "" if next_cursor == "0" else next_cursor


def texts_of(reply: Reply) -> list[Text]:
    return [
        Text(name, reply.part(text) or b"", None if place is False else place, besides)
        for name, text, place, besides in reply.answers[0]
    ]


# --- idempotency keys -------------------------------------------------------------------------------


class KeyUse(NamedTuple):
    digest: str
    expires_us: int
    tasks: list[str]


def use_of(text: bytes) -> KeyUse | None:
    """`None` if it cannot be read, or names no task: no key was ever given for none."""
    try:
        use = msgspec.convert(unpack(text), KeyUse)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        return None
    return use if use.tasks else None


async def look_at_keys(db: Database, cursor: str, limit: int) -> Page:
    _, found, cursor = await page(db, "idempotency", cursor, limit)
    return Page([finding for text in found for finding in key_findings(text)], cursor)


def key_findings(text: Text) -> list[Finding]:
    subject, key, use = f"idempotency key {text.name}", ("key", text.name), use_of(text.text)
    if use is None:
        return [Finding("unreadable_key", subject, "the tasks that it made cannot be read", key)]
    if text.place != use.expires_us:
        detail = "the index expiring does not have its end"
        return [Finding("damaged_index", subject, detail, ("expiring", text.name))]
    return []


# --- workflows --------------------------------------------------------------------------------------


class Workflow(NamedTuple):
    """What can be read of a workflow. `parts` are those that tasks say they have; `damaged` names what cannot
    be read."""

    created_at_us: int
    name: str | None
    labels: str | None
    callbacks: dict[Callback, str]
    parts: dict[Callback, str]
    damaged: tuple[str, ...]
    has_tasks: bool
    is_listed: bool


_fields = msgspec.json.Decoder(list[Any])
_callbacks = msgspec.json.Decoder(dict[Callback, str])
_labels = msgspec.json.Decoder(dict[str, Any])
_PARTS = {int(part) for part in Callback}


def workflow_of(reply: Reply, text: Text) -> Workflow:
    has_tasks, sums, parts = text.besides
    damaged = []
    try:
        created_at_us, name, labels, callbacks = _fields.decode(text.text)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        created_at_us, name, labels, callbacks = 0, None, None, None
        damaged.append("labels")
    known = _convert(callbacks)
    if known is None:
        damaged.append("callbacks")
    if labels is not None and not _are_labels(labels):
        damaged.append("labels")
    if not all(_is_sum(reply.part(one)) for one in sums):
        damaged.append("forgotten")
    told = {Callback(part): task for task, part in parts if part in _PARTS}
    return Workflow(
        int(created_at_us), name, labels, known or {}, told, tuple(damaged), has_tasks, text.place is not None
    )


def _convert(callbacks: object) -> dict[Callback, str] | None:
    try:
        return _callbacks.decode(msgspec.json.encode(callbacks)) if isinstance(callbacks, dict) else None
    except (msgspec.MsgspecError, ValueError):
        return None


def _are_labels(labels: object) -> bool:
    try:
        _labels.decode(str(labels))
    except (msgspec.MsgspecError, UnicodeError):
        return False
    return True


def _is_sum(text: bytes | None) -> bool:
    return text is None or text.isdigit()


async def look_at_workflows(db: Database, cursor: str, limit: int) -> Page:
    reply, found, cursor = await page(db, "workflows", cursor, limit)
    told = [finding for text in found for finding in workflow_findings(text.name, workflow_of(reply, text))]
    return Page(told, cursor)


def workflow_findings(name: str, workflow: Workflow) -> list[Finding]:
    subject, key = f"workflow {name}", ("workflow", name)
    found = []
    if workflow.damaged:
        detail = f"its {', '.join(workflow.damaged)} cannot be read"
        found.append(Finding("unreadable_workflow", subject, detail, key))
    if not workflow.has_tasks:
        found.append(Finding("empty_workflow", subject, "it has no task", key))
    if not workflow.is_listed:
        found.append(Finding("damaged_index", subject, "the index founded does not have it", key))
    return found


SUMS = tuple(sorted(FINAL))
