"""Ways in which a namespace of Redis can be spoiled, each by plain commands, each on tasks that no other
class touches."""

import random
from collections.abc import Callable, Iterable, Sequence
from struct import Struct
from typing import Any

import msgspec
from redis import Redis

from mainspring.stores.redis.packing import FIELDS, FIRST_RARE, KEPT
from mainspring.stores.redis.scripts import keys

FAR_US = 1 << 52
NUMBERS = Struct(">B7QI4iI3B4QH")
UNSET = ("SEQ", "STARTED", "LEASE_UNTIL", "FINISHED", "WORKER", "INCARNATION")
# What a class spoiled: the findings that must name it, by law and key.
Spoiled = list[tuple[str, tuple[Any, ...]]]
Head = dict[str, Any]

BLOCKED, SCHEDULED, READY, RUNNING, SUCCEEDED, FAILED = range(1, 7)


def prefixed(text: str) -> bytes:
    return len(text.encode()).to_bytes(2, "big") + text.encode()


def edge(parent: str, child: str) -> bytes:
    return prefixed(parent) + child.encode()


class Ground:
    """An open connection, and the tasks that are still as they should be."""

    def __init__(self, url: str, namespace: str, seed: int, each: int) -> None:
        self.db = Redis.from_url(url)
        self.key = keys(namespace)
        self.random = random.Random(seed)
        self.each = each
        self.taken: set[str] = set()
        stored: dict[bytes, bytes] = self.db.hgetall(self.key["heads"])
        self.heads = {id_.decode(): read_head(packed) for id_, packed in stored.items()}
        lanes: dict[bytes, bytes] = self.db.hgetall(self.key["lanes"])
        self.lanes = {int(number): msgspec.json.decode(text) for number, text in lanes.items()}

    def queue_of(self, id_: str) -> str:
        queue: str = self.lanes[self.heads[id_]["LANE"]][0]
        return queue

    def take(self, fits: Callable[[str, Head], bool]) -> list[str]:
        """So many tasks at random that fit and that no other class has taken."""
        found = [id_ for id_, head in self.heads.items() if id_ not in self.taken and fits(id_, head)]
        chosen = self.random.sample(sorted(found), self.each)
        self.taken.update(chosen)
        return chosen

    def ready(self) -> list[str]:
        return self.take(self.is_ready)

    def is_ready(self, id_: str, head: Head) -> bool:
        return head["STATE"] == READY and self.queue_of(id_) == "wait" and not head["NAME"]

    def scheduled(self) -> list[str]:
        return self.take(lambda id_, head: head["STATE"] == SCHEDULED)

    def running(self) -> list[str]:
        return self.take(self.is_running)

    def is_running(self, id_: str, head: Head) -> bool:
        return head["STATE"] == RUNNING and head["WORKER"] == "worker"

    def ended(self) -> list[str]:
        return self.take(self.has_ended)

    def has_ended(self, id_: str, head: Head) -> bool:
        return head["STATE"] >= SUCCEEDED and self.queue_of(id_) == "done" and not head["IS_PARENT"]

    def anywhere(self) -> list[str]:
        fits = (self.is_ready, self.is_running, self.has_ended)
        return self.take(lambda id_, head: any(each(id_, head) for each in fits))

    def families(self, name: str = "child") -> list[tuple[str, list[str]]]:
        """Children that wait for two parents each; all of the family is taken."""
        found = []
        for child in self.take(lambda id_, head: head["STATE"] == BLOCKED and head["NAME"] == name):
            parents: list[str] = msgspec.msgpack.decode(self.db.hget(self.key["parents"], child))
            self.taken.update(parents)
            found.append((child, parents))
        return found

    def set(self, tasks: Iterable[str], **fields: Any) -> None:
        for id_ in tasks:
            self.heads[id_] = self.heads[id_] | fields
            self.db.hset(self.key["heads"], id_, write_head(self.heads[id_]))

    def pick(self, *choices: Any) -> Any:
        return self.random.choice(choices)

    def names(self, sort: str) -> list[str]:
        return [f"{sort}-{n}" for n in range(self.each)]


