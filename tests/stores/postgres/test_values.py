"""A value that the database does not take harms its own line alone."""

import asyncpg
import pytest

from mainspring.clock import SystemClock
from mainspring.core.lifecycle import Outcome, Report, digest, settle
from mainspring.core.model import Lane, NewTask
from mainspring.core.order import Quota
from mainspring.core.progress import LogPiece
from mainspring.stores.postgres import connecting
from mainspring.stores.postgres.known import Known
from mainspring.stores.postgres.transaction import Transaction
from mainspring.verbs import (
    Accepted,
    Answer,
    Append,
    Ask,
    Charge,
    Exchange,
    Group,
    Held,
    Idempotency,
    NewWorkflow,
    Refused,
    Renewal,
    Settlement,
)

BAD = ["nul\0", "half\ud800"]
LANE = Lane("default", "echo", "default", 5)


@pytest.mark.parametrize("bad", BAD)
async def test_what_has_to_be_looked_up_harms_its_own_group_alone(new_database, bad):
    """Keys, parents, workflows: the question itself is one that the database does not take."""
    clock = SystemClock()
    async with new_database() as database, database.store() as store:

        def task(**fields):
            return NewTask(clock.new_id(), LANE, b"1", **fields)

        parent = task()
        groups = [
            Group([parent]),
            Group([task()], Idempotency("p", bad, b"d", 9_000_000)),
            Group([task()], Idempotency("p", "good", b"d", 9_000_000)),
            Group([task(depends_on=(bad,))]),
            Group([task(depends_on=(parent.id,))]),
            Group([NewTask(bad, LANE, b"1", depends_on=(parent.id,))]),
            Group([task()], workflow=NewWorkflow(bad)),
            Group([task()], workflow=NewWorkflow("good")),
        ]
        answers = (await store.exchange(Exchange(submits=groups))).submits
        codes = [answer.code if isinstance(answer, Refused) else "" for answer in answers]
        assert codes == ["", *["invalid_input", ""] * 2, *["invalid_input"] * 2, ""]


@pytest.mark.parametrize("bad", BAD)
async def test_each_line_of_a_batch_gets_its_own_answer(new_database, bad):
    clock = SystemClock()
    async with new_database() as database, database.store() as store:
        good = [NewTask(clock.new_id(), LANE, b"1") for _ in range(2)]
        odd = [
            NewTask(clock.new_id(), LANE, b"1", name=bad),
            NewTask(clock.new_id(), LANE._replace(queue=bad), b"1"),
            NewTask(clock.new_id(), LANE, b"1", run_at_us=1 << 70),
        ]
        groups = [Group([task]) for task in (good[0], *odd, good[1])]
        answers = (await store.exchange(Exchange(submits=groups))).submits
        assert [type(answer) for answer in answers] == [Accepted, Refused, Refused, Refused, Accepted]
        assert {answer.code for answer in answers if isinstance(answer, Refused)} == {"invalid_input"}

        (head,) = (await store.board()).heads
        quotas = [Quota(head.lane_id, 1)]
        asks = [Ask(bad, "i", 1, quotas, 1, 9_000_000), Ask("w", "j", 1, quotas, 1, 9_000_000)]
        charges = [Charge(bad, 1.0, 0.0), Charge("acme", 1.0, 0.0)]
        nobody, claimed = (await store.exchange(Exchange(claims=asks, charges=charges))).claims
        assert nobody.leases == []
        (lease,) = claimed.leases
        assert set((await store.board()).shares) == {"acme"}

        held = [Held(bad, 1), Held(lease.task, lease.token)]
        assert await store.renew([Renewal("j", 1, held, 9_000_000)]) == [[Answer.LOST, Answer.OK]]
        lines = [
            Append(lease.task, lease.token, steps={bad: b"1"}),
            Append(lease.task, lease.token, log=[LogPiece(0, "info", 1, "fine")]),
        ]
        assert await store.append(lines) == [Answer.LOST, Answer.OK]

        report = Report(lease.task, lease.token, Outcome.SUCCEEDED)
        change, _ = settle(report, lease, 0.5)
        settles = [
            Settlement(task, lease.token, lease.lane_id, digest(report), change, change)
            for task in (bad, lease.task)
        ]
        assert (await store.exchange(Exchange(settles=settles))).settles == [Answer.LOST, Answer.OK]
        assert await store.get([bad, good[1].id]) == [None, (await store.get([good[1].id]))[0]]
        assert await store.history(bad) == []


async def test_a_shortcut_with_a_value_that_is_none_leaves_no_transaction_behind(new_database):
    """The library has prepared the statement by then, and waits with its end for values that never go."""
    async with new_database() as database, database.connection() as connection:

        async def shortcut(_):
            return await connection.fetch("SELECT $1::text", "\ud800")

        with pytest.raises(asyncpg.DataError):
            await connecting._go_alone(
                Transaction(connection, Known(keeps_history=False)), shortcut, connection
            )
        await connection.execute(connecting.READING)
        await connection.execute("ROLLBACK")
