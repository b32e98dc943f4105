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
from circman_redis.doctor_facts import Rights, ServerFacts, TwinFacts
from circman_redis.errors import StoreUnavailable
from circman_redis.keys import TwinKeys
from circman_redis.results import Disagreement
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
    cluster = replace(with_info(cluster_enabled=1, connected_slaves=1), node="127.0.0.1:7000")
    assert {one.level for one in doctor.server_findings(cluster)} == {"ok"}


@pytest.mark.parametrize(
    ("facts", "about", "level", "says"),
    [
        (replace(WELL, latency=0.2), "reach", "warning", "answers in 200.0 ms"),
        (with_info(redis_version="6.2.14"), "version", "problem", "Redis 6.2.14 is too old"),
        (with_info(valkey_version="9.1.2", redis_version="7.2.4"), "version", "ok", "Valkey 9.1.2"),
        (with_info(redis_version="unknown"), "version", "problem", "too old"),
        (replace(WELL, info=None), "version", "warning", "could not look"),
        (with_info(redis_mode="cluster"), "cluster", "problem", "one node of a cluster"),
        (with_info(cluster_enabled=1), "cluster", "problem", "one node of a cluster"),
        (replace(with_info(connected_slaves=1), node="h:1"), "cluster", "ok", "on h:1, with 1 replica"),
        (replace(with_info(connected_slaves=2), node="h:1"), "cluster", "ok", "with 2 replicas"),
        (replace(with_info(connected_slaves=0), node="h:1"), "cluster", "warning", "which has no replica"),
        (replace(WELL, info=None, node="h:1"), "cluster", "ok", "with an unknown number of replicas"),
        (
            replace(WELL, node="h:1", cluster={"cluster_state": "fail", "cluster_slots_ok": "5461"}),
            *("cluster", "problem", "5461 of 16384 slots are served"),
        ),
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
        (replace(WELL, rights=None), "rights", "warning", "cannot tell"),
        (replace(WELL, rights=Rights("writer", ("SET k",)), user="u"), "rights", "problem", "user 'u' may not: SET k"),
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


K = TwinKeys("t")


@pytest.mark.parametrize(
    ("changed", "says", "advice"),
    [
        ({"expiring": ["k"]}, "k expires", "PERSIST k"),
        ({"disagreements": [Disagreement(K.state, 7, "is missing")]}, f"{K.state} is missing", "circman-redis repair"),
        ({"disagreements": [Disagreement(K.meta, 7, "is missing")]}, f"{K.meta} is missing", "circman-redis repair"),
        ({"disagreements": [Disagreement(K.history, 3, "lacks version 3")]}, "lacks version 3", "clear-history drops"),
        (
            {"disagreements": [Disagreement(K.times, 3, "is missing")]},
            f"{K.times} is missing",
            "clear-history: it makes",
        ),
        ({"disagreements": [Disagreement(K.old_ids, None, "holds a set, not a hash")]}, "holds a set", "RENAME"),
        ({"disagreements": [Disagreement(K.history, None, "has 2, over its length of 1")]}, "has 2", "trims"),
        ({"disagreements": [Disagreement(K.times, None, "is left over")]}, "is left over", "delete"),
    ],
)
def test_what_is_said_of_a_twin(changed: dict[str, Any], says: str, advice: str) -> None:
    facts = TwinFacts("t", version=7, length=6)
    assert [one.level for one in doctor.twin_findings(facts)] == ["ok"]
    (finding,) = doctor.twin_findings(replace(facts, **changed))
    assert (finding.level, says in finding.says, advice in finding.advice) == ("problem", True, True)


def test_of_many_disagreements_the_first_are_shown() -> None:
    many = [Disagreement(K.history, n, f"lacks version {n}") for n in range(1, 31)]
    found = doctor.twin_findings(TwinFacts("t", version=40, disagreements=many))
    assert (len(found), found[-1].says) == (11, "and 20 more of that kind")
    assert len(doctor.twin_findings(TwinFacts("t", version=40, disagreements=many[:10]))) == 10


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
    assert said["rights"] == ["problem: user '<user>' may not: TIME, INFO"]


def test_without_eval_nothing_works(run: Run, twin: StateManager, limited: Limited) -> None:
    said = levels(run, "--url", limited("~*", "&*", "+@all", "-eval_ro", "-hgetall"), code=1)
    assert said["rights"] == ["problem: user 'limited' may not: EVAL_RO"]
    assert said["twin"][0].startswith("warning: could not look: ")


def test_the_advice_on_rights_is_enough(run: Run, twin: StateManager, limited: Limited, client: redis.Redis) -> None:
    url = limited("+info", "+acl|whoami")
    advice = next(one for one in lines(run("doctor", "--url", url, code=1)) if one["about"] == "rights")["advice"]
    twin.update_state({"n": 0})  # with a model, which a writer may not publish
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
        (lambda c, k: c.set(k.state, '{"n":1 }'), ":state is not what the last commit wrote"),
        (
            lambda c, k: c.set(k.state, c.get(k.state).replace('"n":249', '"n":250')),
            ":state is not what the commit of version 250",
        ),
        (lambda c, k: c.set(k.state, "x" * c.strlen(k.state)), "it is not valid"),
        (lambda c, k: c.delete(k.state), ":state is missing, while meta says that there is a state"),
        (lambda c, k: c.delete(k.meta), ":meta is missing, while there is a state"),
        (lambda c, k: c.expire(k.history, 1000), ":history expires"),
        (lambda c, k: (c.delete(k.times), c.set(k.times, "")), ":times holds a string, not a zset"),
        (lambda c, k: c.zrem(k.times, "7"), ":times does not lead to version 7"),
        (lambda c, k: c.lset(k.history, 110, "{}"), "holds what no commit wrote where version 139 should be"),
        (lambda c, k: c.lrem(k.history, 1, c.lindex(k.history, 110)), ":history lacks version 139"),
        (lambda c, k: c.hset(k.meta, "history_length", 5), "249 entries, over its length of 5"),
        (lambda c, k: c.hset(k.meta, "version", 251), "while its head commit is that of version 250"),
    ],
)
def test_a_twin_that_is_not_whole(
    run: Run, twin: StateManager, client: redis.Redis, break_it: Callable[[redis.Redis, TwinKeys], object], says: str
) -> None:
    twin.update_many([{"n": n, "timestamp": f"2026-01-01T00:00:00.{n:06}Z"} for n in range(250)])
    assert "twin" not in levels(run)
    break_it(client, twin.keys)
    (said,) = levels(run, code=1)["twin"]
    assert said.startswith("problem: ")
    assert says in said


def test_a_server_that_goes_away_meanwhile(run: Run, twin: StateManager, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_twin(*_: object) -> TwinFacts:
        raise StoreUnavailable("Connection reset")

    monkeypatch.setattr(doctor_facts, "read_twin", read_twin)
    assert levels(run, code=1)["reach"] == ["problem: no answer any more: Connection reset"]


def test_a_state_that_its_model_refuses(run: Run, twin: StateManager) -> None:
    twin.set_state({"level": "high"})
    run("schema", "publish", "tests.cli.plant:Plant", "--force")
    assert "its own model refuses the state: /level" in levels(run)["twin"][0]
