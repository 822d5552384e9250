"""Kinds that have to be switched on, in runner processes: which are claimed, and what ends them."""

import asyncio
import os
import signal

import msgspec
import pytest

from mainspring.clock import SystemClock
from mainspring.core.lifecycle import Outcome
from mainspring.errors import InvalidInput
from mainspring.ports import Answer
from mainspring.sdk import Handler, Registry
from mainspring.worker.allowed import NOTHING, Allowed
from mainspring.worker.kinds import allowed_kinds, handlers_of
from mainspring.worker.supervisor import ProcessEngine
from tests.worker.scripted import ScriptedSource, working
from tests.worker.web import answer, silent, web


def runners(allowed, app="", grace_s=10):
    return ProcessEngine(app, SystemClock(), allowed=allowed, grace_s=grace_s, log_level="warning")


@pytest.mark.parametrize(
    ("allowed", "kinds"),
    [
        (NOTHING, set()),
        (Allowed(commands=True), {"command"}),
        (Allowed(http=True), {"http"}),
        (Allowed(file_root="."), {"file"}),
        (Allowed(commands=True, http=True, file_root="."), {"command", "http", "file"}),
        (Allowed(http_private=("127.0.0.1",)), set()),
    ],
)
async def test_a_worker_claims_what_it_is_allowed_and_nothing_else(allowed, kinds):
    source = ScriptedSource()
    async with working(source, runners(allowed)):
        await source.put("echo")
        await source.settled()
    assert set(source.requests[0].kinds) == {"echo", "sleep"} | kinds
    in_process = handlers_of(None, allowed_kinds(allowed, SystemClock()))
    assert set(in_process.kinds) == set(source.requests[0].kinds)


def test_an_application_cannot_take_a_kind_that_is_on():
    """One that is off is free: an application may have an `http` of its own."""
    app = Registry(Handler("http", print))
    assert handlers_of(app, allowed_kinds(NOTHING, SystemClock())).get("http") is not None
    with pytest.raises(InvalidInput, match="there is a handler for 'http' already"):
        handlers_of(app, allowed_kinds(Allowed(http=True), SystemClock()))


async def test_http_and_file_run_in_runners(tmp_path):
    allowed = Allowed(http=True, http_private=("127.0.0.1",), file_root=str(tmp_path))
    source = ScriptedSource()
    async with web() as w, working(source, runners(allowed)):
        w.pages["/"] = answer(200, b"hello")
        call = await source.put("http", {"url": w.url()})
        refused = await source.put("http", {"url": w.url(host="127.0.0.2")})
        write = await source.put("file", {"operation": "write", "path": "a/b", "content": "x"})
        outside = await source.put("file", {"operation": "read", "path": "../b"})
        await source.settled(4)
    assert msgspec.json.decode(source.report_on(call).result)["body"] == "hello"
    assert source.outcome_of(write) is Outcome.SUCCEEDED
    assert (tmp_path / "a/b").read_text() == "x"
    failures = [source.report_on(lease) for lease in (refused, outside)]
    assert [(r.error_type, r.retryable) for r in failures] == [
        ("AddressRefused", False),
        ("BadPayload", False),
    ]


async def test_a_cancelled_call_hangs_up():
    """Peers 98-99: the cancel of a running task reaches its connection, in a runner too."""
    source = ScriptedSource(lease_s=0.3)
    async with web() as w, working(source, runners(Allowed(http=True, http_private=("127.0.0.1",)))):
        w.pages["/"] = silent
        lease = await source.put("http", {"url": w.url()})
        await w.came.wait()
        source.answers["renew", lease.task] = Answer.CANCEL
        await w.hung_up.wait()
        await source.settled()
    assert source.outcome_of(lease) is Outcome.CANCELLED


async def test_a_write_whose_runner_is_killed_leaves_the_old_file(tmp_path):
    """And the run after it does the whole of it."""
    (tmp_path / "big").touch()
    os.truncate(tmp_path / "big", 512 << 20)  # takes no space, but time to copy
    source, copy = ScriptedSource(), {"operation": "copy", "path": "big", "to": "target"}
    async with working(source, runners(Allowed(commands=True, file_root=str(tmp_path)))):
        while True:
            (tmp_path / "target").write_text("old")
            runner, before = await slow_runner(source), set(os.listdir(tmp_path))
            reports, lost = len(source.reports), await source.put("file", copy)
            while set(os.listdir(tmp_path)) == before and len(source.reports) == reports:
                await asyncio.sleep(0)
            os.kill(runner, signal.SIGKILL)
            await source.settled(reports + 1)
            if source.outcome_of(lost) is Outcome.LOST:
                break  # else the copy was quicker than the kill
        assert (tmp_path / "target").read_text() == "old"
        os.truncate(tmp_path / "big", 3)
        again = await source.put("file", copy, task=lost.task, attempt=2, losses=1)
        await source.settled(reports + 2)
    assert source.outcome_of(again) is Outcome.SUCCEEDED
    assert (tmp_path / "target").read_bytes() == b"\0\0\0"


async def slow_runner(source):
    """The process that runs the next task. Wherever there is not enough for all, it gets next to nothing."""
    reports, told = len(source.reports), await source.put("command", {"command": "echo $PPID"})
    await source.settled(reports + 1)
    runner = int(msgspec.json.decode(source.report_on(told).result)["stdout"])
    for thread in os.listdir(f"/proc/{runner}/task"):
        os.setpriority(os.PRIO_PROCESS, int(thread), 19)
    return runner
