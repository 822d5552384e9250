"""Texts that are made anew: idempotency keys, workflows, schedules and the records of their fires. Each is
written if it is as it was read; else somebody has changed it, and it is looked at another time."""

from collections.abc import Sequence
from hashlib import sha1
from typing import Any

import msgspec

from mainspring.core.schedule_laws import Gap, gaps, recorded
from mainspring.core.schedules import LOST, Schedule
from mainspring.errors import InvalidInput
from mainspring.stores.redis.auditing import firing, texts
from mainspring.stores.redis.auditing.texts import SUMS, Text
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import Reply, pack, prefixed
from mainspring.stores.redis.schedules import EPOCH, fire_of, fire_text, fires_at, stored_of
from mainspring.verbs import FIRES_KEPT, FireRecord
from mainspring.verbs.audit import Finding

# What goes along: `add` and `remove` (set, text, score), `drop` (hash, text), `tell` (text).
More = tuple[str, str, bytes, float]


async def rewrite(
    db: Database, table: str, name: str, before: bytes, after: bytes | None, more: Sequence[More] = ()
) -> bool:
    """Whether the record was still as it was read; if so, it is now `after` (`None`: gone)."""
    blobs = [] if after is None else [after]
    lines = []
    for what, other, text, score in more:
        blobs.append(text)
        lines.append((what, other, len(blobs), score))
    line = (table, name, sha1(before).hexdigest(), 0 if after is None else 1, lines)
    reply = await db.run("mend_texts", pack([line]), *blobs)
    return bool(reply.answers[0])


async def _found(db: Database, table: str, finding: Finding) -> tuple[Reply, Text] | None:
    reply, found = await texts.read(db, table, [str(finding.key[1])])
    return (reply, found[0]) if found else None


# --- idempotency keys -------------------------------------------------------------------------------


async def mend_key(db: Database, finding: Finding) -> str | None:
    found = await _found(db, "idempotency", finding)
    if found is None or texts.use_of(found[1].text) is not None:
        return None
    name, text = found[1].name, found[1].text
    more = [("remove", "expiring", name.encode(), 0.0)]
    return "removed" if await rewrite(db, "idempotency", name, text, None, more) else None


async def mend_end_of_key(db: Database, finding: Finding) -> str | None:
    found = await _found(db, "idempotency", finding)
    use = None if found is None else texts.use_of(found[1].text)
    if found is None or use is None or found[1].place == use.expires_us:
        return None
    name, text = found[1].name, found[1].text
    more = [("add", "expiring", name.encode(), float(use.expires_us))]
    return "its end noted" if await rewrite(db, "idempotency", name, text, text, more) else None


# --- workflows --------------------------------------------------------------------------------------


async def mend_workflow(db: Database, finding: Finding) -> str | None:
    """What was done, or `None` if the workflow does not break the law any more."""
    found = await _found(db, "workflows", finding)
    if found is None:
        return None
    reply, text = found
    workflow = texts.workflow_of(reply, text)
    if finding.law not in {one.law for one in texts.workflow_findings(text.name, workflow)}:
        return None
    name = text.name.encode()
    sums = [("drop", "forgotten", b"%d:%s" % (state, name), 0.0) for state in SUMS]
    if finding.law == "empty_workflow":
        more = [("remove", "founded", name, 0.0), *sums]
        return "removed" if await rewrite(db, "workflows", text.name, text.text, None, more) else None
    if finding.law == "damaged_index":
        more = [("add", "founded", name, float(max(workflow.created_at_us, 1)))]
        return "listed" if await rewrite(db, "workflows", text.name, text.text, text.text, more) else None
    # Callbacks are told by the tasks that have that part; what else is lost is lost.
    told = workflow.parts if "callbacks" in workflow.damaged else workflow.callbacks
    labels = None if "labels" in workflow.damaged else workflow.labels
    mended = msgspec.json.encode((workflow.created_at_us, workflow.name, labels, told))
    more = sums if "forgotten" in workflow.damaged else []
    is_done = await rewrite(db, "workflows", text.name, text.text, mended, more)
    return f"{', '.join(workflow.damaged)} made anew" if is_done else None


