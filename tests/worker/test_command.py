"""The `command` kind: real commands, what is kept of them, and that nothing of them stays behind."""

import asyncio
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from mainspring.clock import SystemClock
from mainspring.core.lifecycle import Outcome
from mainspring.core.model import Lane, Lease, State
from mainspring.ports import Answer, Parent
from mainspring.sdk.context import Cancellation, Context
from mainspring.worker import InProcessEngine
from mainspring.worker.allowed import Allowed
from mainspring.worker.command import KEPT_BYTES, CommandFailed, Commands
from mainspring.worker.kinds import allowed_kinds, handlers_of
from mainspring.worker.warden import Warden
from tests.worker.processes import appears, gone
from tests.worker.scripted import ScriptedSource, working


@pytest.fixture(scope="module")
def warden():
    warden = Warden.start()
    yield warden
    warden.close()


@pytest.fixture
def engine(warden):
    clock = SystemClock()
    return InProcessEngine(
        handlers_of(None, allowed_kinds(Allowed(commands=True), clock, warden)), clock, grace_s=10
    )


async def run(engine, payload, **fields):
    """The report on one command."""
    source = ScriptedSource()
    async with working(source, engine):
        lease = await source.put("command", payload, **fields)
        await source.settled()
    return source.report_on(lease)


def result(report):
    assert report.outcome is Outcome.SUCCEEDED, report.error
    return msgspec.json.decode(report.result)


async def test_a_shell_command_and_its_output(engine):
    """S1-07, S1-42: any shell command, operators and all."""
    report = await run(engine, {"command": "echo out && echo err >&2 | cat; exit 0"})
    assert result(report) == {"exit_code": 0, "stdout": "out\n", "stderr": "err\n", "truncated": False}


async def test_a_list_is_run_without_a_shell(engine):
    report = await run(engine, {"command": ["printf", "%s|", "a b", "$HOME", "*"]})
    assert result(report)["stdout"] == "a b|$HOME|*|"


async def test_environment_folder_and_input(engine, tmp_path):
    script = "pwd; echo $COLOUR $MAINSPRING_TASK $MAINSPRING_ATTEMPT; cat"
    payload = {"command": script, "env": {"COLOUR": "red"}, "cwd": str(tmp_path), "stdin": "given\n" * 50_000}
    lines = result(await run(engine, payload, attempt=2, task="t-1"))["stdout"].splitlines()
    assert lines[:3] == [str(tmp_path), "red t-1 2", "given"]


async def test_input_that_the_command_does_not_read_is_no_error(engine):
    report = await run(engine, {"command": "exec 0<&-; echo done", "stdin": "x" * 1_000_000})
    assert result(report)["stdout"] == "done\n"


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("echo no such thing >&2; exit 3", 3, "exit code 3: no such thing"),
        ("exit 4", 4, "exit code 4"),
        ("kill -TERM $$", -15, "ended by SIGTERM"),
    ],
)
async def test_another_exit_code_is_a_failure_with_the_output(engine, command, code, says):
    report = await run(engine, {"command": command})
    assert (report.outcome, report.error_type, report.retryable) == (Outcome.FAILED, "CommandFailed", True)
    error = msgspec.json.decode(report.error)
    assert (error["exit_code"], error["message"]) == (code, says)
    assert {"stdout", "stderr", "truncated"} <= error.keys()


