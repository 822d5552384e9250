"""Reading: pages that stay stable while tasks are added, exact counts, records, the board."""

import contextlib
from collections import Counter
from itertools import combinations

import pytest

from mainspring.core.lifecycle import Outcome
from mainspring.core.limits import LimitRule
from mainspring.core.model import Lane, Policy, State
from mainspring.errors import InvalidInput
from mainspring.verbs import PAGE_BYTES, Action, Charge, Force, Query
from tests.conformance.bench import LANE

pytestmark = pytest.mark.verbs("submit", "claim", "settle", "get")
MAIL = Lane("mail", "send", "acme", 5)


async def found(bench, **query):
    """Every match, page by page."""
    ids, cursor = [], None
    while True:
        page = await bench.store.find(Query(**query, cursor=cursor))
        assert len(page.tasks) <= query.get("limit", 100)
        ids += [task.id for task in page.tasks]
        cursor = page.cursor
        if cursor is None:
            return ids


# --- get ---------------------------------------------------------------------------------------------


async def test_get_answers_in_the_order_asked(bench):
    one, two = await bench.submit_many(2)
    records = await bench.store.get([two, bench.clock.new_id(), one, two])
    assert [record and record.id for record in records] == [two, None, one, two]
    assert list(await bench.store.get([])) == []


async def test_a_record_that_was_read_does_not_change(bench):
    (task,) = await bench.submit_many(1)
    before = await bench.get(task)
    await bench.claim_one()
    assert before.state is State.READY


# --- find --------------------------------------------------------------------------------------------


@pytest.mark.verbs("find")
async def test_newest_first(bench):
    """S0-19: in pages, each task once."""
    tasks = await bench.submit_many(7)
    assert await found(bench) == tasks[::-1]
    assert await found(bench, limit=2) == tasks[::-1]
    assert await found(bench, limit=7) == tasks[::-1]


@pytest.mark.verbs("find")
async def test_an_empty_store(bench):
    page = await bench.store.find(Query())
    assert (page.tasks, page.cursor) == ([], None)


@pytest.mark.verbs("find")
async def test_records_are_whole(bench):
    (task,) = await bench.submit_many(1, labels=b'{"a":"b"}')
    (record,) = (await bench.store.find(Query())).tasks
    assert record == await bench.get(task)


@pytest.mark.verbs("find")
async def test_filters_alone_and_together(bench):
    """S0-21: by state, queue, kind, tenant and label."""
    labels = [b'{"team":"a","env":"x"}', b'{"team":"b"}', None]
    plain = await bench.submit(*[bench.task(LANE, labels=text) for text in labels])
    mail = await bench.submit(*[bench.task(MAIL, labels=text) for text in labels])
    delayed = await bench.submit(bench.task(MAIL, delay=60))
    everything = [*plain, *mail, *delayed]
    assert await found(bench, states=frozenset({State.SCHEDULED})) == delayed
    both = frozenset({State.SCHEDULED, State.READY})
    assert await found(bench, states=both) == everything[::-1]
    assert await found(bench, queue="mail") == [*mail, *delayed][::-1]
    assert await found(bench, kind="send") == [*mail, *delayed][::-1]
    assert await found(bench, tenant="acme") == [*mail, *delayed][::-1]
    assert await found(bench, label=("team", "a")) == [mail[0], plain[0]]
    assert await found(bench, label=("env", "x"), queue="mail") == [mail[0]]
    assert await found(bench, states=frozenset({State.READY}), queue="mail", limit=1) == mail[::-1]
    assert await found(bench, queue="nowhere") == []
    assert await found(bench, label=("team", "none")) == []


@pytest.mark.verbs("find", "force")
async def test_every_set_of_states_is_found(bench):
    """Alone and together, final states too: stores have ways of their own to find these."""
    ended = {State.SUCCEEDED: Outcome.SUCCEEDED, State.FAILED: Outcome.FAILED, State.CANCELLED: None}
    tasks: dict[State, list[str]] = {}
    for state, outcome in ended.items():
        tasks[state] = await bench.submit_many(2, policy=Policy(max_retries=0))
        if outcome is None:
            await bench.store.force([Force(task, Action.CANCEL) for task in tasks[state]])
        else:
            for lease in await bench.claim(limit=2):
                await bench.settle(lease, outcome)
    tasks[State.RUNNING] = await bench.submit_many(1)
    await bench.claim_one()
    tasks[State.READY] = await bench.submit_many(1)
    for count in (1, 2, 3):
        for states in combinations(tasks, count):
            wanted = sorted((task for state in states for task in tasks[state]), reverse=True)
            assert await found(bench, states=frozenset(states)) == wanted
            assert await found(bench, states=frozenset(states), limit=1) == wanted


