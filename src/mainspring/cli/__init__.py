"""The command line: `mainspring <noun> <verb>`.

    root       the command tree; loads a command's module only when that command runs
    exits      what a failure becomes: one line on standard error, and an exit code
    options    options that many commands share
    serving    standalone, server, worker: the processes
    addresses  where an application says that they shall go
    client     one HTTP client for the commands below, which reach a server and nothing else
    submitting submit             running     run
    batchfile  files of tasks     following   progress of many tasks, and the summary
    tasks      tasks              dead        dead
    matching   what both have in common: filters, lists, one action for all that match
    explaining tasks explain      control     queues, workers, stats
    workflows  workflows          graphs      a workflow as a table, and live
    schedules  schedules          schedule_tables, schedulefile   how they are shown, and files of them
    doctor     doctor             migrating   migrate          moving   store copy
    rehearsing schedules simulate each       the same for each of several names
    watching   tasks watch, logs  streams     a server's events, across broken connections
    show       tables for people, JSON for programs
    demo       a tour in a temporary directory

Start-up is part of the interface: a client command never loads a server library.
"""

from mainspring.cli.root import main

__all__ = ["main"]