@pytest.mark.parametrize(
    ("command", "place"),
    [
        (["/bin/sh", "-c", "exit 3"], "sh: exit code 3"),
        ("  false --number 7", "false: exit code 1"),
        ("kill -KILL $$", "kill: ended by SIGKILL"),
    ],
)
async def test_failures_are_grouped_by_program_and_exit_code(engine, command, place):
    """What the program wrote differs from run to run."""
    report = await run(engine, {"command": command})
    assert msgspec.json.decode(report.error)["place"] == place


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (None, "payload: expected object"),
        ({}, "payload.command: missing"),
        ({"command": ""}, "payload.command: it is empty"),
        ({"command": " "}, "payload.command: it is empty"),
        ({"command": []}, "payload.command: it is empty"),
        ({"command": [""]}, "payload.command: it is empty"),
        ({"command": 5}, "payload.command: expected str | array"),
        ({"command": "a\0b"}, "payload.command: has a NUL character"),
        ({"command": "ls", "cwd": "a\0b"}, "payload.cwd: has a NUL character"),
        ({"command": "ls", "env": {"A=B": "c"}}, "payload.env: not a variable: 'A=B'"),
        ({"command": "ls", "env": {"": "c"}}, "payload.env: not a variable: ''"),
        ({"command": "ls", "env": {"A": "\0"}}, "payload.env: not a variable: 'A'"),
        ({"command": "ls", "env": {"A": 1}}, "payload.env"),
        ({"command": "ls", "shell": "zsh"}, "payload.shell: unknown field"),
        ({"command": "ls", "sdtin": ""}, "payload.sdtin: unknown field; did you mean stdin?"),
        ({"command": ["ls", "x" * 300_000]}, "payload.command: longer than this system can start"),
        ({"command": "cat", "stdin": "x", "stdin_from": "parents"}, "payload.stdin_from: given beside stdin"),
        ({"command": "cat", "stdin_from": "nowhere"}, "payload.stdin_from: invalid enum value"),
    ],
)
async def test_what_is_no_command_fails_and_is_not_retried(engine, payload, says):
    report = await run(engine, payload)
    assert (report.outcome, report.error_type, report.retryable) == (Outcome.FAILED, "BadPayload", False)
    assert msgspec.json.decode(report.error)["message"].startswith(says)


async def test_the_servers_token_is_not_handed_to_commands(engine, monkeypatch):
    """A command that prints its environment would publish it to all who may read tasks."""
    monkeypatch.setenv("MAINSPRING_TOKEN", "s3cret")
    monkeypatch.setenv("MAINSPRING_LISTEN", "127.0.0.1:1")
    printed = result(await run(engine, {"command": "env"}))["stdout"]
    assert "s3cret" not in printed
    assert "MAINSPRING_LISTEN=127.0.0.1:1" in printed


async def test_a_program_that_is_not_there_fails(engine):
    report = await run(engine, {"command": ["/no/such/program"]})
    assert (report.outcome, report.error_type) == (Outcome.FAILED, "FileNotFoundError")


async def test_of_much_output_the_head_and_the_tail_are_kept(engine):
    script = f"import sys; sys.stdout.write('head' + 'x' * {3 * KEPT_BYTES} + 'tail'); sys.stderr.write('e')"
    output = result(await run(engine, {"command": [sys.executable, "-c", script]}))
    text = output["stdout"]
    assert output["truncated"]
    assert text.startswith("headx")
    assert text.endswith("xtail")
    assert f"[{2 * KEPT_BYTES + 8} bytes left out]" in text
    assert len(text) < KEPT_BYTES + 100
    assert output["stderr"] == "e"


async def test_output_that_is_no_text_is_shown_as_well_as_can_be(engine):
    assert result(await run(engine, {"command": r"printf 'a\377b\000c'"}))["stdout"] == "a\ufffdb\x00c"


async def test_output_is_told_while_the_command_runs(engine, tmp_path):
    """S1-43: `Progress: i/10` each second is seen each second."""
    source, gate = ScriptedSource(), tmp_path / "gate"
    script = f"echo Progress: 1/2; echo odd >&2; while [ ! -e {gate} ]; do sleep 0.01; done; printf 2/2"
    async with working(source, engine):
        await source.put("command", {"command": script})
        seen = await source.logged(18)
        assert source.reports == []
        assert sorted((piece.stream, piece.text) for piece in seen) == [
            ("stderr", "odd\n"),
            ("stdout", "Progress: 1/2\n"),
        ]
        gate.touch()
        await source.settled()
    assert source.texts()[-1] == "2/2"
    assert source.calls.index("settle") > max(n for n, verb in enumerate(source.calls) if verb == "append")


