"""The pump against a scripted source, in virtual time: claims, heartbeats, reports, drains."""

import asyncio
import contextlib
from itertools import pairwise

import msgspec
import pytest

from mainspring.core.lifecycle import Outcome
from mainspring.errors import InvalidInput, StoreUnavailable, Unauthenticated
from mainspring.ports import Answer
from mainspring.sdk import Context
from mainspring.worker import Worker, WorkerSettings
from mainspring.worker.backoff import LONGEST_S
from tests.worker.scripted import LEASE_S, ScriptedSource, embedded, virtual, working


async def quick(ctx: Context) -> None:
    pass


async def forever() -> None:
    await asyncio.Event().wait()


# --- claiming ---------------------------------------------------------------------------------------


@virtual
async def test_a_claim_asks_for_the_free_slots(clock):
    source = ScriptedSource()
    async with working(source, embedded(clock, forever=forever), clock, slots=4, drain_grace_s=0.0):
        for _ in range(3):
            await source.put("forever")
        while len(source.requests) < 2:
            await asyncio.sleep(0.01)
    assert [request.slots for request in source.requests] == [4, 1]
    assert source.requests[0].kinds == ("forever",)


@virtual
async def test_short_tasks_are_claimed_ahead_and_never_more_than_200(clock):
    """What drains in 50 ms, by measured durations."""

    async def takes_7_ms():
        await asyncio.sleep(0.007)

    for function, ahead in ((takes_7_ms, 28), (quick, 200)):
        source = ScriptedSource()
        async with working(source, embedded(clock, kind=function), clock, slots=4):
            for count in range(40):
                await source.put("kind")
                await source.settled(count + 1)
            await asyncio.sleep(1)
        assert source.requests[-1].slots == 4 + ahead - 1, "one was still running"


@virtual
async def test_no_claim_while_there_is_no_room(clock):
    source = ScriptedSource()
    async with working(source, embedded(clock, forever=forever), clock, slots=1, drain_grace_s=0.0):
        await source.put("forever")
        await asyncio.sleep(60)
    assert len(source.requests) == 1


@virtual
async def test_outcomes_and_the_next_claim_leave_in_the_same_turn(clock):
    source = ScriptedSource()
    async with working(source, embedded(clock, quick=quick), clock, slots=2):
        for _ in range(10):
            await source.put("quick")
        await source.settled(10)
    assert ("settle", "claim") in pairwise(source.calls)


@virtual
async def test_a_claim_whose_answer_was_lost_is_repeated_under_its_number(clock):
    source = ScriptedSource()
    source.failing["claim"] = StoreUnavailable("no answer")
    async with working(source, embedded(clock, quick=quick), clock):
        await asyncio.sleep(3)
        del source.failing["claim"]
        await source.put("quick")
        await source.settled()
    assert source.requests[0].claim_seq == 1
    assert [request.claim_seq for request in source.requests[:2]] == [1, 2]


@virtual
async def test_a_source_that_does_not_answer_is_asked_again_with_growing_pauses(clock):
    """S4-32: a worker backs off after an error, ever longer, with jitter, and goes on asking."""
    source, times = ScriptedSource(), []
    source.failing["claim"] = StoreUnavailable("no answer")
    source.on_call = lambda verb: times.append(clock.monotonic()) if verb == "claim" else None
    async with working(source, embedded(clock, quick=quick), clock):
        await asyncio.sleep(60)
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert 0.05 <= pauses[0] <= 0.1
    assert all(LONGEST_S / 2 <= pause <= LONGEST_S for pause in pauses[6:])
    assert LONGEST_S <= 2.0, "a source that is back would wait too long for its workers"
    assert len(set(pauses)) == len(pauses), "pauses without jitter let all workers come at once"


@virtual
async def test_a_worker_that_was_never_let_in_ends_with_the_reason(clock):
    source = ScriptedSource()
    source.failing["claim"] = Unauthenticated("which token?")
    worker = Worker(source, embedded(clock, quick=quick), clock, WorkerSettings(worker="w"))
    with pytest.raises(Unauthenticated):
        await worker.run()


