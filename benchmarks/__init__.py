"""Side-by-side measurements: every figure of Mainspring beside a raw loop or a peer, in one run.

    __main__   runs the figures and prints the table and the JSON lines
    harness    one probe = one fresh process; rounds are interleaved, medians and ratios are reported
    probe      the process in which one probe runs (PROFILE=1 prints where its time went)
    drain, submits, latency, flat, rest      the figures, and the probes of Mainspring
    dags       real workflows on a real node, beside the greedy bound (a command of its own)
    raw_sqlite, huey_sqlite, constant        what they are compared to

A machine drifts by a factor of two within an hour: quote ratios of one run, never bare times. Nothing here
is a test, and no test asserts a time.
"""