async def test_characters_cut_in_two_by_the_pipe_are_told_whole(engine):
    script = "printf 'a\\303'; sleep 0.05; printf '\\244b\\342\\202'"
    source = ScriptedSource()
    async with working(source, engine):
        await source.put("command", {"command": script})
        await source.settled()
    assert "".join(source.texts()) == "aäb\ufffd"


async def test_a_chatty_command_is_not_held_up_and_shows_what_it_lost(engine):
    """Its log keeps the end; the result keeps both ends; the run takes as long as its output."""
    script = f"import sys; sys.stdout.write('head' + 'x' * {30 * 1024 * 1024} + 'tail')"
    source = ScriptedSource()
    async with working(source, engine):
        lease = await source.put("command", {"command": [sys.executable, "-c", script]})
        await source.settled()
    output, log = result(source.report_on(lease)), source.log()
    assert output["stdout"].startswith("headx")
    assert log[-1].text.endswith("xtail")
    assert log[-1].offset + len(log[-1].text) == 8 + 30 * 1024 * 1024
    assert sum(len(piece.text) for piece in log) < 30 * 1024 * 1024


async def test_parents_may_be_read_from_the_standard_input(engine):
    """Their results as one JSON object, number for number."""
    source = ScriptedSource()
    source.parents = [
        Parent("id-1", "fetch", State.SUCCEEDED, b'{"n":12345678901234567890123}'),
        Parent("id-2", None, State.FAILED, None, b'{"type":"E"}'),
    ]
    async with working(source, engine):
        lease = await source.put("command", {"command": "cat", "stdin_from": "parents"})
        await source.settled()
    assert result(source.report_on(lease))["stdout"] == (
        '{"fetch":{"id":"id-1","state":"succeeded","result":{"n":12345678901234567890123}},'
        '"id-2":{"id":"id-2","state":"failed","error":{"type":"E"}}}'
    )


async def told(warden, mark, script, *reasons):
    """Run a script, name reasons to end as soon as it has said that it runs; what becomes of it."""
    lane, payload = Lane("default", "command", "", 5), msgspec.json.encode({"command": script})
    lease = Lease("t-1", 1, 1, lane, payload, attempt=1)
    ctx = Context(lease, Cancellation(), SimpleNamespace(log=lambda stream, text: None))
    running = asyncio.create_task(asyncio.to_thread(Commands(SystemClock(), warden).run, ctx))
    await appears(mark)
    for reason in reasons:
        ctx.cancelled.set(reason)
        await asyncio.sleep(0)
    return await running


async def test_told_to_end_the_command_and_its_children_do(warden, tmp_path):
    """It is asked first: a command that cleans up on SIGTERM may."""
    mark, cleaned = tmp_path / "mark", tmp_path / "cleaned"
    script = (
        f"trap 'touch {cleaned}; exit 0' TERM; sleep 3600 & echo $! > {mark}.new; mv {mark}.new {mark}; wait"
    )
    with pytest.raises(CommandFailed):
        await told(warden, mark, script, "timeout")
    assert cleaned.exists()
    await gone(await appears(mark))


async def test_a_command_that_ignores_being_asked_is_killed(warden, tmp_path):
    mark = tmp_path / "mark"
    script = f"trap '' TERM; echo $$ > {mark}.new; mv {mark}.new {mark}; while true; do sleep 1; done"
    with pytest.raises(CommandFailed, match="ended by SIGKILL"):
        await told(warden, mark, script, "timeout")
    await gone(await appears(mark))


async def test_out_of_time_it_fails_by_that_name(engine, tmp_path):
    report = await run(engine, {"command": "sleep 3600"}, timeout_us=100_000)
    assert (report.outcome, report.error_type) == (Outcome.FAILED, "Timeout")


