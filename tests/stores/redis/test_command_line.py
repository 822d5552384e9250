"""The commands that the documentation gives for looking into a namespace, run as they stand there."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from mainspring.core.lifecycle import Outcome
from mainspring.core.model import Policy
from mainspring.stores.redis.scripts import KEY_NAMES
from tests.conformance.server_benches import RedisBench
from tests.servers import RedisServer
from tests.stores.redis.conftest import needed

DOCUMENT = Path(__file__).parents[3] / "docs" / "operations.md"
ONCE = Policy(max_retries=0)


def commands():
    """Those of the section, line by line."""
    section = DOCUMENT.read_text().partition("## Redis from the command line\n")[2].partition("\n## ")[0]
    return re.findall(r"^redis-cli .*$", section, re.MULTILINE)


class OwnBench(RedisBench):
    """A server of its own: the commands name the namespace that a store has by default."""

    def new_store(self):
        self.own = needed(RedisServer)()
        self._url, self._namespace = self.own.url, "mainspring"
        self._offset = "{mainspring}:offset"
        return self.new_node()


@pytest.fixture
def bench(tmp_path):
    bench = OwnBench(tmp_path)
    yield bench
    bench.own.stop()


@pytest.fixture
def shell(bench, tmp_path):
    """Runs a line in a shell in which `redis-cli` asks the bench's server; the lines it prints."""
    client = RedisServer.binary().with_name("redis-cli")
    (tmp_path / "redis-cli").write_text(f'#!/bin/sh\nexec {client} -s {bench.own.socket} "$@"\n')
    (tmp_path / "redis-cli").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.defpath}"}

    def run(line):
        done = subprocess.run(
            line, shell=True, capture_output=True, text=True, env=environment, timeout=30, check=True
        )
        return done.stdout.splitlines()

    return run


async def test_the_commands_of_the_documentation(bench, shell):
    """S1-54, S1-55, S1-57, and contract 1.6-F: the ready queue's length, and the ids of dead letters."""
    async with bench:
        letters = []
        for _ in range(12):
            letters += await bench.submit(bench.task(policy=ONCE))
            await bench.settle(await bench.claim_one(), Outcome.FAILED)
        await bench.submit_many(5)
        await bench.submit_many(3, delay=100)
        await bench.claim(2)
        told = {line: shell(line) for line in commands()}
    flat = told.pop("redis-cli HGETALL '{mainspring}:counts'")
    counts = dict(zip(flat[::2], flat[1::2], strict=True))
    assert counts == {"2:default": "3", "3:default": "3", "4:default": "2", "6:default": "12"}
    assert told == {
        "redis-cli ZCARD '{mainspring}:ready'": ["3"],
        "redis-cli ZCARD '{mainspring}:due'": ["3"],
        "redis-cli ZRANGE '{mainspring}:dead' 0 -1": letters,
        "redis-cli ZREVRANGE '{mainspring}:dead' 0 9": letters[:1:-1],
        "redis-cli ZCARD '{mainspring}:dead'": ["12"],
        "redis-cli HGET '{mainspring}:counts' 3:default": ["3"],
    }


def test_the_keys_that_the_documentation_names_are_there():
    named = set(re.findall(r"\{mainspring\}:(\w+)", "".join(commands())))
    assert named
    assert named <= set(KEY_NAMES)
