"""Several nodes on one store at once: whatever the order of their calls, the answers fit together."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from mainspring.core.lifecycle import Outcome
from mainspring.core.limits import LimitRule
from mainspring.core.model import State, UniqueRule
from mainspring.verbs import Accepted, Action, Answer, Exchange, Existing, Force, Group, Idempotency, Refused
from tests.conformance.bench import LANE

pytestmark = [pytest.mark.several_nodes, pytest.mark.verbs("submit", "claim", "settle", "get")]
NODES = 3
ROUNDS = 20


@asynccontextmanager
async def nodes_of(bench):
    """The bench's store and those of other nodes, all open."""
    async with AsyncExitStack() as stack:
        stores = [bench.store]
        while len(stores) < NODES:
            stores.append(bench.new_node())
            await stores[-1].open()
            stack.push_async_callback(stores[-1].close)
        yield stores


async def submit_everywhere(stores, groups):
    """One group each, from the nodes in turn, all at once."""
    calls = [stores[n % NODES].exchange(Exchange(submits=[group])) for n, group in enumerate(groups)]
    return [answers.submits[0] for answers in await asyncio.gather(*calls)]


async def claim_everywhere(bench, stores, limit):
    """Every node claims at once; what each was granted."""
    asks = [bench.ask(limit, [LANE], worker=f"w{n}") for n in range(NODES)]
    calls = [store.exchange(Exchange(claims=[ask])) for store, ask in zip(stores, asks, strict=True)]
    return [answers.claims[0].leases for answers in await asyncio.gather(*calls)]


# --- claims ------------------------------------------------------------------------------------------


async def test_each_task_has_one_holder(bench):
    """S4-14: nodes that share a store share its tasks."""
    tasks = await bench.submit_many(300)
    async with nodes_of(bench) as stores:
        held = []
        while len(held) < len(tasks):
            granted = await claim_everywhere(bench, stores, 7)
            assert any(granted), "tasks are left, and nobody got one"
            held += [lease for leases in granted for lease in leases]
    assert sorted(lease.task for lease in held) == sorted(tasks)


async def test_the_same_claim_through_two_nodes(bench):
    """The worker's first node was slow, so it asked a second one: both tell the same leases."""
    async with nodes_of(bench) as stores:
        for n in range(ROUNDS):
            await bench.submit_many(3)
            asks = [bench.ask(3, [LANE], worker=f"w{n // 2}", seq=n) for _ in stores]
            answers = await asyncio.gather(
                *[store.exchange(Exchange(claims=[ask])) for store, ask in zip(stores, asks, strict=True)]
            )
            first, *others = [answer.claims[0].leases for answer in answers]
            assert len(first) == 3
            assert all(leases == first for leases in others)


@pytest.mark.verbs("set_limit")
async def test_a_limit_holds_over_nodes(bench):
    await bench.store.set_limit(f"queue:{LANE.queue}", LimitRule(max_running=4))
    await bench.submit_many(60)
    async with nodes_of(bench) as stores:
        for _ in range(ROUNDS):
            leases = [lease for leases in await claim_everywhere(bench, stores, 3) for lease in leases]
            assert len(leases) == 4
            await bench.settle_lines(*[bench.line(lease, Outcome.RELEASED) for lease in leases])


# --- settlements -------------------------------------------------------------------------------------


async def test_reports_that_cross(bench):
    """The same reports through several nodes in different orders: each is written once, nobody fails."""
    async with nodes_of(bench) as stores:
        for _ in range(ROUNDS):
            await bench.submit_many(20)
            lines = [bench.line(lease) for lease in await bench.claim(20, [LANE])]
            orders = [lines, lines[::-1], lines[10:] + lines[:10]]
            answers = await asyncio.gather(
                *[
                    store.exchange(Exchange(settles=order))
                    for store, order in zip(stores, orders, strict=True)
                ]
            )
            told = [answer for exchanged in answers for answer in exchanged.settles]
            assert (told.count(Answer.OK), told.count(Answer.ALREADY)) == (20, 40)


@pytest.mark.verbs("force")
async def test_a_kill_meets_a_report(bench):
    """One of the two is first, and the other is refused."""
    async with nodes_of(bench) as stores:
        for _ in range(ROUNDS):
            await bench.submit_many(1)
            lease = await bench.claim_one(lanes=[LANE])
            settled, (killed,) = await asyncio.gather(
                stores[0].exchange(Exchange(settles=[bench.line(lease)])),
                stores[1].force([Force(lease.task, Action.KILL)]),
            )
            (answer,) = settled.settles
            state = (await bench.get(lease.task)).state
            if isinstance(killed, Refused):
                assert (answer, state) == (Answer.OK, State.SUCCEEDED)
            else:
                assert (answer, state) == (Answer.LOST, State.CANCELLED)


@pytest.mark.verbs("force")
async def test_a_cancellation_meets_a_failure(bench):
    """Before or after the report: what was asked to stop is not tried again."""
    async with nodes_of(bench) as stores:
        for _ in range(ROUNDS):
            await bench.submit_many(1)
            lease = await bench.claim_one(lanes=[LANE])
            line = bench.line(lease, Outcome.FAILED, delay=60)
            await asyncio.gather(
                stores[0].exchange(Exchange(settles=[line])),
                stores[1].force([Force(lease.task, Action.CANCEL)]),
            )
            assert (await bench.get(lease.task)).state is State.CANCELLED


