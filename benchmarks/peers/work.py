"""A worker process of a peer: python -m benchmarks.peers.work PEER URL kept|dropped tuned|defaults"""

import ctypes
import signal
import sys

from benchmarks.peers.workloads import adapter_of


def main() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: a probe that is ended leaves no worker
    peer, url, results, tuning = sys.argv[1:]
    adapter_of(peer, url, results == "kept").work(tuning == "defaults")


if __name__ == "__main__":
    main()
