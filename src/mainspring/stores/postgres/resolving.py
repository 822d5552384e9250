"""Resolving: what settling left of ended parents, one level a pass."""

from mainspring.core.model import State
from mainspring.ports import Moved
from mainspring.stores.postgres.transaction import Transaction


async def resolve(tx: Transaction, limit: int) -> Moved:
    states = {row["id"]: State(row["state"]) for row in await tx.rows("unresolved", limit)}
    ended = {parent: state for parent, state in states.items() if state.is_final}
    # Replayed meanwhile: its next end decides.
    again = [parent for parent, state in states.items() if not state.is_final]
    steps = await tx.apply_ends(ended, limit, doom=True) if ended else []
    if states:
        succeeded = [state is State.SUCCEEDED for state in ended.values()]
        await tx.do("resolved", list(ended), succeeded, again)
    finished = [step.task for step in steps if step.state.is_final]
    return Moved(len(steps), await tx.ready(), finished)