# --- dependencies ------------------------------------------------------------------------------------


async def test_the_last_of_several_parents(bench):
    """Parents end on several nodes at once; their child is released, and once."""
    async with nodes_of(bench) as stores:
        for _ in range(ROUNDS):
            parents = [bench.task() for _ in stores]
            child = bench.task(depends_on=tuple(parent.id for parent in parents))
            await bench.submit(*parents, child)
            leases = await bench.claim(NODES, [LANE])
            await asyncio.gather(
                *[
                    store.exchange(Exchange(settles=[bench.line(lease)]))
                    for store, lease in zip(stores, leases, strict=True)
                ]
            )
            record = await bench.get(child.id)
            assert (record.state, record.open_parents) == (State.READY, 0)
            assert await bench.claimed_ids(2, [LANE]) == [child.id]


async def test_a_child_comes_while_its_parent_ends(bench):
    """It sees the end, or the end sees it: it never waits for ever."""
    async with nodes_of(bench) as stores:
        for _ in range(ROUNDS):
            (parent,) = await bench.submit_many(1)
            lease = await bench.claim_one(lanes=[LANE])
            children = [bench.task(depends_on=(parent,)) for _ in stores]
            await asyncio.gather(
                submit_everywhere(stores, [Group([child]) for child in children]),
                stores[0].exchange(Exchange(settles=[bench.line(lease)])),
            )
            assert await bench.states(*[child.id for child in children]) == [State.READY] * NODES
            assert len(await bench.claim(10, [LANE])) == NODES


async def test_each_ends_what_the_other_builds_on(bench):
    """Both nodes hold what the other wants: a store that locks must find a way out by itself."""
    async with nodes_of(bench) as stores:
        for _ in range(ROUNDS):
            await bench.submit_many(2)
            one, two = await bench.claim(2, [LANE])
            children = [bench.task(depends_on=(lease.task,)) for lease in (two, one)]
            answers = await asyncio.gather(
                *[
                    store.exchange(Exchange(settles=[bench.line(lease)], submits=[Group([child])]))
                    for store, lease, child in zip(stores, (one, two), children, strict=False)
                ]
            )
            assert [answer.settles for answer in answers] == [[Answer.OK], [Answer.OK]]
            assert await bench.states(*[child.id for child in children]) == [State.READY] * 2
            assert len(await bench.claim(10, [LANE])) == 2


# --- submits -----------------------------------------------------------------------------------------


async def test_one_task_under_a_unique_rule(bench):
    async with nodes_of(bench) as stores:
        for n in range(ROUNDS):
            rule = UniqueRule(b"digest%d" % n, frozenset(State))
            tasks = [bench.task(unique=rule) for _ in range(2 * NODES)]
            await submit_everywhere(stores, [Group([task]) for task in tasks])
            records = await bench.store.get([task.id for task in tasks])
            assert sum(record is not None for record in records) == 1


async def test_one_group_under_an_idempotency_key(bench):
    async with nodes_of(bench) as stores:
        for n in range(ROUNDS):
            key = Idempotency("alice", f"key{n}", b"body", bench.us(60))
            answers = await submit_everywhere(stores, [Group([bench.task()], key) for _ in range(2 * NODES)])
            (first,) = [answer for answer in answers if isinstance(answer, Accepted)]
            others = [answer for answer in answers if isinstance(answer, Existing)]
            assert len(others) == 2 * NODES - 1
            assert {answer.tasks[0].version for answer in others} == set(first.versions)


async def test_one_owner_of_an_id(bench):
    async with nodes_of(bench) as stores:
        for _ in range(ROUNDS):
            task = bench.clock.new_id()
            groups = [Group([bench.task(id=task), bench.task()]) for _ in stores]
            answers = await submit_everywhere(stores, groups)
            refused = [answer for answer in answers if isinstance(answer, Refused)]
            assert [answer.code for answer in refused] == ["id_taken"] * (NODES - 1)
            records = await bench.store.get([group.tasks[1].id for group in groups])
            assert sum(record is not None for record in records) == 1


@pytest.mark.verbs("set_limit")
async def test_a_backlog_cap_holds_over_nodes(bench):
    async with nodes_of(bench) as stores:
        for n in range(ROUNDS):
            lane = LANE._replace(queue=f"q{n}")
            await bench.store.set_limit(f"queue:{lane.queue}", LimitRule(max_waiting=4))
            answers = await submit_everywhere(stores, [Group([bench.task(lane)]) for _ in range(9)])
            assert sum(isinstance(answer, Accepted) for answer in answers) == 4


async def test_a_lane_has_one_number(bench):
    """Nodes that are the first to use a lane at the same time agree on its number."""
    async with nodes_of(bench) as stores:
        for n in range(ROUNDS):
            lane = LANE._replace(queue=f"q{n}")
            answers = await asyncio.gather(
                *[store.exchange(Exchange(submits=[Group([bench.task(lane)])])) for store in stores]
            )
            assert len({head.lane_id for answer in answers for head in answer.ready}) == 1