def read_head(packed: bytes) -> Head:
    """As scripts write it: numbers, two texts behind their lengths, and what few tasks have by its place."""
    *numbers, length = NUMBERS.unpack_from(packed)
    worker, rest = packed[NUMBERS.size :][:length], packed[NUMBERS.size + length :]
    length = int.from_bytes(rest[:2], "big")
    incarnation, rest = rest[2 : 2 + length], rest[2 + length :]
    told = dict(zip(FIELDS, [*numbers, worker.decode(), incarnation.decode()], strict=False))
    rare = msgspec.msgpack.decode(rest) if rest else {}
    told |= {name: rare.get(place, False) for name, place in FIELDS.items() if place > len(told)}
    return told | {name: told[name] or False for name in UNSET}


def write_head(head: Head) -> bytes:
    *numbers, worker, incarnation = [head[name] for name in list(FIELDS)[: FIRST_RARE - 1]]
    texts = [(text or "").encode() for text in (worker, incarnation)]
    rare = {
        place: head[name] for name, place in FIELDS.items() if place >= FIRST_RARE and head[name] is not False
    }
    packed = NUMBERS.pack(*map(int, numbers), len(texts[0])) + texts[0]
    packed += len(texts[1]).to_bytes(2, "big") + texts[1]
    return packed + msgspec.msgpack.encode(rare) if rare else packed


def of_tasks(law: str, tasks: Iterable[str]) -> Spoiled:
    return [(law, ("task", id_)) for id_ in tasks]


# --- the record's own fields ------------------------------------------------------------------------


def unknown_state(ground: Ground) -> Spoiled:
    tasks = ground.anywhere()
    for id_ in tasks:
        ground.set([id_], STATE=ground.pick(0, 8, 42, 99, 255))
    return of_tasks("unknown_state", tasks)


def unreadable_head(ground: Ground) -> Spoiled:
    tasks = ground.ready()
    for id_ in tasks:
        ground.db.hset(ground.key["heads"], id_, ground.pick(b"", b"\xc1", b"\x03\x01", b"\xff" * 200))
    return of_tasks("unknown_state", tasks)


def unknown_lane(ground: Ground) -> Spoiled:
    tasks = ground.anywhere()
    for n, id_ in enumerate(tasks):
        ground.set([id_], LANE=1000 + n)
    return of_tasks("unknown_lane", tasks)


def lost_lane(ground: Ground) -> Spoiled:
    """The lane's own text is gone."""
    gone = {number: lane for number, lane in ground.lanes.items() if lane[4].startswith("lone-")}
    tasks = [id_ for id_, head in ground.heads.items() if head["LANE"] in gone]
    ground.db.hdel(ground.key["lanes"], *gone)
    ground.taken.update(tasks)
    return of_tasks("unknown_lane", tasks)


def _bodies(ground: Ground, tasks: Iterable[str], place: int, *texts: bytes) -> None:
    for id_ in tasks:
        body = msgspec.msgpack.decode(ground.db.hget(ground.key["bodies"], id_))
        body[place] = ground.pick(*texts)
        ground.db.hset(ground.key["bodies"], id_, msgspec.msgpack.encode(body))


def damaged_policy(ground: Ground) -> Spoiled:
    tasks = ground.ready()
    _bodies(ground, tasks, 1, b"{", b"\xff\xfe", b'{"max_retries":"x"}', b"[]")
    return of_tasks("damaged_field", tasks)


def damaged_labels(ground: Ground) -> Spoiled:
    tasks = ground.ended()
    _bodies(ground, tasks, 2, b'{"team":')
    return of_tasks("damaged_field", tasks)


def damaged_attempts(ground: Ground) -> Spoiled:
    tasks = ground.running()
    for id_ in tasks:
        ground.db.hset(ground.key["attempts"], id_, b'[{"attempt":')
        ground.set([id_], KEPT=ground.heads[id_]["KEPT"] | KEPT["KEPT_ATTEMPTS"])
    return of_tasks("damaged_field", tasks)


def damaged_parents(ground: Ground) -> Spoiled:
    children = [child for child, _ in ground.families()]
    for child in children:
        ground.db.hset(ground.key["parents"], child, ground.pick(b"\x91", b"\xc1", b"7"))
    return of_tasks("damaged_field", children)


