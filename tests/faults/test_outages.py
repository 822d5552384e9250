"""The server is away, silent, or throws its clients out: calls fail with a clear error and in bounded time,
and all goes on by itself when it is back."""

import asyncio
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest

from mainspring.errors import StoreUnavailable
from mainspring.ports import PostgresOptions
from mainspring.stores.postgres import PostgresStore, connecting
from mainspring.worker import backoff
from tests.faults.history import look_up
from tests.faults.load import BACK_WITHIN_S, Diary, working
from tests.faults.proxy import Proxy

ROUNDS = 5


@asynccontextmanager
async def worked_through(kind, server, **options):
    """A house under load, which keeps every promise whatever the body does to it."""
    diary = Diary()
    async with Proxy(kind.socket(server)) as proxy, working(kind.url(proxy.port), diary, **options) as house:
        async with house.under_load(6):
            await diary.wait_for(50)
            yield proxy, house, diary
            await diary.wait_for(50)
        await house.settled()
        clients = house.clients
    store = kind.store(kind.direct_url(server))
    await store.open()
    found = await look_up(store, clients.offered, clients.told, diary.words)
    await store.close()
    assert (found.violations, found.lost) == ([], set())


def grown_to(worker) -> float:
    return worker._backoff._next_s


async def test_no_server_listens(kind, server, measured):
    """Submits are refused with 503 and when to come again; workers wait with growing pauses."""
    async with worked_through(kind, server) as (proxy, house, _):
        await proxy.refuse()
        problem = await house.refused("store_unavailable")
        assert problem["status"] == 503
        # Until the pauses of the worker have grown to their longest.
        while grown_to(house.nodes[0].worker) < backoff.LONGEST_S:
            await asyncio.sleep(0.01)
        await proxy.accept()
        recovery_s = await house.clients.probe()
    measured(recovery_s=recovery_s)
    assert recovery_s < BACK_WITHIN_S


async def test_the_server_says_nothing_any_more(kind, server, measured, monkeypatch):
    """A black hole: what is sent is swallowed, and connections of that time are never heard of again. Every
    call has an end, and after it new connections are made."""
    async with worked_through(kind, server) as (proxy, house, diary):
        # Not before all is there, which takes what it takes; and calls of before may take their 30 s.
        kind.shorten_calls(monkeypatch, 2.0)
        await diary.wait_for(100)
        proxy.fall_silent()
        problem = await house.refused("store_unavailable")
        assert problem["status"] == 503
        proxy.be_heard(again=False)
        recovery_s = await house.clients.probe()
    measured(recovery_s=recovery_s, call_limit_s=2.0)
    assert recovery_s < BACK_WITHIN_S


async def test_a_pause_is_not_an_outage(kind, server, measured):
    """The server stops for a moment and goes on where it was: no call fails."""
    async with worked_through(kind, server) as (proxy, house, _):
        errors = house.clients.errors.total()
        proxy.fall_silent()
        submit = asyncio.create_task(house.clients.probe())
        await asyncio.sleep(0.5)
        assert not submit.done()
        proxy.be_heard(again=True)
        measured(recovery_s=await submit - 0.5)
        assert house.clients.errors.total() == errors


@pytest.mark.kinds("postgres")
async def test_backends_terminated(kind, server, measured):
    """An operator ends all of the program's connections, again and again."""
    async with worked_through(kind, server, nodes=2) as (_, house, diary):
        admin = await asyncpg.connect(server.dsn())
        recoveries = []
        for _ in range(ROUNDS):
            await diary.wait_for(10)
            ended = await admin.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
            assert ended >= 2
            recoveries.append(await house.clients.probe())
        await admin.close()
    measured(rounds=ROUNDS, recovery_s_longest=max(recoveries))
    assert max(recoveries) < BACK_WITHIN_S


@pytest.mark.kinds("postgres")
async def test_others_take_all_connections(kind, start, measured):
    """max_connections is reached by other programs: submits are refused with 503, which says so."""
    server = start("-c", "max_connections=20")
    async with worked_through(kind, server) as (proxy, house, _):
        others, told = [], ""
        while "too many" not in told:
            # The node may be quicker than the others: it is thrown out until it finds no place any more.
            proxy.cut_all()
            with suppress(asyncpg.TooManyConnectionsError):
                while True:
                    others.append(await asyncpg.connect(server.dsn()))
            answer = await house.post()
            told = answer.json().get("detail", "")
        assert answer.status_code == 503
        for other in others:
            await other.close()
        recovery_s = await house.clients.probe()
    measured(recovery_s=recovery_s)
    assert recovery_s < BACK_WITHIN_S


@pytest.mark.kinds("postgres")
async def test_its_own_pool_is_busy(kind, server, monkeypatch):
    """All of the node's connections wait for a lock that somebody holds: further calls wait their turn, as
    long as a call may, and find the pool whole afterwards."""
    store = PostgresStore(server.dsn(), PostgresOptions(fewest=1, most=2))
    await store.open()
    other = await asyncpg.connect(server.dsn())
    for _ in range(ROUNDS):
        transaction = other.transaction()
        await transaction.start()
        await other.execute("LOCK TABLE mainspring.term")
        with monkeypatch.context() as shorter:
            shorter.setattr(connecting, "CALL_LIMIT_S", 0.5)
            stuck = [asyncio.create_task(store.take_term(f"node-{n}", 1_000_000)) for n in range(2)]
            waits = asyncio.create_task(store.stats())
            answers = await asyncio.gather(*stuck, waits, return_exceptions=True)
        assert [type(answer) for answer in answers[:2]] == [StoreUnavailable] * 2
        await transaction.rollback()
        assert (await store.stats()).counts == {}
    await other.close()
    await store.close()
