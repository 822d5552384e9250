"""A file with a living workload is spoiled in every way there is: the audit finds all of it, repair mends it,
and the work goes on to its end."""

import pytest

from mainspring.core.laws import LAWS
from mainspring.services.doctor import examine
from tests.conformance.bench import SqliteBench
from tests.corruption.course import run, table
from tests.corruption.living import Living
from tests.corruption.sqlite_classes import CLASSES, Ground

EACH = 80
TOLD_ONLY = frozenset({"unreadable_limit"})


def spoil(path, seed, each):
    """Plant every class, and say what and on which rows."""
    ground = Ground(path, seed, each)
    planted = {kind.__name__: kind(ground) for kind in CLASSES}
    queues = {queue for (queue,) in ground.db.execute("SELECT queue FROM counts")}
    touched = ground.taken | queues | {"tasks_ready"}
    ground.db.close()
    return planted, touched


@pytest.mark.limit(240)
async def test_every_class(tmp_path):
    """80 of each class, at random: all found, all repaired or reported, and every task ends."""
    async with SqliteBench(tmp_path) as bench:
        bench.breaks = TOLD_ONLY
        living = Living(bench, EACH)
        await living.build()
        assert (await examine(bench.store)).findings == []

        planted, touched = spoil(str(tmp_path / "store.db"), 1, EACH)
        course = await run(bench.store, planted, touched)
        print("\n" + table(course.fates))

        assert len(course.fates) >= 12
        for name, fate in course.fates.items():
            assert fate.planted >= EACH, name
            assert fate.found == fate.planted, name
            assert fate.repaired + fate.reported == fate.planted, name
            assert (fate.reported > 0) == (name in TOLD_ONLY), name
        assert course.unexplained == []
        assert {finding.law for finding in course.left} == TOLD_ONLY
        assert all(not LAWS[law].mending for law in TOLD_ONLY)

        await living.rest()
        assert await living.finish() == []
        assert {finding.law for finding in (await examine(bench.store)).findings} == TOLD_ONLY


@pytest.mark.limit(240)
@pytest.mark.parametrize("seed", range(2, 6))
async def test_other_rows(tmp_path, seed):
    """A few of each, on other rows, in other ways."""
    async with SqliteBench(tmp_path) as bench:
        bench.breaks = TOLD_ONLY
        living = Living(bench, 6)
        await living.build()
        planted, touched = spoil(str(tmp_path / "store.db"), seed, 6)
        course = await run(bench.store, planted, touched)
        assert all(
            fate.found == fate.planted == fate.repaired + fate.reported for fate in course.fates.values()
        )
        assert course.unexplained == []
        assert {finding.law for finding in course.left} == TOLD_ONLY
        await living.rest()
        assert await living.finish() == []


async def spoiled(tmp_path, bench, *kinds, each=2):
    """A small store with these classes in it: the store's living workload and what was planted."""
    living = Living(bench, 4)
    await living.build()
    ground = Ground(str(tmp_path / "store.db"), 7, each)
    planted = {kind.__name__: kind(ground) for kind in kinds}
    ids = dict(ground.db.execute("SELECT n, id FROM tasks"))
    ground.db.close()
    return living, planted, ids
