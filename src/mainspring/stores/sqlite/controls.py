"""Controls, membership and leadership: small tables, written seldom."""

import msgspec

from mainspring.core.limits import LimitRule, LimitState, refit, rule_for
from mainspring.ports import Charge, Term, WorkerInfo
from mainspring.stores.sqlite.limits import PUT_ARRIVAL, READ_ARRIVALS
from mainspring.stores.sqlite.transaction import BUMP_GENERATION, Transaction

PAUSE = "INSERT OR REPLACE INTO paused (queue, by) VALUES (?, ?)"
RESUME = "DELETE FROM paused WHERE queue = ?"
PUT_RULE = "INSERT OR REPLACE INTO limits (name, rule) VALUES (?, ?)"
DROP_RULE = "DELETE FROM limits WHERE name = ?"
PUT_WEIGHT = (
    "INSERT INTO shares (tenant, weight) VALUES (?, ?)"
    " ON CONFLICT (tenant) DO UPDATE SET weight = excluded.weight"
)
CHARGE = (
    "INSERT INTO shares (tenant, virtual_us) VALUES (?1, max(0.0, ?3) + ?2) ON CONFLICT (tenant)"
    " DO UPDATE SET virtual_us = max(virtual_us, ?3) + ?2 / weight"
)
BEAT = "INSERT OR REPLACE INTO workers (worker, incarnation, info, beaten_us) VALUES (?, ?, ?, ?)"
LEAVE = "DELETE FROM workers WHERE worker = ? AND incarnation = ?"
READ_TERM = "SELECT holder, number, expires_us FROM term"
PUT_TERM = "INSERT OR REPLACE INTO term (id, holder, number, expires_us) VALUES (1, ?, ?, ?)"
END_TERM = "UPDATE term SET expires_us = ? WHERE holder = ? AND number = ?"


def set_queue(tx: Transaction, queue: str, paused_by: str | None) -> None:
    if paused_by is None:
        tx.db.execute(RESUME, (queue,))
    else:
        tx.db.execute(PAUSE, (queue, paused_by))
    tx.db.execute(BUMP_GENERATION)


def set_limit(tx: Transaction, name: str, rule: LimitRule | None, only_new: bool) -> bool:
    rules = dict(tx.rules)
    was_there = name in rules
    if was_there and only_new:
        return True
    if rule is None:
        tx.db.execute(DROP_RULE, (name,))
        rules.pop(name, None)
    else:
        tx.db.execute(PUT_RULE, (name, msgspec.json.encode(rule)))
        rules[name] = rule
    tx.db.execute(BUMP_GENERATION)
    for limited, arrival_us in tx.db.execute(READ_ARRIVALS).fetchall():
        usage = LimitState(0, arrival_us)
        refit(rule_for(limited, rules), usage, tx.now_us)
        tx.db.execute(PUT_ARRIVAL, (limited, usage.arrival_us))
    return was_there


def set_weight(tx: Transaction, tenant: str, weight: float) -> None:
    tx.db.execute(PUT_WEIGHT, (tenant, weight))


def charge(tx: Transaction, line: Charge) -> None:
    tx.db.execute(CHARGE, (line.tenant, float(line.cost_us), float(line.floor_us)))


def beat(tx: Transaction, worker: WorkerInfo) -> None:
    tx.db.execute(BEAT, (worker.worker, worker.incarnation, msgspec.json.encode(worker), tx.now_us))


def leave(tx: Transaction, worker: str, incarnation: str) -> None:
    tx.db.execute(LEAVE, (worker, incarnation))


def take_term(tx: Transaction, candidate: str, ttl_us: int) -> Term:
    row = tx.db.execute(READ_TERM).fetchone()
    holder, number, expires_us = row if row is not None else ("", 0, 0)
    if expires_us <= tx.now_us:
        # A term that ran out is over even for its holder: what it did not renew in time, it lost.
        holder, number, expires_us = candidate, max(number + 1, tx.mint()), tx.now_us + ttl_us
        tx.db.execute(PUT_TERM, (holder, number, expires_us))
    elif holder == candidate:
        expires_us = tx.now_us + ttl_us
        tx.db.execute(PUT_TERM, (holder, number, expires_us))
    return Term(holder, number, expires_us - tx.now_us)


def resign(tx: Transaction, candidate: str, number: int) -> None:
    tx.db.execute(END_TERM, (tx.now_us, candidate, number))