# --- schedules --------------------------------------------------------------------------------------


async def mend_schedule(db: Database, finding: Finding) -> str | None:
    """What was done, or `None` if the schedule does not break the law any more."""
    name, records = str(finding.key[1]), 2 * FIRES_KEPT
    arguments = (b"schedules", pack([name]), b"0", 0, records)
    reply = await db.run("audit_records", *arguments)
    for text in texts.texts_of(reply):
        laws = {one.law for one in firing.findings(reply, text, records)}
        if finding.law in laws:
            return await _mend_schedule(db, reply, text, finding.law)
    return None


async def _mend_schedule(db: Database, reply: Reply, text: Text, law: str) -> str | None:
    stored, name = stored_of(text.text), text.name.encode()
    look: list[More] = [("add", "looks", name, 0.0)]
    said, more = "the firer looks at it now", look
    if law == "unreadable_standing":
        stored.standing, stored.look_us = None, reply.now_us
        said = "begins anew from now"
    elif law == "forgotten_schedule":
        stored.look_us = reply.now_us
    elif law == "damaged_index":
        said, more = "listed", [("add", "schedule_ids", name, 0.0)]
    elif law == "empty_fire":
        said, more = "its tasks named, the others told as lost", await _name_tasks(db, reply, text)
    else:
        said, more = await _fill_gaps(db, reply, text)
    after = msgspec.json.encode(stored)
    return said if await rewrite(db, "schedules", text.name, text.text, after, more) else None


async def _name_tasks(db: Database, reply: Reply, text: Text) -> list[More]:
    """Records that tell neither a task nor a reason."""
    prefix, more = prefixed(text.name), list[More]()
    for member in firing.names_of_fires(reply, text):
        record = fire_of(member, prefix)
        if record.task is not None or record.reason is not None:
            continue
        made = await _made_between(db, text.name, record.first_us - 1, record.last_us + 1)
        task = made.get(record.first_us) if record.count == 1 else None
        mended = msgspec.structs.replace(record, task=task, reason=None if task else LOST)
        number = member[len(prefix) : len(prefix) + 8]
        more.append(("remove", "fires", member, 0.0))
        more.append(("add", "fires", prefix + number + fire_text(mended).encode(), 0.0))
    return more


async def _fill_gaps(db: Database, reply: Reply, text: Text) -> tuple[str, list[More]]:
    facts = firing.facts_of(reply, text, 2 * FIRES_KEPT)
    assert facts is not None
    more: list[More] = []
    try:
        for gap in gaps(facts):
            more += await _record(db, text.name, facts.standing.rules, gap, reply.now_us)
    except InvalidInput as error:
        return f"not its rules: {error}", []
    return f"{len(more)} records made anew", more


async def _record(db: Database, schedule: str, rules: Schedule, gap: Gap, now_us: int) -> list[More]:
    """What became of a gap's fire times: tasks that are there, and times nobody knows of."""
    made = await _made_between(db, schedule, gap.after_us, gap.before_us)
    return [
        ("tell", "fires", fire_text(FireRecord(now_us, *fate)).encode(), 0.0)
        for fate in recorded(rules, gap, made)
    ]


async def _made_between(db: Database, schedule: str, after_us: int, before_us: int) -> dict[int, str]:
    """The tasks of fires strictly between these times."""
    low, high = fires_at(schedule, after_us + 1), fires_at(schedule, before_us)
    names: Sequence[Any] = await db.do("ZRANGEBYLEX", "fired", b"[" + low, b"(" + high)
    found: dict[int, str] = {}
    for name in names:
        place = name[len(low) - 8 : len(low)]
        found[int.from_bytes(place, "big") - EPOCH] = name[len(low) :].decode()
    return found