def lost_payload(ground: Ground) -> Spoiled:
    tasks = ground.anywhere()
    for id_ in tasks:
        if ground.pick(True, False):
            ground.db.hdel(ground.key["bodies"], id_)
        else:
            ground.db.hset(ground.key["bodies"], id_, ground.pick(b"", b"\x93", b"\x93\xc4\x00\xc0\xc0"))
    return of_tasks("lost_payload", tasks)


def negative_counter(ground: Ground) -> Spoiled:
    tasks = ground.anywhere()
    for id_ in tasks:
        ground.set([id_], **{ground.pick("ATTEMPT", "RETRIES", "LOSSES", "SNOOZES"): -3})
    return of_tasks("negative_counter", tasks)


def number_ahead(ground: Ground) -> Spoiled:
    tasks = ground.anywhere()
    for n, id_ in enumerate(tasks):
        ground.set([id_], **{ground.pick("TOKEN", "VERSION", "SEQ"): FAR_US + n})
    return of_tasks("number_ahead", tasks)


# --- fields that do not fit the state ---------------------------------------------------------------


def ready_without_place(ground: Ground) -> Spoiled:
    tasks = ground.ready()
    ground.set(tasks, SEQ=False)
    return of_tasks("ready_without_place", tasks)


def _place(head: Head, id_: str) -> bytes:
    return head["LANE"].to_bytes(8, "big") + head["SEQ"].to_bytes(8, "big") + id_.encode()


def duplicate_place(ground: Ground) -> Spoiled:
    spoiled = []
    for one, other in zip(ground.ready(), ground.ready(), strict=True):
        ground.db.zrem(ground.key["ready"], _place(ground.heads[one], one))
        ground.set([one], SEQ=ground.heads[other]["SEQ"])
        ground.db.zadd(ground.key["ready"], {_place(ground.heads[one], one): 0})
        spoiled.append(max(one, other))
    return of_tasks("duplicate_place", spoiled)


def not_in_line(ground: Ground) -> Spoiled:
    tasks = ground.ready()
    for id_ in tasks:
        ground.db.zrem(ground.key["ready"], _place(ground.heads[id_], id_))
    return of_tasks("not_in_line", tasks)


def scheduled_without_time(ground: Ground) -> Spoiled:
    tasks = ground.scheduled()
    ground.set(tasks, RUN_AT=False)
    return of_tasks("scheduled_without_time", tasks)


def running_without_claimant(ground: Ground) -> Spoiled:
    tasks = ground.running()
    for id_ in tasks:
        ground.set([id_], **{ground.pick("WORKER", "INCARNATION"): False})
    return of_tasks("running_without_holder", tasks)


def running_without_lease(ground: Ground) -> Spoiled:
    tasks = ground.running()
    for id_ in tasks:
        name, value = ground.pick(("LEASE_UNTIL", False), ("STARTED", False), ("TOKEN", 0))
        ground.set([id_], **{name: value})
    return of_tasks("running_without_holder", tasks)


def endless_lease(ground: Ground) -> Spoiled:
    tasks = ground.running()
    ground.set(tasks, LEASE_UNTIL=FAR_US * 2)
    return of_tasks("endless_lease", tasks)


def final_without_end(ground: Ground) -> Spoiled:
    tasks = ground.ended()
    ground.set(tasks, FINISHED=False)
    return of_tasks("final_without_end", tasks)


def held_while_waiting(ground: Ground) -> Spoiled:
    tasks = ground.pick(ground.ready, ground.scheduled)()
    for id_ in tasks:
        name, value = ground.pick(("WORKER", "somebody"), ("CANCEL_AT", ground.heads[id_]["CREATED"]))
        ground.set([id_], **{name: value})
    return of_tasks("held_while_waiting", tasks)


def stray_time_limit(ground: Ground) -> Spoiled:
    tasks = ground.pick(ground.ready, ground.ended)()
    for id_ in tasks:
        ground.set([id_], TIMEOUT_AT=ground.heads[id_]["CREATED"])
    return of_tasks("stray_time_limit", tasks)


