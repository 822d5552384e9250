"""What users' own tests need, reached as `mainspring.testing`.

inline     tasks run where they are submitted, in the test's thread, before `submit` returns
cluster    tasks run on a cluster in virtual time, from a seed, with whatever goes wrong in one
"""

from mainspring.testing.users.cluster import FAULTS, Cluster, Event, cluster
from mainspring.testing.users.inline import Inline, inline

__all__ = ["FAULTS", "Cluster", "Event", "Inline", "cluster", "inline"]
