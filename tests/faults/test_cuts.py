"""Connections cut while a call is on its way, most of them between the commit and its answer: every verb of
the port, again and again."""

import os
from functools import partial

import pytest

from mainspring.ports import Store
from tests.faults.proxy import Proxy
from tests.faults.scenes import SCENES
from tests.faults.stage import ServerBench, Stage

# What every claim, report, heartbeat and checkpoint goes through is cut more often than the rest.
HOT, HOT_TIMES = ("exchange", "renew", "append"), 13
# A cut costs a new connection, which is a process of PostgreSQL, and a pause of the driver for Redis. So many
# for each are more than 500 in all.
CUTS = 6


def cuts_of(verb):
    """How often the verb is cut off. `make faults` asks for 500 times each."""
    wanted = os.environ.get("MAINSPRING_FAULT_CUTS")
    return int(wanted) if wanted else CUTS * (HOT_TIMES if verb in HOT else 1)


def test_every_verb_has_a_scene():
    """A new verb of the port cannot be forgotten here."""
    abstract = {name for name, verb in vars(Store).items() if getattr(verb, "__isabstractmethod__", False)}
    assert SCENES.keys() == abstract - {"open", "close", "listen"}


@pytest.mark.limit(1200)
@pytest.mark.parametrize("verb", SCENES)
async def test_a_verb_may_be_repeated_whatever_was_cut(kind, shared_server, counted, verb):
    place = await kind.new_place(shared_server)
    direct = kind.store(kind.direct_url(shared_server, place))
    async with Proxy(kind.socket(shared_server)) as proxy, ServerBench(direct) as bench:
        store = kind.quiet_store(kind.url(proxy.port, place))
        await store.open()
        damage = partial(kind.damage, shared_server, place)
        stage = Stage(bench, store, proxy, cuts_of(verb), damage)
        await SCENES[verb](stage)
        await store.close()
    assert stage.heard_nothing
    counted(verbs=1, cuts=proxy.cuts, unheard=stage.heard_nothing)