@pytest.mark.verbs("find")
async def test_a_label_matches_whole_and_exactly(bench):
    """Quotes, wildcards and other letters of query languages are just letters."""
    odd = b'{"a%b":"it\'s \\"x\\" _","100":"1"}'
    (task,) = await bench.submit(bench.task(labels=odd))
    await bench.submit(bench.task(labels=b'{"a%b":"other"}'), bench.task(labels=b'{"x":"a%b"}'))
    assert await found(bench, label=("a%b", 'it\'s "x" _')) == [task]
    assert await found(bench, label=("100", "1")) == [task]
    assert await found(bench, label=("a_b", 'it\'s "x" _')) == []


@pytest.mark.verbs("find")
async def test_odd_names_of_queues(bench):
    lane = Lane("o'queue\"; --", "k%", "t_", 5)
    (task,) = await bench.submit_many(1, lane)
    await bench.submit_many(1)
    assert await found(bench, queue=lane.queue, kind=lane.kind, tenant=lane.tenant) == [task]


@pytest.mark.verbs("find")
async def test_paging_while_tasks_are_added(bench):
    """Each task that was there at the start is seen once; new ones do not shift the pages."""
    old = await bench.submit_many(10)
    seen, cursor = [], None
    while True:
        page = await bench.store.find(Query(limit=3, cursor=cursor))
        seen += [task.id for task in page.tasks]
        cursor = page.cursor
        if cursor is None:
            break
        await bench.submit_many(2)
    assert seen == old[::-1]


@pytest.mark.verbs("find", "delete")
async def test_paging_while_tasks_are_deleted(bench):
    tasks = await bench.submit_many(9)
    for lease in await bench.claim(9):
        await bench.settle(lease)
    page = await bench.store.find(Query(limit=3))
    assert [task.id for task in page.tasks] == tasks[:5:-1]
    await bench.store.delete([tasks[6], tasks[5]])
    rest = await bench.store.find(Query(limit=10, cursor=page.cursor))
    assert [task.id for task in rest.tasks] == tasks[4::-1]


@pytest.mark.verbs("find")
async def test_paging_while_tasks_change_state(bench):
    """A filter sees each task as it is when its page is read."""
    tasks = await bench.submit_many(6)
    ready = frozenset({State.READY})
    page = await bench.store.find(Query(states=ready, limit=2))
    assert [task.id for task in page.tasks] == tasks[:3:-1]
    await bench.claim(2)
    rest = await bench.store.find(Query(states=ready, limit=10, cursor=page.cursor))
    assert [task.id for task in rest.tasks] == [tasks[3], tasks[2]]


@pytest.mark.parametrize("cursor", ["nonsense", "", "-1", "1;2", "9" * 40, "é"])
@pytest.mark.verbs("find")
async def test_a_cursor_that_is_none_of_ours(bench, cursor):
    """Refused, or a page of nothing strange: never an error of the store's inside."""
    await bench.submit_many(1)
    with contextlib.suppress(InvalidInput):
        page = await bench.store.find(Query(cursor=cursor))
        assert len(page.tasks) <= 1


# --- stats -------------------------------------------------------------------------------------------


async def recount(bench):
    counts, cursor = Counter(), None
    while True:
        page = await bench.store.find(Query(cursor=cursor))
        counts.update((task.lane.queue, task.state) for task in page.tasks)
        cursor = page.cursor
        if cursor is None:
            return counts


async def told(bench):
    return {place: count for place, count in (await bench.store.stats()).counts.items() if count}


@pytest.mark.verbs("find", "stats", "force", "delete")
async def test_counts_equal_a_recount(bench):
    """By queue and state, exact at every step of a life."""
    assert await told(bench) == {}
    parent = bench.task(MAIL)
    await bench.submit(parent, bench.task(MAIL, depends_on=(parent.id,)), bench.task(delay=60))
    await bench.submit_many(5, policy=Policy(max_retries=0))
    assert await told(bench) == await recount(bench)
    leases = await bench.claim(10)
    assert await told(bench) == await recount(bench)
    for lease, outcome in zip(leases, Outcome, strict=True):
        await bench.settle(lease, outcome, delay=60)
        assert await told(bench) == await recount(bench)
    await bench.store.force([Force(leases[0].task, Action.REPLAY), Force(parent.id, Action.CANCEL)])
    assert await told(bench) == await recount(bench)
    await bench.store.delete([task.id for task in (await bench.store.find(Query())).tasks])
    assert await told(bench) == await recount(bench)
    assert (await bench.store.stats()).now_us > 0


