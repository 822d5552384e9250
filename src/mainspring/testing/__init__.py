"""Testing without waiting: the real parts on a virtual clock, in one thread, from one seed.

For users' own tests there is one room, whose names are those of this package:

    users                 tasks run where they are submitted, or on a cluster in virtual time

All else is for Mainspring's own: a whole cluster, whose promises are checked.

    simulation ─► course ─┬─► nodes      servers and workers: the real parts, on hosts of their own
    many seeds,   one     ├─► workload   what clients ask for: tasks of every kind, and changes of mind
    every core    seed    ├─► storm      what goes wrong: hosts die, freeze and wake, writes are lost ...
                          └─► record     what happened, in order
                                 └─► checks ─► violations

    loop                  an event loop that jumps to its next timer, and the hosts on it
    network, storeline    calls between hosts, and to the store: late, lost, repeated, broken
    weather               the dice, and how often each of these faults strikes
    watched, timetables   the memory store, writing the record
    electing              who leads: the real elector, writing down what it believes; or everybody
    flows, planned        the workflows and the schedules of the workload
    handlers              what tasks do, and the diary they keep
    planted               bugs put in on purpose: the checks must catch each of them
    rehearsal             what all schedules together will do in a span of time; no faults, no chance

Nothing of it reads a real clock, opens a socket or starts a thread: a seed replays byte for byte.
`docs/simulation.md` lists the promises that are checked. `course.run_seed` runs one seed, and
`mainspring simulate` as many as you like.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mainspring.testing.users import FAULTS, Cluster, Event, Inline, cluster, inline

__all__ = ["FAULTS", "Cluster", "Event", "Inline", "cluster", "inline"]


def __getattr__(name: str) -> Any:
    """Load the users' room when it is first used: the simulation does without."""
    if name not in __all__:
        raise AttributeError(f"module 'mainspring.testing' has no attribute {name!r}")
    value = getattr(import_module("mainspring.testing.users"), name)
    globals()[name] = value
    return value
