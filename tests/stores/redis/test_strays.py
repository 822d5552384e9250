"""What is left over, or comes in numbers that nobody thought of, must not stop anybody else."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from mainspring import hints
from mainspring.core.limits import LimitRule
from mainspring.core.model import Lane, State, UniqueRule
from mainspring.core.progress import LogPiece
from mainspring.ports import Answer, Append
from tests.stores.redis.test_faults import Alone
from tests.wakeups import Woken

LIMIT_S = 60


def admin(url):
    return Redis.from_url(url.partition("?")[0])


async def test_a_lost_task_under_a_unique_rule_stops_no_other(url, tmp_path):
    async with Alone(url, tmp_path) as bench, admin(url) as client:
        rule = UniqueRule(b"\1" * 16, frozenset({State.READY}), None)
        (lost,) = await bench.submit(bench.task(unique=rule))
        await client.hdel(bench.store._db.keys["heads"], lost)
        (task,) = await bench.submit(bench.task(unique=rule))
        assert await bench.states(task) == [State.READY]


async def test_a_lapsed_lease_in_a_lost_lane_stops_no_other(url, tmp_path):
    async with Alone(url, tmp_path) as bench, admin(url) as client:
        other = Lane("other", "echo", "default", 5)
        await bench.submit_many(1)
        await bench.submit_many(1, other)
        lost = await bench.claim_one(lanes=[other], lease=0.001)
        lease = await bench.claim_one(worker="w2", lease=0.001)
        await client.hdel(bench.store._db.keys["lanes"], lost.lane_id)
        async with asyncio.timeout(LIMIT_S):
            while not (lapsed := await bench.store.expired(10)):
                await asyncio.sleep(0)
        assert [one.task for one in lapsed] == [lease.task]


@pytest.mark.parametrize("text", ["{", "7", "[]", '["other"]', "\xff"])
async def test_a_lane_that_cannot_be_read_stops_no_other(url, tmp_path, text):
    async with Alone(url, tmp_path) as bench, admin(url) as client:
        other = Lane("other", "echo", "default", 5)
        (task,) = await bench.submit_many(1)
        (damaged,) = await bench.submit_many(1, other)
        number = await bench.lane_id(other)
        await client.hset(bench.store._db.keys["lanes"], number, text)
        assert [head.lane.queue for head in (await bench.store.board()).heads] == ["default"]
        answer = await bench.ask_for()
        assert [lease.task for lease in answer.leases] == [task]
        assert number in answer.empty
        findings = (await bench.store.audit(None, 100)).findings
        assert f"task {damaged}" in [finding.subject for finding in findings]


async def test_a_run_in_a_lost_lane_keeps_nobody_from_being_explained(url, tmp_path):
    async with Alone(url, tmp_path) as bench, admin(url) as client:
        other = Lane("other", "echo", "default", 5)
        await bench.store.set_limit("kind:echo", LimitRule(max_running=1))
        await bench.submit_many(1, other)
        lost = await bench.claim_one()
        (task,) = await bench.submit_many(1)
        await client.hdel(bench.store._db.keys["lanes"], lost.lane_id)
        around = await bench.store.surroundings(task, 5)
        assert around.task.id == task


async def test_more_logs_in_one_call_than_a_command_has_arguments(url, tmp_path):
    async with Alone(url, tmp_path) as bench:
        await bench.submit_many(9_000)
        leases = await bench.claim(limit=9_000)
        assert len(leases) == 9_000
        lines = [Append(lease.task, lease.token, log=[LogPiece(0, "out", 1, "x")]) for lease in leases]
        answers = await bench.store.append(lines)
        assert set(answers) == {Answer.OK}


async def test_a_message_that_makes_no_sense_is_a_hint_all_the_same(url, tmp_path, monkeypatch):
    for name in ("LOOK_SOON_S", "LOOK_LATE_S", "LOOK_WHILE_HEARING_S"):
        monkeypatch.setattr(hints, name, 60.0)
    async with Alone(url, tmp_path) as bench, admin(url) as client:
        woken = asyncio.Event()
        bench.store.listen(Woken(woken.set))
        async with asyncio.timeout(LIMIT_S):
            await woken.wait()
            for text in (b"\xff\xfe", b"", b"x y z:w"):
                woken.clear()
                await client.publish(bench.store._db.channel, text)
                await woken.wait()


async def test_a_store_that_was_opened_again_hears_again(url, tmp_path, monkeypatch):
    for name in ("LOOK_SOON_S", "LOOK_LATE_S", "LOOK_WHILE_HEARING_S"):
        monkeypatch.setattr(hints, name, 60.0)
    async with Alone(url, tmp_path) as bench, admin(url) as client:
        first, second = asyncio.Event(), asyncio.Event()
        bench.store.listen(Woken(first.set))
        await bench.store.close()
        await bench.store.open()
        bench.store.listen(Woken(second.set))
        async with asyncio.timeout(LIMIT_S):
            await second.wait()
            second.clear()
            await client.publish(bench.store._db.channel, b"other *")
            await second.wait()


@asynccontextmanager
async def watching(url):
    """Gives what the server is asked from then on up to the next ECHO, that of scripts too."""
    path = url.partition("?")[0].removeprefix("unix://")
    reader, writer = await asyncio.open_unix_connection(path, limit=1 << 24)
    try:
        writer.write(b"MONITOR\r\n")
        assert await reader.readline() == b"+OK\r\n"

        async def asked():
            while b'"ECHO"' not in (line := await reader.readline()):
                yield line

        yield asked
    finally:
        writer.close()
        await writer.wait_closed()


async def test_of_a_wide_family_no_more_is_read_than_a_settle_can_release(url, tmp_path):
    """The server does nothing else meanwhile: what is left to a later pass must not be read for nothing."""
    async with Alone(url, tmp_path) as bench, admin(url) as client:
        parents = [bench.task() for _ in range(2)]
        children = [bench.task(depends_on=(parent.id,)) for parent in parents for _ in range(1500)]
        await bench.submit(*parents, *children)
        leases = await bench.claim(2)
        async with watching(url) as asked:
            await bench.settle_lines(*[bench.line(lease) for lease in leases])
            await client.echo("done")
            heads = f'"HMGET" "{bench.store._db.keys["heads"]}"'.encode()
            read = [line.partition(heads)[2].count(b" ") async for line in asked() if heads in line]
        assert 500 <= sum(read) <= 510
        await bench.resolve_all()
        assert await bench.states(*[child.id for child in children]) == [State.READY] * 3000