@pytest.mark.parametrize(("how", "outcome"), [("cancel", Outcome.CANCELLED), ("drain", Outcome.RELEASED)])
async def test_a_command_that_ends_well_because_it_was_told_to_end_has_not_succeeded(
    engine, tmp_path, how, outcome
):
    """Servers and loops do so at SIGTERM: their work would be lost if it counted as done."""
    mark = tmp_path / "mark"
    script = (
        f"trap 'exit 0' TERM; echo $$ > {mark}.new; mv {mark}.new {mark}; while true; do sleep 0.01; done"
    )
    source = ScriptedSource(lease_s=0.3)
    async with working(source, engine, drain_grace_s=0.0) as worker:
        lease = await source.put("command", {"command": script})
        await appears(mark)
        if how == "cancel":
            source.answers["renew", lease.task] = Answer.CANCEL
        else:
            worker.drain()
        await source.settled()
    assert source.outcome_of(lease) is outcome


async def test_at_its_soft_timeout_a_command_is_told_and_may_finish(warden, tmp_path):
    """It gets SIGTERM and no more: what it then does within its hard timeout counts."""
    mark = tmp_path / "mark"
    ready = f"echo $$ > {mark}.new; mv {mark}.new {mark}"
    finishes = f"trap 'echo told; exit 0' TERM; {ready}; while true; do sleep 0.01; done"
    assert (await told(warden, mark, finishes, "soft_timeout"))["stdout"] == "told\n"
    mark.unlink()
    with pytest.raises(CommandFailed, match=r"^over its soft timeout: ended by SIGTERM$"):
        await told(warden, mark, f"{ready}; exec sleep 3600", "soft_timeout")


async def test_deaf_to_its_soft_timeout_a_command_is_killed_at_its_hard_one(warden, tmp_path):
    mark = tmp_path / "mark"
    deaf = f"trap '' TERM; echo $$ > {mark}.new; mv {mark}.new {mark}; while true; do sleep 0.01; done"
    with pytest.raises(CommandFailed, match=r"^ended by SIGKILL$"):
        await told(warden, mark, deaf, "soft_timeout", "timeout")


async def test_what_a_command_leaves_running_ends_with_it(engine, tmp_path):
    """Else every task could leave a process behind; the output pipe it holds must not hang the task."""
    mark = tmp_path / "mark"
    script = f"sleep 3600 & echo $! > {mark}.new; mv {mark}.new {mark}; echo done"
    assert result(await run(engine, {"command": script}))["stdout"] == "done\n"
    await gone(await appears(mark))


async def test_no_file_stays_open_behind_a_command(engine):
    await run(engine, {"command": "true"})
    before = set(os.listdir("/proc/self/fd"))
    source = ScriptedSource()
    async with working(source, engine):
        for _ in range(20):
            await source.put("command", {"command": "echo x"})
        await source.settled(20)
    assert set(os.listdir("/proc/self/fd")) <= before


async def test_the_warden_ends_the_groups_of_an_owner(warden, tmp_path):
    """And of no other."""
    ended, kept = tmp_path / "ended", tmp_path / "kept"
    children = [await sleeper(path) for path in (ended, kept)]
    pids = [await appears(path) for path in (ended, kept)]
    warden.add(pids[0], owner=1_000_001)
    warden.add(pids[1], owner=1_000_002)
    warden.end(1_000_001)
    assert await children[0].wait() == -9
    assert children[1].returncode is None
    warden.end(1_000_002)
    assert await children[1].wait() == -9


async def test_a_group_that_has_ended_is_forgotten(warden, tmp_path):
    """Its number may be somebody else's by now."""
    child = await sleeper(tmp_path / "mark")
    warden.add(child.pid, owner=1_000_003)
    warden.remove(child.pid, owner=1_000_003)
    warden.end(1_000_003)
    other = await sleeper(tmp_path / "other")
    warden.add(other.pid, owner=1_000_003)
    warden.end(1_000_003)
    assert await other.wait() == -9
    assert child.returncode is None
    child.kill()
    await child.wait()


async def sleeper(path: Path) -> asyncio.subprocess.Process:
    script = f"echo $$ > {path}.new; mv {path}.new {path}; sleep 3600"
    return await asyncio.create_subprocess_exec("/bin/sh", "-c", script, start_new_session=True)
