"""repair: what it says, and its exit codes."""

from __future__ import annotations

import redis

from circman_redis import StateManager
from circman_redis.keys import TwinKeys
from tests.cli.conftest import Run, value


def test_repair(run: Run, twin: StateManager, client: redis.Redis) -> None:
    """A whole twin: 0. A damaged one: 1, and nothing is changed, until it is asked for."""
    keys = TwinKeys(twin.twin)
    twin.update_many([{"n": 1}, {"n": 2}])
    state = client.get(keys.state)
    assert value(run("repair"))["whole"] is True
    client.set(keys.state, "junk")
    plan = value(run("repair", code=1))
    assert (plan["applied"], plan["whole"]) == (False, False)
    assert [one["key"] for one in plan["found"]] == [keys.state]
    assert client.get(keys.state) == "junk"
    report = value(run("repair", "--yes"))
    assert (report["applied"], report["whole"], report["steps"]) == (True, True, plan["steps"])
    assert [client.get(key) for key in report["kept"]] == ["junk"]
    assert client.get(keys.state) == state
    assert value(run("repair", "--yes"))["found"] == []


def test_a_foreign_state_is_adopted_or_not(run: Run, twin: StateManager, client: redis.Redis) -> None:
    """As the options say."""
    keys = TwinKeys(twin.twin)
    twin.update_many([{"n": 1}, {"n": 2}])
    client.set(keys.state, '{"n":3}')
    run("repair", "--adopt", "--apply", "--actor", "me")
    assert twin.get_current_state() == {"n": 3}
    assert (twin.snapshot().op, twin.snapshot().actor, twin.snapshot().version) == ("external", "me", 3)
    client.set(keys.state, '{"n":42}')
    run("repair", "--restore", "--yes")
    assert twin.get_current_state()["n"] == 2
    assert twin.verify() == []


def test_rules_need_their_model(run: Run, twin: StateManager, client: redis.Redis) -> None:
    """Exit code 1 where something is left; --model names it."""
    run("schema", "publish", "circman_redis.models:ProductionLine")
    run("update", '{"a":0}')
    client.delete(TwinKeys(twin.twin).rules)
    assert "schema publish" in value(run("repair", "--yes", code=1))["left"][0]
    run("update", '{"a":1}', code=1)
    run("repair", "--yes", "--model", "circman_redis.models:ProductionLine")
    run("update", '{"a":1}')


def test_repair_on_a_terminal(run: Run, twin: StateManager, client: redis.Redis, terminal: None) -> None:
    """In words."""
    twin.update_many([{"n": 1}, {"n": 2}])
    assert "as commits made it" in run("repair").stderr
    client.delete(TwinKeys(twin.twin).state)
    assert "would: restore the state of version 2" in run("repair", code=1).stderr
    assert "done: restore the state of version 2" in run("repair", "--yes").stderr
