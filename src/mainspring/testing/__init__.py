"""Testing without waiting: a whole cluster on a virtual clock, in one thread, from one seed.

    simulation     one seed ─► a cluster, a workload, faults, calm ─► its record ─► checks ─► violations
    campaign       many seeds, on every core; planted bugs that the checks must catch
    loop           an event loop that jumps to its next timer; hosts on it that freeze and die
    record         what happened, in order: every step in the store, every run, every call, every fault
    store, rpc     the memory store behind a line that delays, loses and repeats; a network that does too
    cluster        servers (the real Scheduler, services, elector) and workers (the real Worker) on hosts
    faults         what goes wrong, when
    workload       what the clients ask for: tasks of every kind, and changes of mind
    checks/        the promises, each looked up in the record
    planted/       bugs put in on purpose

Nothing here reads a real clock, opens a socket or starts a thread: a seed replays byte for byte.
`docs/simulation.md` lists the promises that are checked.
"""
