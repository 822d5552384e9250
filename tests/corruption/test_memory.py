"""The memory store, spoiled as a bug would: what it finds and mends, and that the work goes on to its end."""

import pytest

from mainspring.core.limits import names
from mainspring.services.doctor import examine
from tests.conformance.bench import MemoryBench
from tests.corruption.course import run, table
from tests.corruption.living import Living
from tests.corruption.memory_classes import CLASSES, QUEUES, Ground


async def course(folder, each, seed):
    async with MemoryBench(folder) as bench:
        living = Living(bench, each)
        await living.build()
        assert (await examine(bench.store)).findings == []
        tables = bench.store._tables
        ground = Ground(tables, seed, each)
        planted = {kind.__name__: kind(ground) for kind in CLASSES}
        lanes = [(lane_id, lane) for lane_id, lane in tables.lanes.items() if lane.queue in QUEUES]
        touched = {*ground.taken, *QUEUES, *(lane_id for lane_id, _ in lanes)}
        touched |= {name for _, lane in lanes for name in names(lane)}
        found = await run(bench.store, planted, touched)
        print("\n" + table(found.fates))
        for kind, fate in found.fates.items():
            assert fate.planted == each, kind
            assert fate.found == fate.planted == fate.repaired, kind
        assert found.unexplained == []
        assert found.left == []
        await living.rest()
        assert await living.finish() == []


@pytest.mark.limit(600)
async def test_every_class(tmp_path):
    """80 of each class, at random: all found, all repaired, and every task ends."""
    await course(tmp_path, 80, 1)


@pytest.mark.parametrize("seed", range(2, 8))
async def test_other_rows(tmp_path, seed):
    await course(tmp_path, 5, seed)
