"""The public JSON shapes, and the only code that reads or writes them. Doors, clients and workers share it.

    bytes ─► strict ─► tasks, batches, patches ─► NewTask, changes      what users send
               │  ├──► schedules, workflows ─► NewSchedule, changes, NewWorkflow
               │  └──► queries, dead, controls, pages                  filters, rates, limits, pauses
               └─────► leases, progress ◄──► Lease, Report, Append    what workers say
    Task, ScheduleRecord ... ─► views, schedule_views, workflow_views, explain ─► bytes    what all read
                            ─► watching ─► events                           what whoever watches is sent
    values ─► payloads ─► bytes                                     what programs submit
    NewTask ─► outgoing ─► bytes ─► incoming ─► Task                        the same, from the client's side
    MainspringError ◄─► problems ◄─► problem documents (RFC 9457)

Payloads and results stay the bytes they came as: they are checked once and never decoded again, so that
2**53 + 1 and 1.0e5 come back digit for digit. Whatever is wrong with an input is an `InvalidInput` that
names the field and says what would have been right.
"""
