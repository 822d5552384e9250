"""A scheduler or a worker takes a short cut."""

import asyncio
import contextlib
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import msgspec

from mainspring.batching import Batcher
from mainspring.core.lifecycle import Cause
from mainspring.core.model import State
from mainspring.election.store import TTL_S, StoreElector
from mainspring.errors import MainspringError
from mainspring.ports import Accepted, Group, Term
from mainspring.services import Campaigner, reaper
from mainspring.testing.planted.planting import Bug, Patch, bug, instead
from mainspring.worker.execution import Execution
from mainspring.worker.held import HeldLeases
from mainspring.worker.outbox import Outbox, _report
from mainspring.worker.runs import Run


async def _acknowledge_first(batcher: Batcher, groups: Sequence[Group]) -> list[Accepted]:
    for group in groups:
        # Nobody waits for the commit any more; what becomes of it is not looked at.
        batcher._put_group(group).add_done_callback(lambda landing: landing.exception())
    return [Accepted(0, [State.READY for _ in group.tasks], [0 for _ in group.tasks]) for group in groups]


def _drop_lease_first(settle: Any) -> Any:
    async def wrong(batcher: Batcher, lines: Any) -> Any:
        dropped = []
        for line in lines:
            change = msgspec.structs.replace(line.change, state=State.READY, cause=Cause.RELEASE)
            change.attempt = line.change.attempt - 1
            dropped.append(msgspec.structs.replace(line, change=change, digest=0))
        await settle(batcher, dropped)
        return await settle(batcher, lines)

    return wrong


async def _offer_once(outbox: Outbox, runs: list[Run]) -> None:
    with contextlib.suppress(MainspringError):
        await outbox._source.settle([_report(run) for run in runs])
    for run in runs:
        outbox._held.drop(run)


def _stop_nothing(held: HeldLeases, run: Run) -> None:
    """The loss is heard, and nothing is done about it."""


def _return_before_it_is_recorded(keep_step: Any) -> Any:
    def wrong(execution: Execution, name: str, result: bytes) -> Future[None]:
        keep_step(execution, name, result)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    return wrong


async def _trust_from_the_answer(elector: StoreElector) -> Term:
    term = await elector._store.take_term(elector._node, int(TTL_S * 1e6))
    elector.term = term
    elector._trusted_until_s = elector._clock.monotonic() + TTL_S if term.holder == elector._node else 0.0
    return term


async def _campaign_in_rhythm(campaigner: Campaigner) -> float:
    await campaigner._elector.campaign()
    return 3.0


async def _beat_slowly(held: HeldLeases, wait_s: float) -> bool:
    await asyncio.sleep(wait_s * 4)
    return False


NODE_BUGS: tuple[Bug, ...] = (
    bug("a submit is acknowledged before its commit", Batcher, "submit", instead(_acknowledge_first)),
    bug("the lease is dropped before the result is stored", Batcher, "settle", _drop_lease_first),
    bug("an outcome is offered only once", Outbox, "_settle", instead(_offer_once)),
    bug("a lost run goes on and reports", HeldLeases, "lose", instead(_stop_nothing)),
    bug("a lapsed lease goes unnoticed", HeldLeases, "_lose_lapsed", instead(lambda held: None)),
    bug("a step returns before it is recorded", Execution, "keep_step", _return_before_it_is_recorded),
    bug("the heartbeat is too slow", HeldLeases, "_learns_within", instead(_beat_slowly)),
    bug("trust in a term counts from the answer", StoreElector, "campaign", instead(_trust_from_the_answer)),
    bug("followers campaign too rarely", Campaigner, "tick", instead(_campaign_in_rhythm)),
    Bug("the reaper looks too rarely", (Patch(reaper, "INTERVAL_S", instead(2.5)),)),
)
