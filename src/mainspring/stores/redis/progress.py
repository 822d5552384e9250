"""What running tasks record on the way, and what is read of it: checkpoints, steps, logs, parents."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mainspring.core.progress import (
    LOG_BYTES_KEPT,
    LOG_BYTES_LIVE,
    RECALL_BYTES,
    LogHead,
    LogPiece,
    admit,
    surplus,
    unread,
    weight_of,
)
from mainspring.ports import Answer, Append, Glance, LogPage, Parent, Recall, Recalled, Refused
from mainspring.stores.redis.connecting import Database
from mainspring.stores.redis.packing import STATES, Request, can_be_stored, pack, prefixed, unpack
from mainspring.verbs import lease_lost, recall_too_large

CUT_AT_ONCE = 20
BLOCKS_READ_AT_ONCE = 8
# A script's answer to a line whose log has been written meanwhile.
CHANGED = 0
# Beside results and errors the ends of parents have a few bytes of packing.
PACKING_BYTES = 64

_pieces = msgspec.msgpack.Decoder(list[LogPiece])


# --- recording --------------------------------------------------------------------------------------


async def append(db: Database, lines: Sequence[Append]) -> list[Answer]:
    """All of a line, or nothing of it. One with a value that cannot be stored harms no other."""
    answers = [Answer.LOST] * len(lines)
    left = [place for place, line in enumerate(lines) if _can_be_stored(line)]
    while left:
        packed = await _packed(db, [lines[place] for place in left])
        told = (await db.run("append", *packed)).answers
        again = []
        for place, answer in zip(left, told, strict=True):
            if answer == CHANGED:
                again.append(place)
            else:
                answers[place] = Answer(answer)
        left = again
    return answers


def _can_be_stored(line: Append) -> bool:
    try:
        pack(line)
    except UnicodeEncodeError:
        return False
    return True


async def _packed(db: Database, lines: Sequence[Append]) -> tuple[bytes, bytes]:
    """Lines with logs are written on what their logs are now: if that has changed by then, they are read
    again."""
    logged = list(dict.fromkeys(line.task for line in lines if line.log))
    heads = await _log_heads(db, logged)
    request = Request()
    told = []
    for line in lines:
        log: object = False
        if line.log:
            before = heads[line.task]
            heads[line.task], log = await _log(db, request, before, line)
        steps = [(name, request.aside(result)) for name, result in line.steps.items()]
        marks = request.aside(line.checkpoint), request.aside(line.progress)
        told.append((line.task, line.token, *marks, line.number, steps, log))
    return request.pack(told)


async def _log_heads(db: Database, tasks: Sequence[str]) -> dict[str, bytes]:
    if not tasks:
        return {}
    reply = await db.run("log_heads", pack(tasks))
    return {task: reply.part(n) or b"" for task, n in zip(tasks, reply.answers, strict=True)}


async def _log(db: Database, request: Request, before: bytes, line: Append) -> tuple[bytes, object]:
    """The head of the task's log after the line, and what is written."""
    head, blocks = admit(head_of(before), line.token, line.log)
    dropped: list[tuple[int, int]] = []
    if head.kept > LOG_BYTES_LIVE:
        stored = await _blocks_of(db, line.task)
        dropped, freed = _to_drop([*stored, *((b.ends, b.weight) for b in blocks)], head, LOG_BYTES_LIVE)
        head = head._replace(kept=head.kept - freed)
    after = pack(head)
    written = [(block.ends, block.weight, request.aside(pack(block.pieces))) for block in blocks]
    names = request.aside(before or None), request.aside(after)
    return after, (*names, written, dropped, head.kept > LOG_BYTES_KEPT)


def head_of(text: bytes) -> LogHead:
    return LogHead(*unpack(text)) if text else LogHead()


async def _blocks_of(db: Database, task: str) -> list[tuple[int, int]]:
    """The end and the weight of each block of a log, the oldest first."""
    prefix = prefixed(task)
    members = await db.do("ZRANGEBYLEX", "log_ends", b"[" + prefix, b"(" + prefix + b"\xff")
    rests = [member[len(prefix) :] for member in members]
    return [(int.from_bytes(rest[:8], "big"), int.from_bytes(rest[8:], "big")) for rest in rests]


def _to_drop(blocks: Sequence[tuple[int, int]], head: LogHead, cap: int) -> tuple[list[tuple[int, int]], int]:
    up_to, freed = surplus(blocks, head.kept, cap)
    return [block for block in blocks if block[0] <= up_to], freed


async def cut_ended(db: Database) -> None:
    """Of tasks that have ended, the log's tail is enough. A few a pass."""
    reply = await db.run("long_logs", CUT_AT_ONCE)
    for task, number in reply.answers:
        before = reply.part(number) or b""
        head = head_of(before)
        dropped, freed = _to_drop(await _blocks_of(db, task), head, LOG_BYTES_KEPT)
        after = pack(head._replace(kept=head.kept - freed))
        await db.run("cut_log", pack((task, dropped)), before, after)


# --- reading ----------------------------------------------------------------------------------------


async def recall(db: Database, lines: Sequence[Recall]) -> list[Recalled | Refused]:
    return [await _recall(db, line) for line in lines]


async def _recall(db: Database, line: Recall) -> Recalled | Refused:
    if not can_be_stored(line.task):
        return lease_lost(line.task)
    most = RECALL_BYTES + PACKING_BYTES
    reply = await db.run("recall", pack(tuple(line)), most)
    if not reply.answers:
        return lease_lost(line.task)
    steps, told = reply.answers
    if isinstance(told, int):
        return recall_too_large(told)
    parents = []
    for id_, name, state, end in told:
        result, error = reply.end(end)
        parents.append(Parent(id_, name or None, STATES[state], result, error))
    size = sum(len(parent.result or b"") + len(parent.error or b"") for parent in parents)
    if size > RECALL_BYTES:
        return recall_too_large(size)
    return Recalled({name: reply.part(n) or b"" for name, n in steps}, parents)


async def logs(db: Database, task: str, after: int, most: int) -> LogPage | None:
    page: LogPage | None = None
    weight, is_last = 0, not can_be_stored(task)
    while not is_last and weight < most:
        reply = await db.run("log_blocks", task.encode(), after, BLOCKS_READ_AT_ONCE)
        if not reply.answers:
            return page
        head, blocks = reply.answers
        page = page or LogPage([], head_of(reply.part(head) or b"").ends)
        for ends, number in blocks:
            pieces = unread(_pieces.decode(reply.part(number) or b"\x90"), after)
            page.pieces += pieces
            weight += weight_of(pieces)
            after = ends
            if weight >= most:
                break
        is_last = len(blocks) < BLOCKS_READ_AT_ONCE
    return page


async def glance(db: Database, tasks: Sequence[str]) -> list[Glance | None]:
    wanted = [task for task in tasks if can_be_stored(task)]
    if not wanted:
        return [None] * len(tasks)
    reply = await db.run("glance", pack(wanted))
    found: Mapping[str, Any] = dict(zip(wanted, reply.answers, strict=True))
    glances: list[Glance | None] = []
    for task in tasks:
        told = found.get(task)
        if not told:
            glances.append(None)
            continue
        state, version, progress, log = told
        ends = head_of(reply.part(log) or b"").ends
        glances.append(Glance(STATES[state], version, reply.part(progress), ends))
    return glances
