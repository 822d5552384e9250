"""Values at the edges of what scripts can reckon with: their numbers are floats, their texts are bytes."""

import pytest

from mainspring.core.model import Lane, NewTask, State
from mainspring.ports import Edit
from tests.stores.redis.test_faults import Alone

# The last microsecond of the year 9999: a float knows it to 32 microseconds.
LAST_US = 253_402_300_799_999_999
EDGES = (2**53 - 1, 2**53, 2**53 + 1, LAST_US - 1, LAST_US)


@pytest.mark.parametrize("instant_us", EDGES)
async def test_instants_that_users_chose_stay_as_they_are(url, tmp_path, instant_us):
    async with Alone(url, tmp_path) as bench:
        (later,) = await bench.submit(bench.task(run_at_us=instant_us, timeout_us=instant_us))
        (sooner,) = await bench.submit(bench.task(deadline_us=instant_us))
        record = await bench.get(later)
        assert (record.state, record.run_at_us, record.timeout_us) == (
            State.SCHEDULED,
            instant_us,
            instant_us,
        )
        lease = await bench.claim_one()
        assert (lease.task, lease.deadline_us) == (sooner, instant_us)
        record = await bench.get(sooner)
        assert (record.deadline_us, record.timeout_at_us) == (instant_us, instant_us)
        assert (await bench.promote()).count == 0
        assert (await bench.store.overdue(10, 0)).leases == []


async def test_an_edit_that_moves_a_task_by_a_microsecond(url, tmp_path):
    async with Alone(url, tmp_path) as bench:
        (task,) = await bench.submit(bench.task(run_at_us=LAST_US))
        record = await bench.get(task)
        edit = Edit(record.lane, record.payload, LAST_US - 1, None, None, LAST_US, None)
        edited = await bench.store.amend(task, record.version, edit)
        assert (edited.run_at_us, edited.deadline_us) == (LAST_US - 1, LAST_US)
        assert (await bench.get(task)).run_at_us == LAST_US - 1


@pytest.mark.parametrize(
    "text", ["a:b", "*", "%d", "{x}", "\\", "'", '"', "\n", "\0", "\x7f", "é", "𝄞", "=" * 400]
)
async def test_names_of_every_kind(url, tmp_path, text):
    lane = Lane(text, text, text, 5, text)
    async with Alone(url, tmp_path) as bench:
        task = NewTask(id=bench.clock.new_id(), lane=lane, payload=b"{}", name=text)
        await bench.submit(task)
        (lease,) = await bench.claim(worker=f"worker {text}")
        assert (lease.lane, lease.worker) == (lane, f"worker {text}")
        record = await bench.get(task.id)
        assert (record.lane, record.name, record.worker) == (lane, text, f"worker {text}")
        await bench.settle(lease, result=text.encode())
        assert dict((await bench.store.stats()).counts) == {(text, State.SUCCEEDED): 1}
        assert (await bench.get(task.id)).result == text.encode()
