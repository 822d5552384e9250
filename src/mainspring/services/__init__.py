"""What a node does by itself, besides serving claims: one `tick` a file, one loop for all.

    every node   campaigner tries to become or stay leader
                 promoter   scheduled tasks that are due become ready
                 reaper     lapsed leases and overrun runs are settled
                 resolver   final parents release or doom the children that settling left over
    the leader   firer      fire times of schedules become tasks, or skips with their reason
                 pruner     final tasks past their retention are forgotten
                 auditor    the store's own laws are looked up, a slice at a time
    all others   lookout    nobody leading is told to whoever reads the log
    by hand      doctor     all of a store is looked over, and mended
                 moving     all of a store is copied into another, and both are told to hold the same

Correctness never depends on there being one leader, or on any of these running only once: rows are
taken by guard. A pass that did a full batch runs again at once.
"""

from mainspring.services.auditor import Auditor
from mainspring.services.campaigner import Campaigner
from mainspring.services.firer import Firer
from mainspring.services.lookout import Lookout
from mainspring.services.loop import Service, ServiceLoop
from mainspring.services.promoter import Promoter
from mainspring.services.pruner import Pruner
from mainspring.services.reaper import Reaper
from mainspring.services.resolver import Resolver

__all__ = [
    "Auditor",
    "Campaigner",
    "Firer",
    "Lookout",
    "Promoter",
    "Pruner",
    "Reaper",
    "Resolver",
    "Service",
    "ServiceLoop",
]
