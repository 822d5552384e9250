"""The virtual loop: time jumps, hosts freeze and die, and nothing else ever happens."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from mainspring.testing.loop import Host, Stuck, VirtualLoop


def virtually(main: Callable[[VirtualLoop], Coroutine[Any, Any, Any]]) -> Any:
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main(loop))
    finally:
        loop.end()


def test_time_jumps_to_the_next_timer():
    async def main(loop):
        seen = []
        for delay_s in (3600.0, 2.0, 86400.0):
            loop.call_later(delay_s, lambda: seen.append(loop.time()))
        await asyncio.sleep(86400.0)
        await asyncio.sleep(0)
        return seen

    assert virtually(main) == [2.0, 3600.0, 86400.0]


def test_timers_of_one_instant_run_in_the_order_they_were_made():
    async def main(loop):
        seen = []
        for name in "abc":
            loop.call_at(1.0, seen.append, name)
        await asyncio.sleep(2.0)
        return seen

    assert virtually(main) == ["a", "b", "c"]


def test_a_frozen_host_catches_up_in_order():
    async def main(loop):
        host, seen = Host(loop, "host", 1), []

        async def tick():
            for _ in range(3):
                await asyncio.sleep(1.0)
                seen.append(loop.time())

        for due_s in (2.0, 1.5):
            host.run(lambda due_s=due_s: loop.call_later(due_s, seen.append, f"due at {due_s}"))
        host.spawn(tick())
        await asyncio.sleep(0.5)
        host.freeze()
        await asyncio.sleep(5.0)
        assert seen == []
        host.thaw()
        await asyncio.sleep(10.0)
        return seen

    assert virtually(main) == ["due at 1.5", "due at 2.0", 5.5, 6.5, 7.5]


def test_a_killed_host_runs_no_finally():
    async def main(loop):
        host, seen = Host(loop, "host", 1), []

        async def work():
            try:
                await asyncio.sleep(1.0)
            finally:
                seen.append("finally")

        host.on_kill.append(lambda: seen.append("killed"))
        host.spawn(work())
        await asyncio.sleep(0.5)
        host.kill()
        await asyncio.sleep(10.0)
        return list(seen)

    assert virtually(main) == ["killed"]


def test_what_a_host_starts_is_the_hosts_own():
    async def main(loop):
        host, seen = Host(loop, "host", 1), []

        async def child():
            await asyncio.sleep(1.0)
            seen.append("child")

        async def parent():
            loop.create_task(child())
            await asyncio.sleep(1.0)
            seen.append("parent")

        host.spawn(parent())
        await asyncio.sleep(0.5)
        host.kill()
        await asyncio.sleep(10.0)
        return seen

    assert virtually(main) == []


def test_clocks_may_be_wrong_but_go_at_one_pace():
    async def main(loop):
        right, wrong = Host(loop, "right", 1).clock, Host(loop, "wrong", 2).clock
        wrong.offset_us = -3_600_000_000
        await asyncio.sleep(90.0)
        assert right.now_us() - wrong.now_us() == 3_600_000_000
        assert right.monotonic() == wrong.monotonic() == 90.0

    virtually(main)


def test_waiting_for_nothing_is_noticed():
    async def main(loop):
        await loop.create_future()

    with pytest.raises(Stuck):
        virtually(main)


def test_running_in_a_circle_is_noticed():
    async def main(loop):
        def again():
            loop.call_soon(again)

        again()
        await asyncio.sleep(1.0)

    with pytest.raises(Stuck):
        virtually(main)


def test_an_error_that_nobody_catches_is_kept():
    async def main(loop):
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(1.0)
        return loop.crashes

    (crash,) = virtually(main)
    assert "ZeroDivisionError" in crash
