"""What scripts are made of."""

import re

import pytest

from mainspring.clock import SystemClock
from mainspring.stores import open_store
from mainspring.stores.redis import RedisStore
from mainspring.stores.redis.composing import compose, left_out
from mainspring.stores.redis.packing import FIELDS
from mainspring.stores.redis.scripts import SOURCES, VERBS, keys, scripts

_CALL = re.compile(r"redis\.p?call\(\s*'[A-Z]+',\s*([^,)]+)")
# Names of variables that hold a key which somebody else has named.
HANDED_ON = {"hash", "set", "name", "table_", "channel"}
# What the language has, and words of it that stand before a bracket.
LUA = {"next", "ipairs", "pairs", "pcall", "error", "tonumber", "type", "unpack", "setmetatable"} | {
    "function",
    "and",
    "or",
    "not",
    "return",
    "if",
}


@pytest.mark.parametrize(
    "url", ["redis://localhost/1", "valkey://h", "unix:///run/s", "rediss+cluster://a,b"]
)
def test_addresses_of_redis_open_its_driver(url):
    assert isinstance(open_store(url, SystemClock()), RedisStore)


def test_keys_share_a_slot():
    """All of them are told to the server before the call: scripts make up none, and name all there are."""
    known = keys("tasks")
    assert all(key.startswith("{tasks}:") for key in known.values())
    for name, source in SOURCES.items():
        assert name == "keys" or "KEYS[" not in source
        for key in _CALL.findall(source):
            assert key in HANDED_ON or key.startswith("key[") or key.removeprefix("key.") in known, (
                f"{name}: {key}"
            )
    named = {key for source in SOURCES.values() for key in re.findall(r"\bkey\.(\w+)", source)}
    assert named == known.keys()


def test_a_script_is_told_the_keys_that_it_names_and_no_others():
    for verb, script in scripts().items():
        picks_by_name = "key[" in script.text
        named = set(keys("") if picks_by_name else re.findall(r"\bkey\.(\w+)", script.text))
        assert set(script.keys) == named, verb
        assert len(script.keys) == len(re.findall(r"= KEYS\[\d+\],", script.text)), verb


def test_every_word_in_capitals_of_a_script_means_something():
    """A constant that was misspelt would be a global of the server's, which is nil."""
    for verb, script in scripts().items():
        code = re.sub(r"--[^\n]*|'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"", "", script.text)
        own = set(re.findall(r"local ([A-Z][A-Z0-9_, ]*) =", code))
        defined = {name for names in own for name in names.split(", ")} | {"KEYS", "ARGV"}
        assert set(re.findall(r"(?<![.\w])[A-Z][A-Z0-9_]+\b", code)) <= defined, verb


def test_what_a_script_calls_is_defined_in_it():
    """But for what its shape says that it does without: a name that is not defined would be a global of the
    server's, which fails only when it is reached."""
    for verb, script in scripts().items():
        defined = set(re.findall(r"local (?:function )?([\w, ]+)", script.text))
        known = {name.strip() for names in defined for name in names.split(",")}
        called = set(re.findall(r"(?<![\w.:])(\w+)\(", re.sub(r"'[^'\n]*'", "", script.text))) - LUA
        assert called - known <= left_out(SOURCES[verb]), verb


def test_a_script_has_what_it_reaches_and_nothing_else():
    sources = {
        "base": "local ONE = 1\n\n-- A note.\nlocal function one()\n    return ONE\nend\n\n"
        "local function idle()\nend\n\nlocal function rare()\nend\n",
        "hooks": "-- uses: base\nlocal hooks = {}\nhooks.used = function()\n    rare()\nend\n"
        "hooks.idle = idle\n",
        "verb": "-- uses: hooks\n-- without: rare\nlocal function mine()\n    hooks.used()\nend\n"
        "mine()\nreturn one()\n",
    }
    assert compose("verb", sources) == (
        "local ONE = 1\nlocal function one()\n    return ONE\nend\n"
        "local hooks = {}\nhooks.used = function()\n    rare()\nend\n"
        "local function mine()\n    hooks.used()\nend\nmine()\nreturn one()\n"
    )


def test_the_shape_without_rarities_is_told_fewer_keys():
    whole, plain = scripts()["exchange"], scripts()["exchange_plain"]
    assert set(plain.keys) < set(whole.keys)
    assert {"idempotency", "workflows", "edges", "claimed"} <= set(whole.keys) - set(plain.keys)


def test_a_new_head_has_all_fields():
    """Fields that are not set are `false`: a hole would cut off what is behind it."""
    table = re.search(r"local head = \{(.*?)id = id,", SOURCES["submit"], re.DOTALL)
    assert table is not None
    without_comments = re.sub(r"\n\s*", " ", table[1]).strip().rstrip(",")
    assert len(without_comments.split(", ")) == len(FIELDS)


def test_the_port_is_whole():
    """S0-56: a store is a driver of one port, whatever it is made of."""
    assert not RedisStore.__abstractmethods__
    assert {"exchange", "renew", "force", "find"} <= set(VERBS)