# --- dependencies -----------------------------------------------------------------------------------


def _cut(ground: Ground, pairs: Iterable[tuple[str, str]], *sets: str) -> None:
    for parent, child in pairs:
        for name in sets:
            ground.db.zrem(ground.key[name], edge(parent, child))


def closed_edge_of_blocked(ground: Ground) -> Spoiled:
    families = ground.families()
    for child, parents in families:
        _cut(ground, [(parent, child) for parent in parents], "edges")
    return of_tasks("blocked_without_parent", [child for child, _ in families])


def lost_edge(ground: Ground) -> Spoiled:
    families = ground.families()
    for child, parents in families:
        _cut(ground, [(ground.pick(*parents), child)], "edges", "dependents")
    return of_tasks("lost_edge", [child for child, _ in families])


def lost_edges(ground: Ground) -> Spoiled:
    """All of a task's edges are gone: both what it waits for and that it waits."""
    families = ground.families()
    for child, parents in families:
        _cut(ground, [(parent, child) for parent in parents], "edges", "dependents")
    return of_tasks("blocked_without_parent", [child for child, _ in families])


def unlisted_edge(ground: Ground) -> Spoiled:
    spoiled: Spoiled = []
    for child, parents in ground.families():
        _cut(ground, [(parents[0], child)], "dependents")
        spoiled.append(("damaged_index", ("edge", parents[0], child)))
    return spoiled


def wrong_parent_count(ground: Ground) -> Spoiled:
    children = [child for child, _ in ground.families()]
    for child in children:
        ground.set([child], OPEN_PARENTS=ground.pick(0, 1, 3))
    return of_tasks("parent_count", children)


def orphan_edge_parent(ground: Ground) -> Spoiled:
    """A parent's head is gone; its children wait for nothing."""
    spoiled: Spoiled = []
    for child, parents in ground.families():
        ground.db.hdel(ground.key["heads"], parents[0])
        spoiled.append(("orphan_edge", ("edge", parents[0], child)))
    return spoiled


def orphan_edge_child(ground: Ground) -> Spoiled:
    spoiled: Spoiled = []
    for child, parents in ground.families():
        ground.db.hdel(ground.key["heads"], child)
        spoiled += [("orphan_edge", ("edge", parent, child)) for parent in parents]
    return spoiled


def stray_open_edge(ground: Ground) -> Spoiled:
    children = ground.take(
        lambda id_, head: head["STATE"] == SUCCEEDED and head["KEPT"] & KEPT["KEPT_PARENTS"] > 0
    )
    spoiled: Spoiled = []
    for child in children:
        (parent,) = msgspec.msgpack.decode(ground.db.hget(ground.key["parents"], child))
        ground.db.zadd(ground.key["edges"], {edge(parent, child): 0})
        spoiled.append(("stray_open_edge", ("edge", parent, child)))
    return spoiled


def unapplied_end(ground: Ground) -> Spoiled:
    """Parents were ended by hand, and nobody told their children."""
    spoiled: Spoiled = []
    for child, parents in ground.families():
        head = ground.heads[parents[0]]
        ground.set(parents[:1], STATE=ground.pick(5, 6, 7), FINISHED=head["CREATED"])
        spoiled.append(("unapplied_end", ("edge", parents[0], child)))
    return spoiled


def lost_note(ground: Ground) -> Spoiled:
    """Parents have failed, and the resolver has been told nothing."""
    spoiled: Spoiled = []
    for child, (parent,) in ground.families("doomed"):
        ground.db.zrem(ground.key["unresolved"], parent)
        spoiled.append(("unapplied_end", ("edge", parent, child)))
    return spoiled


# --- what belongs to nobody -------------------------------------------------------------------------


def stray(ground: Ground, law: str, table: str, owner: str, member: bytes, score: float = 0) -> Spoiled:
    if ground.db.type(ground.key[table]) == b"hash" or table in ("ends", "attempts", "checkpoints"):
        ground.db.hset(ground.key[table], member, b"\x92\xc0\xc0")
    else:
        ground.db.zadd(ground.key[table], {member: score})
    return [(law, ("stray", table, owner, member.hex()))]


