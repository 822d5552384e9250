"""A prototype, not a driver: no URL opens it. It has the hot verbs of the port as Lua for Redis and Valkey,
proves by the conformance suite that the port fits these engines, and is the seed of the driver to come.

    RedisStore (store.py) ── one call, one script, one write to the server's log
           │
    packing.py     lines of the port as packed requests; packed heads and opaque strings as records
           │
    scripts.py     keys.lua     every key of a namespace, all known before the call
                   clock.lua    the server's time
                   record.lua   heads of tasks, and the one door for every change of state
                   limits.lua   pauses, slots and rates         reply.lua   the answer's shape
                   settle.lua, submit.lua, claim.lua            what an exchange is made of
                   exchange.lua, renew.lua, force.lua, promote.lua,
                   resolve.lua, get.lua, stats.lua, board.lua   one entry per verb
"""

from mainspring.stores.redis.store import RedisStore

__all__ = ["RedisStore"]
