"""Mainspring beside its peers: the same workloads, the same servers, interleaved (`make benchmark-peers`).

    __main__     options, the rounds, the report
    catalogue    classes of stores, who competes in them, the aims
    servers      PostgreSQL and Redis as each class wants them: durable, and said so
    running      one probe is one process with a time limit, in the peer's own environment
    report       tables with ratios to the fastest peer, and where we are behind
       │
       │ one process per probe, below .venv-peers/PEER (requirements/PEER.txt, pinned)
       ▼
    workloads    submits, drain, latency, recovery, over any adapter
    work         a worker process of a peer
    adapter      what a workload needs of a peer;  apps/ has one per peer, and ours
    tally, wire  what handlers tell, and what a store holds

What runs in a peer's environment imports the standard library and that peer, nothing of Mainspring.
"""