def stray_unresolved(ground: Ground) -> Spoiled:
    spoiled: Spoiled = []
    for name in ground.names("nobody"):
        spoiled += stray(ground, "stray_unresolved", "unresolved", name, name.encode())
    return spoiled


def stray_record(ground: Ground) -> Spoiled:
    """What belonged to tasks that are gone."""
    spoiled: Spoiled = []
    for name in ground.names("gone"):
        table = ground.pick("ends", "attempts", "bodies", "parents", "history", "checkpoints")
        member = prefixed(name) + b"\0" * 8 + b"\x90" if table == "history" else name.encode()
        spoiled += stray(ground, "stray_record", table, name, member)
    return spoiled


def claim_of(incarnation: str, number: int) -> bytes:
    return prefixed(incarnation) + number.to_bytes(8, "big")


def stray_lease(ground: Ground) -> Spoiled:
    """Claims of which nothing runs are booked as if something did."""
    spoiled: Spoiled = []
    for n, id_ in enumerate(ground.ended()):
        claim = claim_of(f"somebody-{n}", 7)
        where = ground.pick("claim_tasks", "claim_open", "claims", "holding")
        if where == "claims":
            ground.db.zadd(ground.key["claims"], {claim: 1e15})
        elif where == "holding":
            ground.db.hset(ground.key["holding"], f"somebody-{n}", claim[-8:])
        else:
            value = msgspec.msgpack.encode([id_]) if where == "claim_tasks" else b"1"
            ground.db.hset(ground.key[where], claim, value)
        spoiled.append(("stray_lease", ("claim", claim.hex())))
    return spoiled


def wrong_claim(ground: Ground) -> Spoiled:
    """What is booked of a claim is wrong, or lost."""
    spoiled: Spoiled = []
    tasks = ground.take(lambda id_, head: head["STATE"] == RUNNING and head["WORKER"].startswith("single-"))
    for id_ in tasks:
        head = ground.heads[id_]
        claim = claim_of(head["INCARNATION"], head["CLAIM_SEQ"])
        where = ground.pick("claim_open", "none", "claims", "late", "holding")
        if where == "claim_open":
            ground.db.hincrby(ground.key["claim_open"], claim, 3)
        elif where == "none":
            ground.db.hdel(ground.key["claim_open"], claim)
        elif where == "claims":
            ground.db.zrem(ground.key["claims"], claim)
        elif where == "late":
            ground.db.zadd(ground.key["claims"], {claim: 1e17})
        else:
            ground.db.hdel(ground.key["holding"], head["INCARNATION"])
        spoiled.append(("damaged_index", ("claim", claim.hex())))
    return spoiled


def stray_entry(ground: Ground) -> Spoiled:
    """An index names a task that is not there, or is not as it says."""
    spoiled: Spoiled = []
    for id_ in ground.ended():
        queue = prefixed("elsewhere")
        table, member = ground.pick(
            ("ready", b"\0" * 16 + id_.encode()), ("due", id_.encode()), ("deadlines", id_.encode()),
            ("timeouts", id_.encode()), ("places", b"\x01" + queue + id_.encode()),
            ("uniques", prefixed("ab") + b"\0" * 8 + id_.encode()),
            ("fired", prefixed("never") + b"\0" * 8 + id_.encode()),
            ("open_fires", prefixed("never") + b"\0" * 8 + id_.encode()),
            ("members", prefixed("nothing") + b"\0" * 8 + id_.encode()),
        )  # fmt: skip
        spoiled += stray(ground, "damaged_index", table, id_, member)
    return spoiled


# --- indexes that have lost something ---------------------------------------------------------------


def _lost_from(ground: Ground, index: str, tasks: Iterable[str]) -> Spoiled:
    spoiled: Spoiled = []
    members: list[bytes] = ground.db.zrange(ground.key[index], 0, -1)
    for id_ in tasks:
        (member,) = [member for member in members if member.endswith(id_.encode())]
        ground.db.zrem(ground.key[index], member)
        spoiled.append(("damaged_index", ("index", index, id_)))
    return spoiled


def lost_from_tasks(ground: Ground) -> Spoiled:
    return _lost_from(ground, "tasks", ground.anywhere())


