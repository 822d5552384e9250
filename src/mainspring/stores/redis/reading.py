"""Reading, each call as of one moment."""

from collections.abc import Sequence
from typing import Any

import msgspec

from mainspring.core.lifecycle import Cause
from mainspring.core.limits import CLOSED, LimitRule, is_sound
from mainspring.core.model import Task
from mainspring.core.order import Share
from mainspring.errors import StoreCorrupt
from mainspring.ports import BoardView, Page, Query, Stats, Transition
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import (
    STATES,
    Reply,
    can_be_stored,
    fingerprint_text,
    pack,
    prefixed,
    unpack,
)
from mainspring.stores.redis.pages import has_label, known_cursor
from mainspring.verbs import PAGE_BYTES

ROWS_LOOKED_AT = 10_000
LOOKED_AT_ONCE = 1_000

_rule = msgspec.json.Decoder(LimitRule)
_STATE_NUMBERS = frozenset(str(state) for state in STATES)


async def board(db: Database) -> BoardView:
    reply = await db.run("board")
    return board_of(reply, reply.answers)


def board_of(reply: Reply, told: Sequence[Any]) -> BoardView:
    ready, paused, rules, usage, shares = told
    return BoardView(
        reply.now_us,
        reply.heads(ready),
        dict(paused),
        {name: read_rule(text) or CLOSED for name, text in rules},
        reply.usage(usage),
        {tenant: Share(weight, virtual_us) for tenant, (weight, virtual_us) in shares},
    )


def read_rule(stored: str) -> LimitRule | None:
    """`None` for one that cannot be read or makes no sense: it must not keep all other tasks from running."""
    try:
        rule = _rule.decode(stored)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return rule if is_sound(rule) else None


async def stats(db: Database) -> Stats:
    reply = await db.run("stats")
    counts = {}
    for place, count in reply.answers:
        state, _, queue = place.partition(":")
        if state not in _STATE_NUMBERS:
            raise StoreCorrupt(f"the number of tasks in queue {queue} is damaged: run mainspring doctor")
        counts[queue, STATES[int(state)]] = count
    return Stats(reply.now_us, counts)


async def get(db: Database, tasks: Sequence[str]) -> list[Task | None]:
    wanted = [task for task in tasks if can_be_stored(task)]
    reply = await db.run("get", pack(wanted))
    found = {id_: reply.task(view) for id_, view in zip(wanted, reply.answers, strict=True) if view}
    return [found.get(task) for task in tasks]


async def history(db: Database, task: str) -> list[Transition]:
    if not can_be_stored(task):
        return []
    prefix = prefixed(task)
    members = await db.do("ZRANGEBYLEX", "history", b"[" + prefix, b"(" + prefix + b"\xff")
    found = []
    for member in members:
        at_us, old, cause, new, attempt, token = unpack(member[len(prefix) + 8 :])
        found.append(
            Transition(task, at_us, STATES[old] if old else None, Cause(cause), STATES[new], attempt, token)
        )
    return found


# --- pages ------------------------------------------------------------------------------------------


async def find(db: Database, query: Query) -> Page:
    """Newest first, by the ids, which begin with the time. Looks at a bounded number of rows and says where
    it stopped. What is not ready or running is found by state and queue."""
    last = None if query.cursor is None else known_cursor(query.cursor)
    found: list[Task] = []
    looked = 0
    texts = (query.queue, query.kind, query.tenant, query.workflow)
    if not all(can_be_stored(text) for text in texts if text is not None):
        return Page([])
    while True:
        ids = await _candidates(db, query, last)
        tasks, count, is_heavy = await _matching(db, query, ids[:LOOKED_AT_ONCE], query.limit - len(found))
        found += tasks
        looked += count
        if count:
            last = ids[count - 1]
        if count == len(ids) < LOOKED_AT_ONCE:
            return Page(found, None)
        if len(found) >= query.limit or looked >= ROWS_LOOKED_AT or is_heavy:
            return Page(found, last)


async def _candidates(db: Database, query: Query, before: str | None) -> list[str]:
    """The newest tasks before `before` among which matches may be."""
    wanted = (
        [int(state) for state in query.states], query.queue is not None and query.queue,
        query.workflow is not None and query.workflow, LOOKED_AT_ONCE, before is not None and before,
    )  # fmt: skip
    ids: list[str] = (await db.run("candidates", pack(wanted))).answers
    # In the order of the server: that of the bytes.
    return sorted((id_ for id_ in ids if before is None or id_ < before), key=str.encode, reverse=True)


async def _matching(
    db: Database, query: Query, ids: Sequence[str], most: int
) -> tuple[list[Task], int, bool]:
    """Up to `most` of the tasks that match, how many were looked at, and whether they fill a page by their
    weight."""
    texts = [text is not None and text for text in (query.queue, query.kind, query.tenant, query.workflow)]
    wanted = ([int(state) for state in query.states], *texts, fingerprint_text(query.fingerprint), most)
    reply = await db.run("find", pack(ids), pack(wanted), PAGE_BYTES)
    views, looked, is_heavy = reply.answers
    tasks = [reply.task(view) for view in views]
    if query.label is not None:
        tasks = [task for task in tasks if has_label(task.labels, query.label)]
    return tasks, looked, is_heavy
