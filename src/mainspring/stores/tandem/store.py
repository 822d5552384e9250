"""A PostgreSQL store that claims and wakes by way of Redis."""

from collections.abc import Mapping

import msgspec

from mainspring.ports import Clock, Exchange, Exchanged, PostgresOptions
from mainspring.stores.postgres import PostgresStore, exchanging
from mainspring.stores.postgres.transaction import Transaction
from mainspring.stores.tandem.heads import Heads
from mainspring.stores.tandem.link import Link
from mainspring.stores.tandem.taking import Depths, Taking, depths
from mainspring.stores.tandem.wakeups import Wakeups


class TandemStore(PostgresStore):
    """One schema of one database, as a `PostgresStore`, and any Redis beside it, which may lose all it has at
    any time. What was answered is in PostgreSQL."""

    def __init__(
        self,
        address: str,
        queue: str,
        clock: Clock,
        options: PostgresOptions,
        *,
        history: bool = False,
        migrates: bool = True,
    ) -> None:
        """`queue` is the URL of Redis, spelt as one of a store there. Raises `InvalidInput` for an address
        that cannot be one."""
        super().__init__(address, options, history=history, migrates=migrates)
        self.features = msgspec.structs.replace(self.features, name="postgres+redis")
        self._link = Link(queue, clock)
        self._heads = Heads(self._link)
        self._hints = Wakeups(self._db, self._link)
        self._depths = Depths()

    async def open(self) -> None:
        """As a `PostgresStore`. Raises `StoreUnavailable` if Redis is there and refuses; one that is not
        there is gone without."""
        await super().open()
        try:
            await self._link.open()
        except BaseException:
            await super().close()
            raise

    async def close(self) -> None:
        await super().close()
        await self._heads.close()
        await self._link.close()

    def _wrote(self, tx: Transaction) -> None:
        super()._wrote(tx)
        self._heads.forget(tx.regained)

    async def exchange(self, batch: Exchange) -> Exchanged:
        wanted = self._depths.wanted(batch.claims)
        return await (self._exchange_by_heads(batch, wanted) if wanted else self._exchange_alone(batch))

    async def _exchange_alone(self, batch: Exchange) -> Exchanged:
        """PostgreSQL is fast, as far as this node has seen."""

        async def work(tx: Transaction) -> tuple[Exchanged, int]:
            return await exchanging.exchange(tx, batch), tx.looking_us

        answers, looking_us = await self._db.write(work)
        took_us = looking_us // max(1, len(batch.claims))
        for ask, claimed in zip(batch.claims, answers.claims, strict=True):
            for lane, is_deep in depths(ask.lanes, ask.limit, claimed.leases, took_us):
                self._depths.learn(lane, is_deep, answers.now_us)
        return answers

    async def _exchange_by_heads(self, batch: Exchange, wanted: Mapping[int, int]) -> Exchanged:
        taken = await self._heads.take(wanted)

        async def work(tx: Transaction) -> tuple[Exchanged, Taking]:
            taking = Taking(self._heads, wanted, taken)
            answers = await exchanging.exchange(tx, batch, taking.take)
            await taking.look_ahead(tx)
            return answers, taking

        try:
            answers, taking = await self._db.write(work)
        except BaseException:
            self._heads.forget(taken)
            raise
        self._heads.forget(taking.unused)
        await self._remember(taking)
        return answers

    async def _remember(self, taking: Taking) -> None:
        """Leave to the next claims what this one saw."""
        now_us = taking.now_us
        for lane, is_deep in taking.is_deep.items():
            self._depths.learn(lane, is_deep, now_us)
        lines = {lane: line for lane, line in taking.ahead.items() if line.heads}
        was_put = await self._heads.put(lines) if lines else True
        for lane in taking.ahead:
            if not was_put or not taking.serves_another(lane):
                self._depths.rest(lane, now_us)
