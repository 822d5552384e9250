"""What the clients of a seed want: tasks of every kind, and changes of mind. At least 60 tasks."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from mainspring.core.limits import LimitRule
from mainspring.core.model import (
    SECOND_US,
    Lane,
    NewTask,
    OnParentFailure,
    Policy,
    RetryPolicy,
    State,
    UniqueRule,
    encode_policy,
)
from mainspring.ports import Action, Force, Group, Idempotency, Query
from mainspring.scheduler import Patch
from mainspring.testing.client import Client
from mainspring.testing.flows import Flows
from mainspring.testing.loop import HostClock
from mainspring.testing.planned import Planned, Written

LASTS_S = 12.0
RELIMITED = ("tenant:zeta", "kind:slow", "queue:burst")
Deed = Callable[[], Coroutine[Any, Any, Any]]
QUICK = RetryPolicy(strategy="exponential", delay_s=0.2, max_delay_s=1.0)
AT_ONCE = RetryPolicy(strategy="fixed", delay_s=0.0, jitter=0.0)
_WAITING = frozenset({State.SCHEDULED, State.READY})
_RUNNING = frozenset({State.RUNNING})


class Workload:
    """The deeds of one seed, each with the second at which it begins."""

    def __init__(self, client: Client, store_clock: HostClock, write_row: Written) -> None:
        self.deeds: list[tuple[float, Deed]] = []
        self._client = client
        self._dice = client.dice
        self._store_clock = store_clock
        for family in (
            self._plain, self._burst, self._delayed, self._failing, self._signals, self._long,
            self._overrunning, self._deadlines, self._poison, self._graph, self._doomed, self._unique,
            self._keyed, self._limited, self._rated, self._paused, self._bulk,
            self._workflows, self._stepping, self._saving, self._gathering, self._relimited,
        ):  # fmt: skip
            family()
        Planned(client, store_clock, write_row, self._at)

    # --- tools ----------------------------------------------------------------------------------

    def _at(self, deed: Deed, latest_s: float = LASTS_S) -> None:
        self.deeds.append((0.1 + self._dice.random() * latest_s, deed))

    def _task(
        self, do: str, *, n: int = 1, s: float | None = None, after: float = 0.0, queue: str = "main",
        kind: str = "act", tenant: str = "", priority: int = 5, key: str = "", policy: Policy | None = None,
        **fields: Any,
    ) -> NewTask:  # fmt: skip
        seconds = round(self._dice.random() * 0.2, 3) if s is None else s
        payload = msgspec.json.encode({"do": do, "n": n, "s": seconds, "after": after})
        lane = Lane(queue, kind, tenant, priority, key)
        stored = encode_policy(policy) if policy is not None else None
        return NewTask(self._client.new_id(), lane, payload, policy=stored, **fields)

    def _submit(self, *tasks: NewTask, latest_s: float = LASTS_S) -> None:
        self._at(lambda: self._client.submit(Group(tasks)), latest_s)

    def _chance(self, share: float) -> bool:
        return self._dice.random() < share

    async def _seen(self, task: str, states: frozenset[State], tries: int = 30) -> bool:
        """Look until the task is in one of the states."""
        for _ in range(tries):
            record = await self._client.insist(lambda s: s.get(task), "get")
            if record is None or record.state.is_final:
                return False
            if record.state in states:
                return True
            await asyncio.sleep(0.1)
        return False

    # --- families -------------------------------------------------------------------------------

    def _plain(self) -> None:
        for _ in range(8):
            tenant = self._dice.choice(("", "acme", "zeta"))
            self._submit(self._task("ok", kind="plain", tenant=tenant, priority=self._dice.randint(1, 10)))

    def _burst(self) -> None:
        """Many at once in few lanes: places in line, and claims ahead of free slots."""
        tasks = [
            self._task("ok", kind="plain", queue="burst", priority=self._dice.choice((2, 5)))
            for _ in range(10)
        ]
        groups = [Group([task]) for task in tasks]

        async def deed() -> None:
            for group in groups[:5]:
                await self._client.submit(group)
            await asyncio.gather(*(self._client.submit(group) for group in groups[5:]))

        self._at(deed)

    def _delayed(self) -> None:
        client, dice = self._client, self._dice
        for _ in range(2):
            self._submit(self._task("ok", delay_us=dice.randint(1, 5 * SECOND_US)))
        at_us = self._store_clock.now_us() + dice.randint(0, 9 * SECOND_US)
        self._submit(self._task("ok", run_at_us=at_us))
        later = [self._task("ok", delay_us=dice.randint(2, 6) * SECOND_US) for _ in range(3)]
        patches = (
            Patch(delay_us=3 * SECOND_US),
            Patch(run_at_us=None),
            Patch(priority=9, delay_us=SECOND_US),
        )

        async def hurried() -> None:
            if await client.submit(Group([later[0]])) and await self._seen(later[0].id, _WAITING):
                await client.change("run_now", lambda s: s.run_now(later[0].id))

        async def edited(task: NewTask, patch: Patch) -> None:
            if await client.submit(Group([task])) and await self._seen(task.id, _WAITING):
                await client.change("edit", lambda s: s.edit(task.id, patch))

        self._at(hurried)
        for task, patch in zip(later[1:], dice.sample(patches, 2), strict=True):
            self._at(lambda task=task, patch=patch: edited(task, patch))  # type: ignore[misc]

    def _failing(self) -> None:
        dice, client = self._dice, self._client
        for n in range(1, 4):
            self._submit(self._task("flaky", n=n, policy=Policy(max_retries=3, retry=QUICK)))
        self._submit(self._task("flaky", n=2, policy=Policy(max_retries=2, retry=AT_ONCE)))
        broken = self._task("flaky", n=99, policy=Policy(max_retries=dice.randint(0, 2), retry=AT_ONCE))
        never = RetryPolicy(delay_s=0.1, never=("Hopeless",))
        only = RetryPolicy(delay_s=0.1, only=("Wobble",))
        self._submit(self._task("picky", n=99, policy=Policy(retry=dice.choice((never, only)))))

        async def replayed() -> None:
            if not await client.submit(Group([broken])):
                return
            ended = await client.final(broken.id)
            if ended is not None and ended.state is State.FAILED:
                await client.change("replay", lambda s: s.replay(broken.id))

        self._at(replayed)

    def _signals(self) -> None:
        self._submit(self._task("fatal", n=99))
        self._submit(self._task("again", n=2, after=0.3, policy=Policy(max_retries=2)))
        self._submit(self._task("snooze", n=2, after=0.5, policy=Policy(max_retries=0)))
        self._submit(self._task("snooze", n=1, after=0.0))
        self._submit(self._task("quit", n=99))

    def _long(self) -> None:
        client, dice = self._client, self._dice

        async def stopped(task: NewTask, how: str) -> None:
            if not await client.submit(Group([task])):
                return
            await self._seen(task.id, _RUNNING)
            await asyncio.sleep(dice.random())
            if how == "delete":
                await client.change("delete", lambda s: s.delete(task.id))
                return
            kill = how == "kill"
            record = await client.change("cancel", lambda s: s.cancel(task.id, kill=kill))
            if record is not None and self._chance(0.5):
                ended = await client.final(task.id)
                if ended is not None and ended.state is State.CANCELLED:
                    await client.change("replay", lambda s: s.replay(task.id))

        for how in ("cancel", "cancel", "kill", "delete"):
            task = self._task(
                dice.choice(("long", "long", "stubborn")), s=2.0 + 2 * dice.random(), kind="slow"
            )
            self._at(lambda task=task, how=how: stopped(task, how))  # type: ignore[misc]
        self._submit(self._task("long", s=2.0 + 4 * dice.random(), kind="slow"), latest_s=LASTS_S / 2)
        delayed = self._task("ok", delay_us=5 * SECOND_US)
        self._at(lambda: stopped(delayed, "cancel"))

    def _overrunning(self) -> None:
        half_us = SECOND_US // 2
        self._submit(self._task("ok", s=9.0, timeout_us=half_us, policy=Policy(max_retries=1, retry=QUICK)))
        self._submit(self._task("stubborn", s=3.0, timeout_us=half_us, policy=Policy(max_retries=0)))
        self._submit(self._task("soft", s=9.0, policy=Policy(soft_timeout_s=0.5), timeout_us=3 * SECOND_US))

    def _deadlines(self) -> None:
        """One for each state in which a deadline can strike."""
        deed = self._with_deadline
        self._at(lambda: deed(2.0, self._task("ok", delay_us=8 * SECOND_US)))
        self._at(lambda: deed(1.5, self._task("long", s=6.0, kind="slow")))
        self._at(lambda: deed(2.0, self._task("ok"), parent=self._task("long", s=4.0, kind="slow")))
        self._at(lambda: deed(20.0, self._task("ok")))

    async def _with_deadline(self, after_s: float, task: NewTask, parent: NewTask | None = None) -> None:
        task.deadline_us = self._store_clock.now_us() + int(after_s * SECOND_US)
        if parent is not None:
            task.depends_on = (parent.id,)
        await self._client.submit(Group([parent, task] if parent else [task]))

    def _poison(self) -> None:
        if self._chance(0.6):
            policy = Policy(max_losses=self._dice.randint(1, 3))
            self._submit(self._task("poison", s=0.1, policy=policy), latest_s=LASTS_S / 2)

    def _graph(self) -> None:
        """Fan-out and fan-in: one, three, one; in one group, or one after another."""
        root = self._task("ok", s=0.4)
        middle = [self._task("flaky", policy=Policy(retry=QUICK), depends_on=(root.id,)) for _ in range(3)]
        last = self._task("ok", depends_on=tuple(task.id for task in middle))
        late = self._task("ok", depends_on=(root.id,), delay_us=4 * SECOND_US)

        async def one_by_one() -> None:
            for task in (root, *middle, last, late):
                await self._client.submit(Group([task]))

        if self._chance(0.5):
            self._submit(root, *middle, last, late)
        else:
            self._at(one_by_one)

    def _doomed(self) -> None:
        """A parent that fails or is lost, and a child for every rule; then sometimes it is replayed."""
        dice, client = self._dice, self._client
        parent = self._task(dice.choice(("fatal", "quit")), n=1, s=0.3)
        if self._chance(0.3):
            parent = self._task("poison", n=1, s=0.1, policy=Policy(max_losses=1))
        other = self._task("ok", s=0.1)
        children = [
            self._task("ok", policy=Policy(on_parent_failure=rule), depends_on=(parent.id, other.id))
            for rule in OnParentFailure
        ]
        grandchild = self._task("ok", depends_on=(children[0].id,))

        async def deed() -> None:
            await client.submit(Group([parent, other, *children, grandchild]))
            if self._chance(0.4) and await client.final(parent.id) is not None:
                await client.change("replay", lambda s: s.replay(parent.id))
            elif self._chance(0.3):
                held = children[OnParentFailure.BLOCK - 1].id
                await client.change("cancel", lambda s: s.cancel(held))

        self._at(deed)

    def _unique(self) -> None:
        states = frozenset({State.BLOCKED, State.SCHEDULED, State.READY, State.RUNNING})
        rule = UniqueRule(b"unique-1", states, self._dice.choice((None, 3 * SECOND_US)))
        tasks = [self._task("ok", s=0.5, unique=rule) for _ in range(5)]
        self._submit(*tasks[:2])
        for task in tasks[2:]:
            self._submit(task)

    def _keyed(self) -> None:
        for name in ("order-1", "order-2", "order-3"):
            key = Idempotency("client", name, name.encode(), 3600 * SECOND_US)
            group = Group([self._task("ok", s=0.1)], key)
            for _ in range(2):
                self._at(lambda group=group: self._client.submit_with_key(group))  # type: ignore[misc]

    def _limited(self) -> None:
        """One at a time per account, then two; and a queue that takes three."""
        client = self._client
        self.deeds.append((0.05, lambda: client.insist(_limit("key:*", LimitRule(max_running=1)), "limit")))
        self._at(lambda: client.insist(_limit("key:blue", LimitRule(max_running=2)), "limit"))
        for _ in range(4):
            self._submit(self._task("ok", s=0.4, key="red"))
        for _ in range(3):
            self._submit(self._task("ok", s=0.3, key="blue", tenant="acme"))

    def _rated(self) -> None:
        rule = LimitRule(rate=4, per_s=2.0, burst=2, max_running=3)
        self.deeds.append((0.05, lambda: self._client.insist(_limit("queue:rated", rule), "limit")))
        self._submit(*(self._task("ok", s=0.0, queue="rated", kind="plain") for _ in range(6)))

    def _paused(self) -> None:
        """Tasks that become ready while their queue is paused."""
        client, dice = self._client, self._dice
        tasks = [self._task("ok", queue="held", kind="plain") for _ in range(5)]

        async def deed() -> None:
            await client.insist(lambda s: s.pause("held", "operator"), "pause")
            for task in tasks[1:]:
                await client.submit(Group([task]))
            await self._with_deadline(1.0, tasks[0])
            await client.change("cancel", lambda s: s.cancel(tasks[1].id))
            await client.change("edit", lambda s: s.edit(tasks[2].id, Patch(delay_us=2 * SECOND_US)))
            await client.change("edit", lambda s: s.edit(tasks[3].id, Patch(priority=8, queue="main")))
            await asyncio.sleep(1.0 + 3 * dice.random())
            await client.insist(lambda s: s.resume("held"), "resume")

        self._at(deed)

    def _stepping(self) -> None:
        """Steps long enough that workers die between them."""
        for _ in range(4):
            policy = Policy(retry=self._dice.choice((QUICK, AT_ONCE)))
            seconds = 0.2 + 0.6 * self._dice.random()
            self._submit(self._task("steps", n=5, s=round(seconds, 3), kind="slow", policy=policy))

    def _saving(self) -> None:
        for _ in range(2):
            policy = Policy(max_retries=4, retry=self._dice.choice((QUICK, AT_ONCE)))
            seconds = round(0.1 + 0.4 * self._dice.random(), 3)
            self._submit(self._task("saves", n=5, s=seconds, kind="slow", policy=policy))

    def _gathering(self) -> None:
        """Parents of every kind of end, and a child that asks for what they gave."""
        parents = [self._task(do, n=99) for do in ("ok", "ok", "fatal", "quit")]
        policy = Policy(on_parent_failure=OnParentFailure.RUN, retry=QUICK)
        child = self._task("gather", policy=policy, depends_on=tuple(task.id for task in parents))
        self._submit(*parents, child)

    def _relimited(self) -> None:
        """Limits that come, change and go while tasks run under them."""
        client, dice = self._client, self._dice
        name = dice.choice(RELIMITED)

        async def deed() -> None:
            for most in dice.sample((1, 2, 3), 2):
                await client.insist(_limit(name, LimitRule(max_running=most)), "limit")
                await asyncio.sleep(0.5 + 3.0 * dice.random())
            rated = LimitRule(max_running=4, rate=8, per_s=2.0)
            await client.insist(_limit(name, dice.choice((rated, None))), "limit")

        self._at(deed)

    def _workflows(self) -> None:
        Flows(self._client, self._task, self._at)

    def _bulk(self) -> None:
        """By filter: cancel, replay, purge."""
        client, dice = self._client, self._dice
        tasks = [self._task("ok", queue="bulk", delay_us=dice.randint(0, 3) * SECOND_US) for _ in range(3)]
        query = Query(queue="bulk")

        async def deed() -> None:
            await client.submit(Group(tasks))
            await client.insist(lambda s: s.bulk.cancel(query), "cancel_where")
            later = Force(tasks[0].id, Action.REPLAY, None, dice.randint(1, 2 * SECOND_US))
            await client.insist(lambda s: s.store.force([later]), "replay_later")
            if self._chance(0.5):
                await client.insist(lambda s: s.bulk.replay(Query(), SECOND_US / 4), "replay_where")
            if self._chance(0.5):
                await client.insist(lambda s: s.bulk.purge(query), "purge_where")

        self._at(deed)


def _limit(name: str, rule: LimitRule | None) -> Callable[[Any], Coroutine[Any, Any, Any]]:
    return lambda scheduler: scheduler.set_limit(name, rule)
