"""What each store costs by itself: claims in queues of any length, beside finished rows and old snapshots,
with several workers, and at rest (`make benchmark-stores`).

    __main__   options, the figures, the table
    claims     a claim of 1, 10 and 100 as the queue grows, for one tenant and for a thousand
    aged       the same beside millions of finished rows, and under a transaction that is held open

Throughput with several workers is the drain of `benchmarks.peers`; a node at rest is `benchmarks.rest`.
"""