def lost_from_places(ground: Ground) -> Spoiled:
    return _lost_from(ground, "places", ground.ended())


def lost_from_due(ground: Ground) -> Spoiled:
    return _lost_from(ground, "due", ground.scheduled())


def wrong_time(ground: Ground) -> Spoiled:
    tasks = ground.scheduled()
    for id_ in tasks:
        ground.db.zadd(ground.key["due"], {id_: 1e17})
    return [("damaged_index", ("index", "due", id_)) for id_ in tasks]


def lost_holding(ground: Ground) -> Spoiled:
    """A claim does not name all the tasks that it granted."""
    tasks = ground.running()
    for id_ in tasks:
        head = ground.heads[id_]
        claim = claim_of(head["INCARNATION"], head["CLAIM_SEQ"])
        named = msgspec.msgpack.decode(ground.db.hget(ground.key["claim_tasks"], claim))
        named.remove(id_)
        ground.db.hset(ground.key["claim_tasks"], claim, msgspec.msgpack.encode(named))
    return [("damaged_index", ("index", "claims", id_)) for id_ in tasks]


def lost_letter(ground: Ground) -> Spoiled:
    tasks = ground.take(lambda id_, head: head["STATE"] == FAILED and ground.queue_of(id_) == "done")
    half = len(tasks) // 2
    return _lost_from(ground, "dead", tasks[:half]) + _lost_from(ground, "letters", tasks[half:])


def lost_from_others(ground: Ground) -> Spoiled:
    """Of unique tasks, and of those that have a deadline or a time limit."""
    tasks = ground.take(lambda id_, head: ground.queue_of(id_) == "indexed" and bool(head["UNIQUE"]))
    spoiled: Spoiled = []
    for id_ in tasks:
        index = "timeouts" if ground.heads[id_]["STATE"] == RUNNING else ground.pick("deadlines", "uniques")
        spoiled += _lost_from(ground, index, [id_])
    return spoiled


def lost_fire(ground: Ground) -> Spoiled:
    tasks = ground.take(lambda id_, head: bool(head["SCHEDULE"]) and head["STATE"] == READY)
    return _lost_from(ground, ground.pick("fired", "open_fires"), tasks)


def wrong_note_of_kept(ground: Ground) -> Spoiled:
    tasks = ground.running()
    for id_ in tasks:
        ground.set([id_], KEPT=ground.heads[id_]["KEPT"] ^ KEPT["KEPT_PROGRESS"])
    return [("damaged_index", ("kept", id_)) for id_ in tasks]


def wrong_group(ground: Ground) -> Spoiled:
    spoiled: Spoiled = []
    for n in range(ground.each):
        fingerprint = f"{n:016x}"
        ground.db.zadd(ground.key["groups"], {fingerprint: -3})
        spoiled.append(("damaged_index", ("group", fingerprint)))
    return spoiled


# --- workflows --------------------------------------------------------------------------------------


def _members(ground: Ground, workflow: str) -> list[str]:
    found = [id_ for id_, head in ground.heads.items() if head["WORKFLOW"] == workflow]
    ground.taken.update(found)
    return sorted(found)


def lost_workflow(ground: Ground) -> Spoiled:
    """The document that tasks belong to is gone."""
    spoiled: Spoiled = []
    for name in ground.names("lost"):
        ground.db.hdel(ground.key["workflows"], name)
        spoiled += of_tasks("stray_member", _members(ground, name))
    return spoiled


def unknown_part(ground: Ground) -> Spoiled:
    tasks = []
    for name in ground.names("parts"):
        task = ground.pick(*_members(ground, name))
        if ground.pick(True, False):
            ground.set([task], CALLBACK=ground.pick(0, 9, -1))
        else:
            place = ground.heads[task]["ORDINAL"].to_bytes(8, "big")
            ground.db.zrem(ground.key["members"], prefixed(name) + place + task.encode())
        tasks.append(task)
    return of_tasks("stray_member", tasks)


def empty_workflow(ground: Ground) -> Spoiled:
    names = ground.names("empty")
    for name in names:
        ground.db.hset(ground.key["workflows"], name, b"[1,null,null,{}]")
        ground.db.zadd(ground.key["founded"], {name: 1})
    return [("empty_workflow", ("workflow", name)) for name in names]