@virtual
async def test_claimed_ahead_but_never_its_turn_goes_back(clock):
    """Tasks that turn out longer than those before them must not keep others waiting here."""
    durations = iter([0.0] * 40 + [30.0] * 100)

    async def handler():
        await asyncio.sleep(next(durations))

    source = ScriptedSource()
    async with working(source, embedded(clock, kind=handler), clock, slots=2, drain_grace_s=60.0):
        for count in range(40):
            await source.put("kind")
            await source.settled(count + 1)
        leases = [await source.put("kind") for _ in range(10)]
        await source.settled(48)
    assert [source.outcome_of(lease) for lease in leases[2:]] == [Outcome.RELEASED] * 8


# --- heartbeats -------------------------------------------------------------------------------------


@virtual
async def test_leases_are_renewed_at_a_third_and_name_what_has_started(clock):
    source = ScriptedSource()
    async with working(source, embedded(clock, forever=forever), clock, slots=1, drain_grace_s=0.0) as worker:
        worker._mean_us = 1.0  # lets it claim ahead
        first = await source.put("forever")
        await asyncio.sleep(LEASE_S / 3 - 0.1)
        assert source.renewals == []
        second = await source.put("forever")
        await asyncio.sleep(0.2)
        assert {(held.task, held.started) for held in source.renewals[0].held} == {
            (first.task, True),
            (second.task, False),
        }
        assert source.renewals[0].claim_seq == len(source.requests) - 1
    assert source.renewals[0].lease_us == LEASE_S * 1e6


@virtual
async def test_short_leases_are_renewed_in_their_own_rhythm(clock):
    source = ScriptedSource(lease_s=1.0)
    async with working(source, embedded(clock, forever=forever), clock, drain_grace_s=0.0):
        lease = await source.put("forever")
        await asyncio.sleep(3)
        assert 8 <= len(source.renewals) <= 10
    assert source.outcome_of(lease) is Outcome.RELEASED


@virtual
async def test_a_run_that_ended_is_named_until_its_report_is_taken(clock):
    """Else the heartbeat would hand it back, and it would run twice."""
    source = ScriptedSource()
    async with working(source, embedded(clock, quick=quick), clock):
        source.failing["settle"] = StoreUnavailable("no answer")
        lease = await source.put("quick")
        await asyncio.sleep(LEASE_S / 3 + 0.1)
        assert [held.task for held in source.renewals[0].held] == [lease.task]
        del source.failing["settle"]
        await source.settled()
    assert source.outcome_of(lease) is Outcome.SUCCEEDED


@virtual
async def test_a_lost_lease_stops_the_run_silently(clock):
    ended = asyncio.Event()

    async def handler():
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    source = ScriptedSource()
    async with working(source, embedded(clock, kind=handler), clock):
        lease = await source.put("kind")
        source.answers["renew", lease.task] = Answer.LOST
        await ended.wait()
        await asyncio.sleep(60)
    assert source.offered == []


@virtual
async def test_a_cancel_reaches_the_run_within_a_heartbeat(clock):
    source = ScriptedSource()
    async with working(source, embedded(clock, forever=forever), clock):
        lease = await source.put("forever")
        source.answers["renew", lease.task] = Answer.CANCEL
        await source.settled()
        assert clock.monotonic() <= LEASE_S / 3 + 0.1
    assert source.outcome_of(lease) is Outcome.CANCELLED


@virtual
async def test_a_run_that_ends_well_in_spite_of_a_cancel_has_succeeded(clock):
    async def handler():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done all the same"

    source = ScriptedSource()
    async with working(source, embedded(clock, kind=handler), clock):
        lease = await source.put("kind")
        source.answers["renew", lease.task] = Answer.CANCEL
        await source.settled()
    assert source.report_on(lease).result == b'"done all the same"'


