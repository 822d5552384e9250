"""The pure rules: what a task is and what may become of it.

    model ─┬─ lifecycle ── retry      what a report, a loss or a cancel turns a task into
           │     └─ fingerprint       which failures are alike
           ├─ order ── limits         which task is next, and who must wait
           │     └─ turns ── explain  what a claim would take now, and why it would not
           ├─ dag ── groups           dependencies: cycles, releases, doomed children; may a group be stored
           │     └─ workflows         what a document's tasks make of it (critical: its longest chain)
           ├─ lease                   how long a claim holds, when it is renewed
           └─ progress                steps and logs that a running task leaves behind

    cron ─► zoned ─► timing ─► schedules ─► templates    fire times; what becomes of them; the tasks they make
                                └─ schedule_rows         a schedule as plain SQL writes it
    laws, schedule_laws                                  what must hold between the parts of every store
    moving                                               what of a task crosses to another store
    migrations                                           the way from one number of a schema to another
    addresses, redis_address                             how people write where a store is
    durations                                            and how long something takes

Nothing here reads a clock, draws a random number, awaits, logs or touches a file: every function is
a table that a test can read out. Everything that decides lives here, once; stores only guard it.
"""