def unreadable_workflow(ground: Ground) -> Spoiled:
    names = ground.names("read")
    for name in names:
        fields = msgspec.json.decode(ground.db.hget(ground.key["workflows"], name))
        what = ground.pick("labels", "callbacks", "forgotten", "all")
        if what == "forgotten":
            ground.db.hset(ground.key["forgotten"], f"5:{name}", ground.pick(b"many", b"-1", b""))
            continue
        if what != "all":
            fields[{"labels": 2, "callbacks": 3}[what]] = ground.pick(["x"], 7)
        text = b"{" if what == "all" else msgspec.json.encode(fields)
        ground.db.hset(ground.key["workflows"], name, text)
        _members(ground, name)
    return [("unreadable_workflow", ("workflow", name)) for name in names]


# --- schedules --------------------------------------------------------------------------------------


def _fires(ground: Ground, schedule: str) -> list[bytes]:
    low, high = b"[" + prefixed(schedule), b"(" + prefixed(schedule) + b"\xff"
    found: list[bytes] = ground.db.zrangebylex(ground.key["fires"], low, high)
    return found


def fire_without_record(ground: Ground) -> Spoiled:
    """A fire that made a task, or was skipped, is not on record any more."""
    for schedule in (names := ground.names("recorded")):
        ground.db.zrem(ground.key["fires"], ground.pick(*_fires(ground, schedule)))
    return [("lost_fire", ("schedule", schedule)) for schedule in names]


def fire_without_task(ground: Ground) -> Spoiled:
    """A record of a fire tells neither its task nor why there is none."""
    for schedule in (names := ground.names("told")):
        fire, *_ = _fires(ground, schedule)
        place = len(prefixed(schedule)) + 8
        told = msgspec.json.decode(fire[place:])
        ground.db.zrem(ground.key["fires"], fire)
        mute = fire[:place] + msgspec.json.encode([*told[:4], None, None])
        ground.db.zadd(ground.key["fires"], {mute: 0})
    return [("empty_fire", ("schedule", schedule)) for schedule in names]


def forgotten_schedule(ground: Ground) -> Spoiled:
    for schedule in (names := ground.names("looked-at")):
        if ground.pick(True, False):
            ground.db.zrem(ground.key["looks"], schedule)
        else:
            ground.db.zadd(ground.key["looks"], {schedule: FAR_US})
    return [("forgotten_schedule", ("schedule", schedule)) for schedule in names]


def unreadable_standing(ground: Ground) -> Spoiled:
    for schedule in (names := ground.names("standing")):
        stored = msgspec.json.decode(ground.db.hget(ground.key["schedules"], schedule))
        stored[3] = ground.pick("", "{", "[]", '{"cursor_us":"now"}')
        ground.db.hset(ground.key["schedules"], schedule, msgspec.json.encode(stored))
    return [("unreadable_standing", ("schedule", schedule)) for schedule in names]


def unlisted(ground: Ground) -> Spoiled:
    """A name is missing where names are listed."""
    spoiled: Spoiled = []
    for name in ground.names("listed"):
        ground.db.zrem(ground.key["schedule_ids"], name)
        spoiled.append(("damaged_index", ("schedule", name)))
    return spoiled


# --- books ------------------------------------------------------------------------------------------


def lost_count(ground: Ground) -> Spoiled:
    queues = ground.names("counted")
    for queue in queues:
        ground.db.hincrby(ground.key["counts"], f"3:{queue}", -1)
    return [("lost_count", ("count", queue, 3)) for queue in queues]


def ghost_count(ground: Ground) -> Spoiled:
    spoiled: Spoiled = []
    for queue in ground.names("ghost"):
        state = ground.pick(1, 5, 99)
        ground.db.hset(ground.key["counts"], f"{state}:{queue}", 2)
        spoiled.append(("ghost_count", ("count", queue, state)))
    return spoiled


def limit_usage(ground: Ground) -> Spoiled:
    names = [f"key:unused-{n}" for n in range(ground.each)]
    for name in names:
        ground.db.hset(ground.key["running"], name, ground.pick(1, -1, 7))
    return [("limit_usage", ("running", name)) for name in names]


