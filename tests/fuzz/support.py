"""A twin with everything in it, put back after each example, and what a call of a script did to it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from circman_redis import backup, protocol, scripts
from circman_redis.keys import TwinKeys
from circman_redis.models import TwinState
from circman_redis.rules import compile_model
from tests.lua.support import SCRIPT_KEYS, key_of
from tests.servers import contents

KEYS = TwinKeys("fuzzed")


ALL_KEYS = [key_of(KEYS, name) for name in dict.fromkeys(name for names in SCRIPT_KEYS.values() for name in names)]
TOKEN = "0123456789abcdef"
MOST_MS = 50
RUNTIME_ERROR = re.compile(r"user_script|attempt to|bad argument|stack overflow|too many results|malformed|f_\w{40}")

BODIES = [
    b'{"system_status":"running","timestamp":"2026-03-01T12:00:00.000000Z","production_line":{"temperature":22.5}}',
    b'{"production_line":{"cells":{"a":{"n":1},"b":{"n":22.0}},"temperature":23.5},"list":[1,"two",{"three":null}]}',
    b'{"n":9007199254740991,"text":"\\u0022 \\u007b \xc3\xa9","empty":{},"production_line":{"cells":{"b":null}}}',
    b'{"n":7,"quality_metrics":{"rate":0.25},"timestamp":"2026-03-01T11:00:00+01:00"}',
]


@dataclass
class Subject:
    """The twin, on one server, with a restore of it under way.

    Args:
        client: of bytes.
        saved: its keys, as DUMP has them.
    """

    client: redis.Redis
    saved: dict[str, bytes] = field(default_factory=dict)

    def call(self, call: protocol.Call[Any]) -> Any:
        return self.client.eval(scripts.load(call.target).text, len(call.keys), *call.keys, *call.args)

    def build(self) -> None:
        """Makes the twin as its users would, and remembers it."""
        self.client.flushall()
        self.call(protocol.configure(KEYS, "adopt", {"history_length": 40}, compile_model(TwinState), "standard"))
        self.call(protocol.commit(KEYS, "set", BODIES[:1], commit_id="first", actor="fuzz"))
        for n in range(8):
            self.call(protocol.commit(KEYS, "merge", BODIES[n % 3 : n % 3 + 2], commit_id=f"id-{n}", actor="fuzz"))
        self.call(protocol.configure(KEYS, "adopt", {"history": "compact"}, None, ""))
        for n in range(8, 16):
            self.call(protocol.commit(KEYS, "merge", BODIES[n % 3 : n % 3 + 2], commit_id=f"id-{n}", actor="fuzz"))
        self.call(protocol.commit(KEYS, "adjust", [b'{"/n":1}'], commit_id="last", actor="fuzz"))
        record = backup.moment(KEYS).parse(self.call(backup.moment(KEYS))).record
        self.call(backup.begin(KEYS, TOKEN, record))
        self.saved = {key: text for key in ALL_KEYS if (text := self.client.dump(key)) is not None}

    def put_back(self) -> None:
        """Everything as `build` left it."""
        with self.client.pipeline() as pipeline:
            pipeline.flushall()
            for key, text in self.saved.items():
                pipeline.restore(key, 0, text)
            pipeline.execute()

    def dump(self) -> dict[bytes, object]:
        """What stands in all keys. (Not as DUMP has it: a hash may be turned over by being read.)"""
        return contents(self.client)

    def run(self, name: str, keys: Sequence[str], args: Sequence[Any]) -> str | None:
        """What a script's error reply says; None where it has none."""
        source = scripts.load(name)
        try:
            self.client.evalsha(source.sha, len(keys), *keys, *args)
        except redis.exceptions.NoScriptError:
            self.client.script_load(source.text)
            return self.run(name, keys, args)
        except redis.ResponseError as error:
            return str(error)
        return None

    def cpu_ms(self) -> float:
        """Milliseconds that the server's main thread has worked so far: others on the machine do not count."""
        found = self.client.info("cpu")
        return 1000 * float(found["used_cpu_user_main_thread"] + found["used_cpu_sys_main_thread"])

    def cost_of(self, name: str, keys: Sequence[str], args: Sequence[Any]) -> float:
        """The least of three times, each on the twin as it was."""
        costs = []
        for _ in range(3):
            self.put_back()
            self.run(name, keys, [])  # loaded
            before = self.cpu_ms()
            self.run(name, keys, args)
            costs.append(self.cpu_ms() - before)
        return min(costs)
