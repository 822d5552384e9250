"""The pure rules: what a task is and what may become of it.

    model ─┬─ lifecycle ── retry      what a report, a loss or a cancel turns a task into
           │     └─ fingerprint       which failures are alike
           ├─ order ── limits         which task is next, and who must wait
           │     └─ turns ── explain  what a claim would take now, and why it would not
           ├─ dag                     dependencies: cycles, releases, doomed children
           └─ lease                   how long a claim holds, when it is renewed

Nothing here reads a clock, draws a random number, awaits, logs or touches a file: every function is
a table that a test can read out. Everything that decides lives here, once; stores only guard it.
"""