@virtual
async def test_a_claim_answered_late_is_renewed_before_it_starts(clock):
    """The answer took so long that the lease may have lapsed on the way."""
    source, renewals_at_start = ScriptedSource(), []

    async def handler():
        renewals_at_start.append(len(source.renewals))

    async with working(source, embedded(clock, kind=handler), clock):
        source.claims_late_s = LEASE_S / 3 + 1
        lease, gone = await source.put("kind"), await source.put("kind")
        source.answers["renew", gone.task] = Answer.LOST
        await source.settled()
        await asyncio.sleep(30)
    assert renewals_at_start == [1]
    assert [report.task for report in source.reports] == [lease.task]


@virtual
async def test_an_idle_worker_asks_again_before_its_claim_is_too_old_to_start_on(clock):
    source = ScriptedSource()
    async with working(source, embedded(clock, quick=quick), clock):
        await asyncio.sleep(60)
        await source.put("quick")
        await source.settled()
    assert {request.wait_s for request in source.requests[1:]} == {LEASE_S / 4}
    assert source.renewals[:-1] == []


@virtual
async def test_a_cancel_heard_before_the_start_starts_nothing(clock):
    ran = []

    async def handler(ctx: Context):
        ran.append(ctx.task)

    source = ScriptedSource()
    async with working(source, embedded(clock, kind=handler), clock):
        source.claims_late_s = LEASE_S / 3 + 1
        lease = await source.put("kind")
        source.answers["renew", lease.task] = Answer.CANCEL
        await source.settled()
    assert ran == []
    assert source.outcome_of(lease) is Outcome.CANCELLED


@virtual
async def test_a_worker_that_was_stopped_ends_its_runs_when_it_wakes(clock):
    """Its leases have lapsed by its own clock: somebody else may have them. Nothing is reported."""
    ended = asyncio.Event()

    async def handler():
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    source = ScriptedSource()
    async with working(source, embedded(clock, kind=handler), clock):
        await source.put("kind")
        await asyncio.sleep(1)
        clock.elapsed += 3 * LEASE_S
        await ended.wait()
    assert (source.offered, source.renewals[:-1]) == ([], [])


@virtual
async def test_while_the_server_is_away_runs_go_on_until_their_lease_lapses(clock):
    ended = []

    async def handler():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(clock.monotonic())

    source = ScriptedSource()
    async with working(source, embedded(clock, kind=handler), clock):
        await source.put("kind")
        await asyncio.sleep(1)
        source.failing = dict.fromkeys(("claim", "renew", "settle"), StoreUnavailable("no answer"))
        await asyncio.sleep(60)
        source.failing = {}
    assert LEASE_S - 0.1 <= ended[0] <= LEASE_S + 0.1
    assert source.offered == []


@virtual
async def test_a_renewal_without_an_answer_is_given_up_in_time(clock):
    """A server that is stopped answers nothing at all: the next try must come before the lease is over."""
    source = ScriptedSource()
    async with working(source, embedded(clock, forever=forever), clock, drain_grace_s=0.0):
        lease = await source.put("forever")
        source.delays_s["renew"] = 3600.0
        await asyncio.sleep(LEASE_S / 3 + 0.1)
        del source.delays_s["renew"]
        await asyncio.sleep(30)
        assert source.calls.count("renew") >= 4
    assert source.outcome_of(lease) is Outcome.RELEASED


@virtual
async def test_a_task_granted_again_while_its_old_run_winds_down(clock):
    """Both bookkeepings survive: the old run is dropped, the new one is reported once."""
    starts = []

    async def handler(ctx: Context):
        starts.append(ctx.fence)
        if len(starts) == 1:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.sleep(2)
                raise
        return ctx.fence

    source = ScriptedSource()
    async with working(source, embedded(clock, kind=handler), clock):
        await source.put("kind", task="twice")
        await asyncio.sleep(0.1)
        again = await source.put("kind", task="twice")
        await source.settled()
        await asyncio.sleep(10)
    assert len(starts) == 2
    assert [(report.token, report.result) for report in source.offered] == [
        (again.token, str(again.token).encode())
    ]


# --- reporting --------------------------------------------------------------------------------------