# --- board -------------------------------------------------------------------------------------------


@pytest.mark.verbs("board")
async def test_the_board_shows_lanes_with_ready_tasks(bench):
    """With the age of their heads, as of one moment."""
    high = LANE._replace(priority=9)
    await bench.submit(bench.task(MAIL, delay=60))
    first = await bench.put_one(bench.task(LANE))
    await bench.advance(2)
    await bench.submit(bench.task(LANE), bench.task(high))
    board = await bench.store.board()
    heads = {head.lane: head for head in board.heads}
    assert set(heads) == {LANE, high}
    assert abs(heads[LANE].seq - first.created_at_us) < bench.us(1)
    assert heads[high].seq > heads[LANE].seq
    assert heads[high].lane_id == bench.lane_ids[high]
    assert board.now_us >= heads[high].seq - bench.us(1)


@pytest.mark.verbs("board")
async def test_the_board_follows_claims(bench):
    await bench.submit_many(1)
    lease = await bench.claim_one()
    assert list((await bench.store.board()).heads) == []
    await bench.settle(lease, Outcome.RELEASED)
    assert [head.lane for head in (await bench.store.board()).heads] == [LANE]


@pytest.mark.verbs("set_limit", "set_queue")
@pytest.mark.verbs("board")
async def test_the_board_shows_what_holds_lanes_back(bench):
    rule = LimitRule(max_running=3, rate=5, per_s=2.0, burst=7, max_waiting=100)
    await bench.store.set_limit("queue:mail", rule)
    await bench.store.set_limit("key:*", LimitRule(max_running=1))
    await bench.store.set_queue("reports", "alice")
    await bench.submit_many(2, MAIL)
    await bench.claim(2)
    board = await bench.store.board()
    assert dict(board.rules) == {"queue:mail": rule, "key:*": LimitRule(max_running=1)}
    assert dict(board.paused) == {"reports": "alice"}
    assert board.usage["queue:mail"].running == 2
    assert board.usage["queue:mail"].arrival_us > board.now_us - bench.us(1)
    assert "kind:send" not in board.usage


# --- shares ------------------------------------------------------------------------------------------


@pytest.mark.verbs("board", "set_weight")
async def test_charges_are_kept_by_weight(bench):
    """max(virtual, floor) + cost / weight, tenant by tenant."""
    await bench.store.set_weight("acme", 2.0)
    await bench.exchange(charges=[Charge("acme", 100.0, 0.0), Charge("other", 100.0, 0.0)])
    await bench.exchange(charges=[Charge("acme", 60.0, 20.0), Charge("other", 10.0, 500.0)])
    shares = (await bench.store.board()).shares
    assert (shares["acme"].weight, shares["acme"].virtual_us) == (2.0, 80.0)
    assert (shares["other"].weight, shares["other"].virtual_us) == (1.0, 510.0)


@pytest.mark.verbs("board")
async def test_a_correction_may_be_negative(bench):
    await bench.exchange(charges=[Charge("acme", 100.0, 0.0)])
    await bench.exchange(charges=[Charge("acme", -40.0, 0.0)])
    assert (await bench.store.board()).shares["acme"].virtual_us == 60.0


@pytest.mark.verbs("board")
async def test_two_charges_of_one_tenant_in_a_batch(bench):
    await bench.exchange(charges=[Charge("acme", 1.0, 0.0), Charge("acme", 2.0, 0.0)])
    assert (await bench.store.board()).shares["acme"].virtual_us == 3.0


@pytest.mark.verbs("find")
async def test_a_page_of_heavy_tasks_is_shorter(bench):
    """And the next one goes on: a reader may not hold up everybody, nor fill the memory of the node."""
    heavy = b'"' + b"x" * 1_000_000 + b'"'
    tasks = [id_ for _ in range(4) for id_ in await bench.submit_many(10, payload=heavy)]
    page = await bench.store.find(Query(limit=1000))
    assert 0 < sum(len(task.payload) for task in page.tasks) <= PAGE_BYTES + len(heavy)
    assert page.cursor is not None
    assert await found(bench, limit=1000) == tasks[::-1]