def far_arrival(ground: Ground) -> Spoiled:
    """A limit whose next start is booked for a time that nobody lives to see."""
    names = [f"key:rated-{n}" for n in range(ground.each)]
    for name in names:
        ground.db.zadd(ground.key["arrivals"], {name: ground.pick(1e18, 9e30)})
    return [("limit_usage", ("arrival", name)) for name in names]


def wrong_lane_use(ground: Ground) -> Spoiled:
    lanes = [number for number, lane in ground.lanes.items() if lane[0].startswith("tenants-")]
    for number in lanes:
        ground.db.hincrby(ground.key["lane_uses"], number, ground.pick(-1, 1, 5))
    return [("stray_lane", ("lane", str(number))) for number in lanes]


def unreadable_limit(ground: Ground) -> Spoiled:
    names = [f"queue:unused-{n}" for n in range(ground.each)]
    for name in names:
        rule = ground.pick(b"{", b"\xff", b"\x96\x01\xc2\xc2\xc2\xc2\xa1{", b"")
        ground.db.hset(ground.key["rules"], name, rule)
    return [("unreadable_limit", ("limit", name)) for name in names]


def unreadable_share(ground: Ground) -> Spoiled:
    tenants = ground.names("tenant")
    for tenant in tenants:
        share = ground.pick((0.0, 0), (-1, 0), (1, float("nan")), (float("inf"), 0), ("x", 1))
        ground.db.hset(ground.key["shares"], tenant, msgspec.msgpack.encode(share))
    return [("unreadable_share", ("share", tenant)) for tenant in tenants]


def unreadable_worker(ground: Ground) -> Spoiled:
    workers = ground.names("worker")
    for worker in workers:
        ground.db.hset(ground.key["workers"], worker, ground.pick(b"{", b"\x93\xa1i\x01\xa1{", b"\xff"))
    return [("unreadable_worker", ("worker", worker)) for worker in workers]


def unreadable_key(ground: Ground) -> Spoiled:
    names = [msgspec.json.encode(("me", f"key-{n}")).decode() for n in range(ground.each)]
    for name in names:
        use = ground.pick(b"", b"\x90", b"\xff", b"\x93\xa1d\x01\x90", b"{}")
        ground.db.hset(ground.key["idempotency"], name, use)
    return [("unreadable_key", ("key", name)) for name in names]


def endless_key(ground: Ground) -> Spoiled:
    """Nobody knows any more when a key ends."""
    names = [msgspec.json.encode(("you", f"key-{n}")).decode() for n in range(ground.each)]
    for name in names:
        ground.db.zrem(ground.key["expiring"], name)
    return [("damaged_index", ("expiring", name)) for name in names]


Spoil = Callable[[Ground], Spoiled]

CLASSES: Sequence[Spoil] = (
    closed_edge_of_blocked, lost_edge, lost_edges, unlisted_edge, wrong_parent_count, unapplied_end,
    damaged_parents, orphan_edge_parent, orphan_edge_child, lost_note, stray_open_edge, lost_letter,
    lost_from_others, lost_fire, unknown_lane, lost_lane, damaged_policy, damaged_labels, damaged_attempts,
    lost_payload, negative_counter, number_ahead, ready_without_place, duplicate_place, not_in_line,
    scheduled_without_time, running_without_claimant, running_without_lease, endless_lease,
    final_without_end, held_while_waiting, stray_time_limit, lost_from_tasks, lost_from_places,
    lost_from_due, wrong_time, lost_holding, wrong_note_of_kept, wrong_group, stray_lease, wrong_claim,
    stray_entry, unknown_state, unreadable_head, lost_workflow, unknown_part, empty_workflow,
    unreadable_workflow, fire_without_record, fire_without_task, forgotten_schedule, unreadable_standing,
    unlisted, stray_unresolved, stray_record, lost_count, ghost_count, limit_usage, far_arrival,
    wrong_lane_use, unreadable_limit, unreadable_share, unreadable_worker, unreadable_key, endless_key,
)  # fmt: skip