@virtual
async def test_a_report_is_offered_again_while_its_lease_stands(clock):
    source = ScriptedSource()
    async with working(source, embedded(clock, quick=quick), clock):
        source.failing["settle"] = StoreUnavailable("no answer")
        lease = await source.put("quick")
        await asyncio.sleep(10)
        del source.failing["settle"]
        await source.settled()
    assert {report.task for report in source.offered} == {lease.task}
    assert len(source.offered) > 3
    assert source.report_on(lease).outcome is Outcome.SUCCEEDED


@virtual
async def test_a_report_is_given_up_when_its_lease_has_lapsed(clock):
    source = ScriptedSource()
    async with working(source, embedded(clock, quick=quick), clock):
        source.failing = dict.fromkeys(("settle", "renew"), StoreUnavailable("no answer"))
        await source.put("quick")
        await asyncio.sleep(LEASE_S + 10)
        source.failing = {}
        await asyncio.sleep(10)
    assert source.reports == []


@virtual
async def test_one_refused_report_does_not_hold_up_the_others(clock):
    """The source refuses a burst for what one report carries: only that task fails, and says why."""
    source = ScriptedSource()

    async def handler(ctx: Context):
        return ctx.payload

    def refuse(reports):
        if any(report.result == b'"bad"' for report in reports):
            raise InvalidInput("reports[0].result", "not acceptable")

    source.on_settle = refuse
    async with working(source, embedded(clock, kind=handler), clock, slots=8):
        leases = [await source.put("kind", value) for value in (1, 2, "bad", 3, 4)]
        await source.settled(5)
    outcomes = [source.outcome_of(lease) for lease in leases]
    assert outcomes == [Outcome.SUCCEEDED] * 2 + [Outcome.FAILED] + [Outcome.SUCCEEDED] * 2
    refused = source.report_on(leases[2])
    assert (refused.error_type, refused.retryable) == ("invalid_input", False)
    assert "not acceptable" in msgspec.json.decode(refused.error)["message"]


@virtual
async def test_large_results_go_in_several_bursts(clock):
    """One body with all of them would be over the server's limit."""

    async def handler():
        return "x" * 1_000_000

    source = ScriptedSource()
    async with working(source, embedded(clock, kind=handler), clock, slots=40):
        for _ in range(40):
            await source.put("kind")
        await source.settled(40)
    assert {report.outcome for report in source.reports} == {Outcome.SUCCEEDED}
    assert source.calls.count("settle") >= 5


@virtual
async def test_progress_is_sent_while_the_task_runs_and_only_the_latest(clock):
    async def handler(ctx: Context):
        for step in range(5):
            ctx.progress(step / 4)
        await asyncio.sleep(1)

    source = ScriptedSource()
    async with working(source, embedded(clock, kind=handler), clock):
        await source.put("kind")
        await source.settled()
    assert [msgspec.json.decode(line.progress)["fraction"] for line in source.lines] == [1.0]
    assert source.calls.index("append") < source.calls.index("settle")


@virtual
async def test_a_checkpoint_waits_for_a_source_that_is_away(clock):
    async def handler(ctx: Context):
        ctx.checkpoint("here")
        raise ValueError

    source = ScriptedSource()
    source.failing["append"] = StoreUnavailable("no answer")
    async with working(source, embedded(clock, kind=handler), clock):
        await source.put("kind")
        await asyncio.sleep(3)
        assert source.offered == []
        del source.failing["append"]
        await source.settled()
    assert [line.checkpoint for line in source.lines] == [b'"here"']


# --- draining ---------------------------------------------------------------------------------------


@virtual
async def test_drained_it_finishes_what_runs_and_hands_back_what_has_not_begun(clock):
    """S3-33."""

    async def handler():
        await asyncio.sleep(5)

    source = ScriptedSource()
    async with working(source, embedded(clock, kind=handler), clock, slots=2) as worker:
        worker._mean_us = 1.0  # lets it claim ahead
        leases = [await source.put("kind") for _ in range(5)]
        await asyncio.sleep(1)
        worker.drain()
        late = await source.put("kind")
    outcomes = [source.outcome_of(lease) for lease in leases]
    assert outcomes == [Outcome.SUCCEEDED] * 2 + [Outcome.RELEASED] * 3
    assert late.task not in {report.task for report in source.reports}
    assert clock.monotonic() < 6
    assert source.left == [("w-1", worker.incarnation)]
    assert list(source.renewals[-1].held) == []


