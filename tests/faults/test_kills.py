"""The server is killed under load and started again on the same folder, twenty times: nothing that was
acknowledged is lost or ends twice, and all goes on by itself."""

import asyncio
import random
from statistics import median

import pytest

from tests.faults.history import look_up
from tests.faults.kinds import KINDS, OTHERS
from tests.faults.load import BACK_WITHIN_S, CLOCK, Diary, working
from tests.faults.proxy import Proxy

KILLS, CLIENTS = 20, 6


@pytest.mark.kinds(*KINDS, *OTHERS)
@pytest.mark.limit(900)
async def test_a_server_killed_twenty_times(kind, server, measured):
    """SIGKILL to the server and all of its processes, at moments drawn from the work that goes on. A store
    of class B loses its last writes with that, and is as one that never had them."""
    draw, diary = random.Random(7), Diary()
    recoveries, windows = list[float](), list[float]()
    async with Proxy(kind.socket(server)) as proxy, working(kind.url(proxy.port), diary, nodes=2) as house:
        async with house.under_load(CLIENTS):
            for _ in range(KILLS):
                written, marked_s = kind.written(server), CLOCK.monotonic()
                await diary.wait_for(draw.randint(1, 80))
                await asyncio.to_thread(server.kill)
                windows.append(CLOCK.monotonic() - marked_s)
                kind.lose_since(server, written)
                await asyncio.to_thread(server.start)
                recoveries.append(await house.clients.probe())
        assert house.clients.errors["StoreUnavailable"] >= KILLS
        await house.settled(may_be_lost=kind.loses_last_writes)
        clients = house.clients
    store = kind.store(kind.direct_url(server))
    await store.open()
    found = await look_up(store, clients.offered, clients.told, diary.words, may_lose=kind.loses_last_writes)
    await store.close()
    measured(
        tasks=found.tasks,
        kills=KILLS,
        recovery_s_median=median(recoveries),
        recovery_s_longest=max(recoveries),
        acknowledged_lost=len(found.lost),
        **({"last_writes_lost_of_s": sum(windows)} if kind.loses_last_writes else {}),
    )
    assert found.violations == []
    assert kind.loses_last_writes or not found.lost
    assert max(recoveries) < BACK_WITHIN_S
