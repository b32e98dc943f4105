"""doctor: what it says of facts, and what it finds on servers that are not well."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from circman_redis import StateManager, doctor, doctor_facts
from circman_redis.doctor_facts import ServerFacts, TwinFacts, needed_commands
from circman_redis.keys import TwinKeys
from circman_redis.scripts import NAMES, load
from tests.cli.conftest import Run, lines
from tests.servers import Server, lanes

INFO = {
    "redis_version": "7.4.1",
    "redis_mode": "standalone",
    "role": "master",
    "aof_enabled": 1,
    "maxmemory": 0,
    "used_memory": 1000,
    "maxmemory_policy": "noeviction",
}
CONFIG = {"save": "", "appendfsync": "everysec", "notify-keyspace-events": "AK"}
WELL = ServerFacts("redis://h", 0.001, INFO, CONFIG, offset=0.0)

Finding = tuple[str, str, str]


def found(facts: ServerFacts, about: str) -> list[Finding]:
    return [(one.level, one.says, one.advice) for one in doctor.server_findings(facts) if one.about == about]


def with_info(**changed: object) -> ServerFacts:
    return replace(WELL, info={**INFO, **changed})


def with_config(**changed: str) -> ServerFacts:
    return replace(WELL, config={**CONFIG, **{name.replace("_", "-"): value for name, value in changed.items()}})


def test_of_a_server_that_is_well_there_is_nothing_to_say() -> None:
    assert {one.level for one in doctor.server_findings(WELL)} == {"ok"}
    assert not any(one.advice for one in doctor.server_findings(WELL))


@pytest.mark.parametrize(
    ("facts", "about", "level", "says"),
    [
        (replace(WELL, latency=0.2), "reach", "warning", "answers in 200.0 ms"),
        (with_info(redis_version="6.2.14"), "version", "problem", "Redis 6.2.14 is too old"),
        (with_info(valkey_version="9.1.2", redis_version="7.2.4"), "version", "ok", "Valkey 9.1.2"),
        (with_info(redis_version="unknown"), "version", "problem", "too old"),
        (replace(WELL, info=None), "version", "warning", "could not look"),
        (with_info(redis_mode="cluster"), "cluster", "problem", "does not support yet"),
        (with_info(cluster_enabled=1), "cluster", "problem", "does not support yet"),
        (with_info(role="slave"), "role", "problem", "refuses every commit"),
        (with_info(aof_enabled=0), "persistence", "warning", "every state, history and model is lost"),
        (replace(with_info(aof_enabled=0), config={"save": "3600 1"}), "persistence", "warning", "(save 3600 1)"),
        (replace(with_info(aof_enabled=0), config={}), "persistence", "warning", "could not be seen"),
        (replace(WELL, config={}), "persistence", "ok", "could not be seen"),
        (with_config(appendfsync="no"), "persistence", "warning", "when the system likes"),
        (with_config(appendfsync="always"), "persistence", "ok", "before each answer"),
        (replace(with_config(appendfsync="no"), embedded=True), "persistence", "ok", "every second"),
        (with_info(aof_last_write_status="err"), "persistence", "problem", "cannot be written"),
        (with_info(rdb_last_bgsave_status="err"), "persistence", "problem", "snapshot failed"),
        (with_info(maxmemory_policy="allkeys-lru"), "eviction", "ok", "allkeys-lru would"),
        (with_info(maxmemory=10**9, maxmemory_policy="allkeys-lfu"), "eviction", "problem", "drops states"),
        (with_info(maxmemory=10**9, maxmemory_policy="volatile-lru"), "eviction", "ok", "which a twin's do not"),
        (with_info(maxmemory=10**9), "eviction", "ok", "refuses commits"),
        (with_info(maxmemory=1050), "memory", "warning", "95% of maxmemory"),
        (with_config(notify_keyspace_events=""), "notifications", "warning", "lack K$lhg"),
        (with_config(notify_keyspace_events="Kgx$"), "notifications", "warning", "lack lh"),
        (with_config(notify_keyspace_events="AE"), "notifications", "warning", "lack K"),
        (replace(WELL, config={}), "notifications", "warning", "could not look"),
        (replace(WELL, missing=None), "rights", "warning", "cannot tell"),
        (replace(WELL, missing=("SET k",), user="u"), "rights", "problem", "user 'u' may not: SET k"),
        (replace(WELL, offset=-2.5), "clock", "warning", "2.5 s behind"),
        (replace(WELL, offset=90.0), "clock", "warning", "90.0 s ahead of"),
    ],
)
def test_what_is_said_of_a_fact(facts: ServerFacts, about: str, level: str, says: str) -> None:
    (level_, says_, advice), *_ = found(facts, about)
    assert level_ == level
    assert says in says_
    assert bool(advice) == (level != "ok" and "cannot tell" not in says)


def test_a_clock_that_could_not_be_read_is_left_out() -> None:
    assert found(replace(WELL, offset=None), "clock") == []


def test_the_advice_on_notifications_adds_what_is_missing() -> None:
    advice = found(with_config(notify_keyspace_events="Exg"), "notifications")[0][2]
    assert set(advice.removeprefix("CONFIG SET notify-keyspace-events ")) == set("Exg$lhK")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"wrong_types": {"k": "list"}}, "k holds a list"),
        ({"expiring": ["k"]}, "k expires"),
        ({"bytes": None}, "no state, while meta says"),
        ({"version": 0}, "a state without meta"),
        ({"bytes_in_meta": 9}, "has 10 bytes, and meta says 9"),
        ({"invalid_json": "line 1"}, "not valid: line 1"),
        ({"head_version": 6}, "meta is at version 7, its head commit at 6"),
        ({"history_problems": ["a gap"]}, "a gap"),
        ({"length": 2000}, "2,000 entries"),
    ],
)
def test_what_is_said_of_a_twin(changed: dict[str, Any], says: str) -> None:
    facts = TwinFacts("t", version=7, head_version=7, bytes=10, bytes_in_meta=10, length=6)
    assert [one.level for one in doctor.twin_findings(facts)] == ["ok"]
    (finding,) = doctor.twin_findings(replace(facts, **changed))
    assert (finding.level, says in finding.says, bool(finding.advice)) == ("problem", True, True)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (redis.AuthenticationError("WRONGPASS"), "refuses the user or the password"),
        (redis.BusyLoadingError("LOADING"), "still reading its data"),
        (redis.ConnectionError("refused"), "cannot reach redis://h: refused"),
    ],
)
def test_what_is_said_of_a_server_out_of_reach(error: redis.RedisError, says: str) -> None:
    finding = doctor.unreachable("redis://h", error)
    assert (finding.level, says in finding.says, bool(finding.advice)) == ("problem", True, True)


def test_it_looks_at_every_command_that_the_scripts_run() -> None:
    run = {name for script in NAMES for name in re.findall(r"p?call\(\s*'([A-Z]+)'", load(script).text)}
    assert len(run) > 15
    assert run - {command[0] for command in needed_commands(TwinKeys("t"))} == set()


# --- on servers ----------------------------------------------------------------------------------------------


def levels(run: Run, *arguments: str, code: int = 0) -> dict[str, list[str]]:
    """What is not ok, by what it is about."""
    findings: dict[str, list[str]] = {}
    for one in lines(run("doctor", *arguments, code=code)):
        if one["level"] != "ok":
            findings.setdefault(one["about"], []).append(f"{one['level']}: {one['says']}")
    return findings


def test_a_server_for_tests_keeps_nothing_on_disk_and_is_well_else(run: Run, twin: StateManager) -> None:
    twin.update_many([{"n": n} for n in range(250)])
    assert list(levels(run)) == ["persistence"]


def test_doctor_on_a_terminal_speaks_in_words(run: Run, twin: StateManager, terminal: None) -> None:
    shown = run("doctor").stdout
    assert re.search(r"^     ok reach +unix://", shown, flags=re.MULTILINE)
    assert re.search(r"^warning persistence +nothing is written to disk", shown, flags=re.MULTILINE)
    assert "-> CONFIG SET appendonly yes" in shown


def test_a_server_that_may_drop_states(run: Run, lane: str) -> None:
    other = Server(lanes()[lane], ("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"))
    try:
        said = levels(run, "--url", other.start().url, code=1)
    finally:
        other.stop()
    assert said["eviction"] == [
        "problem: maxmemory-policy allkeys-lru: a full server drops states and histories without a word"
    ]
    assert "lack K$lhg" in said["notifications"][0]


def test_a_server_with_an_append_only_file(run: Run, own_server: Server) -> None:
    assert "persistence" not in levels(run, "--url", own_server.url)


def test_no_server_at_all(run: Run, tmp_path: Path) -> None:
    assert list(levels(run, "--url", "redis://:secret@localhost:1/0", code=1)) == ["reach"]
    (tmp_path / "file").touch()
    assert list(levels(run, "--url", f"embedded://{tmp_path}/file", code=1)) == ["reach"]


Limited = Callable[..., str]


@pytest.fixture
def limited(server: Server, client: redis.Redis) -> Iterator[Limited]:
    """Makes a user with the rights given, and returns a URL for that user."""

    def make(*rights: str) -> str:
        client.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">pw", *rights)
        return f"unix://limited:pw@{server.socket}"

    yield make
    client.acl_deluser("limited")


def test_rights_that_are_missing_are_named(run: Run, twin: StateManager, limited: Limited) -> None:
    url = limited("~circman:*", "&circman:*", "+@all", "-set", "-zadd", "-publish", "-script|load")
    (said,) = levels(run, "--url", url, code=1)["rights"]
    assert said.startswith("problem: user 'limited' may not: SCRIPT LOAD, ")
    for one in (f"SET {twin.keys.state}", f"ZADD {twin.keys.times}", f"PUBLISH {twin.keys.events}"):
        assert one in said
    assert "LPUSH" not in said


def test_keys_and_channels_that_are_closed_are_named(run: Run, twin: StateManager, limited: Limited) -> None:
    (said,) = levels(run, "--url", limited("~other:*", "resetchannels", "+@all"), code=1)["rights"]
    assert f"GET {twin.keys.state}" in said
    assert f"SUBSCRIBE {twin.keys.events}" in said
    assert "TIME" not in said


def test_what_may_not_be_seen_is_said(run: Run, twin: StateManager, limited: Limited) -> None:
    said = levels(run, "--url", limited("~*", "&*", "+@all", "-config", "-info", "-acl", "-time"), code=1)
    assert said["version"] == ["warning: this user may not ask for INFO: could not look"]
    assert said["notifications"] == ["warning: this user may not ask for CONFIG: could not look"]
    assert said["rights"] == ["problem: user '<user>' may not: TIME"]


def test_without_eval_nothing_works(run: Run, twin: StateManager, limited: Limited) -> None:
    said = levels(run, "--url", limited("~*", "&*", "+@all", "-eval", "-hgetall"), code=1)
    assert said["rights"] == ["problem: user 'limited' may not: EVAL"]
    assert said["twin"][0].startswith("warning: could not look: ")


def test_the_advice_on_rights_is_enough(run: Run, twin: StateManager, limited: Limited, client: redis.Redis) -> None:
    url = limited("+info", "+acl|whoami")
    advice = next(one for one in lines(run("doctor", "--url", url, code=1)) if one["about"] == "rights")["advice"]
    client.execute_command(*advice.split())
    assert "rights" not in levels(run, "--url", url)
    run("update", '{"n": 1}', "--url", url)


def test_a_server_that_cannot_tell_rights(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_facts, "_MISSING_RIGHTS", "return redis.no_such_function()")
    assert levels(run)["rights"] == ["warning: the server cannot tell what this user may do"]


def test_a_wrong_password(run: Run, limited: Limited) -> None:
    url = limited("+@all").replace(":pw@", ":wrong@")
    assert "refuses the user or the password" in levels(run, "--url", url, code=1)["reach"][0]


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda c, k: c.set(k.state, '{"n":1 }'), "bytes, and meta says"),
        (lambda c, k: c.set(k.state, "x" * c.strlen(k.state)), "not valid"),
        (lambda c, k: c.delete(k.state), "no state, while meta says"),
        (lambda c, k: c.delete(k.meta), "a state without meta"),
        (lambda c, k: c.expire(k.history, 1000), "expires"),
        (lambda c, k: (c.delete(k.times), c.set(k.times, "")), "holds a string"),
        (
            lambda c, k: c.lset(k.history, 110, '{"version":3}'),
            "entry 110 of the history should be version 139, and is",
        ),
        (lambda c, k: c.lset(k.history, 0, "x"), "and is unreadable"),
        (lambda c, k: c.hset(k.meta, "history_length", 5), "249 entries, over its length of 5"),
        (lambda c, k: c.hset(k.meta, "head", "{}"), "its head commit at 0"),
    ],
)
def test_a_twin_that_is_not_whole(
    run: Run, twin: StateManager, client: redis.Redis, break_it: Callable[[redis.Redis, TwinKeys], object], says: str
) -> None:
    twin.update_many([{"n": n} for n in range(250)])
    assert "twin" not in levels(run)
    break_it(client, twin.keys)
    assert any(says in one and one.startswith("problem") for one in levels(run, code=1)["twin"])


def test_a_state_that_its_model_refuses(run: Run, twin: StateManager) -> None:
    twin.set_state({"level": "high"})
    run("schema", "publish", "tests.cli.plant:Plant", "--force")
    assert "its own model refuses the state: /level" in levels(run)["twin"][0]