@virtual
async def test_past_the_grace_the_rest_goes_back_uncounted(clock):
    source = ScriptedSource()
    async with working(source, embedded(clock, forever=forever), clock, drain_grace_s=10.0):
        lease = await source.put("forever")
        await asyncio.sleep(1)
    assert source.outcome_of(lease) is Outcome.RELEASED
    assert 11 <= clock.monotonic() <= 12


@virtual
async def test_a_handler_that_swallows_the_drain_does_not_hold_it_up(clock):
    async def handler():
        for _ in range(2):  # the drain's, and that of the engine's end
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        await asyncio.Event().wait()

    source = ScriptedSource()
    async with working(source, embedded(clock, grace_s=2.0, kind=handler), clock, drain_grace_s=1.0):
        lease = await source.put("kind")
        await asyncio.sleep(1)
    assert source.outcome_of(lease) is Outcome.RELEASED
    assert clock.monotonic() < 6


@virtual
async def test_told_twice_it_stops_at_once(clock):
    source = ScriptedSource()
    async with working(source, embedded(clock, forever=forever), clock, drain_grace_s=600.0) as worker:
        lease = await source.put("forever")
        await asyncio.sleep(1)
        worker.drain()
        worker.halt()
    assert source.outcome_of(lease) is Outcome.RELEASED
    assert clock.monotonic() < 1.1


@virtual
async def test_halted_it_does_not_wait_for_a_source_that_is_away(clock):
    source = ScriptedSource()
    async with working(source, embedded(clock, forever=forever), clock, drain_grace_s=600.0) as worker:
        await source.put("forever")
        await asyncio.sleep(1)
        for verb in ("claim", "renew", "settle", "leave"):
            source.failing[verb] = StoreUnavailable("no answer")
        worker.halt()
    assert clock.monotonic() < 10


@virtual
async def test_drained_before_it_began_it_does_nothing(clock):
    source = ScriptedSource()
    await source.put("quick")
    worker = Worker(source, embedded(clock, quick=quick), clock, WorkerSettings(worker="w"))
    worker.drain()
    await worker.run()
    assert (source.requests, source.reports) == ([], [])


@virtual
async def test_drained_in_the_turn_in_which_it_claims_it_ends_at_once(clock):
    source = ScriptedSource()
    worker = Worker(source, embedded(clock, quick=quick), clock, WorkerSettings(worker="w"))
    source.on_call = lambda verb: verb == "settle" and worker.drain()
    running = asyncio.create_task(worker.run())
    await source.put("quick")
    await running
    assert clock.monotonic() < 0.1


@virtual
async def test_cancelled_it_stops_like_a_crash(clock):
    source = ScriptedSource()
    worker = Worker(source, embedded(clock, forever=forever), clock, WorkerSettings(worker="w"))
    running = asyncio.create_task(worker.run())
    await source.put("forever")
    await asyncio.sleep(1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (source.offered, source.left) == ([], [])


@virtual
async def test_started_and_stopped_often_it_leaves_nothing_behind(clock):
    source = ScriptedSource()
    before = len(asyncio.all_tasks())
    for count in range(100):
        async with working(source, embedded(clock, quick=quick), clock):
            await source.put("quick")
            await source.settled(count + 1)
    await asyncio.sleep(60)
    assert len(asyncio.all_tasks()) == before


@virtual
async def test_it_says_who_it_is_and_that_it_is_alive(clock):
    source = ScriptedSource()
    async with working(source, embedded(clock, quick=quick), clock, queues=("mail",), slots=3, node="n-1"):
        await asyncio.sleep(LEASE_S + 0.1)
    info = source.beats[0]
    assert (info.worker, info.node, info.kinds, info.queues, info.slots) == (
        "w-1", "n-1", ("quick",), ("mail",), 3,
    )  # fmt: skip
    assert 3 <= len(source.beats) <= 5
