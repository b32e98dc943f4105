"""info."""

from __future__ import annotations

import re
from pathlib import Path

import redis

from circman_redis import StateManager
from tests.cli.conftest import Run, value
from tests.servers import Server, free_port, lanes, wait_until

CLI = Path(__file__).parents[2] / "docs" / "cli.md"


def test_info_has_the_server_and_the_twin(run: Run, server: Server, twin: StateManager, lane: str) -> None:
    twin.update_many([{"n": 1}, {"n": 2}], actor="me")
    facts = value(run("info"))
    assert facts["server"]["name"].lower() == lane
    assert facts["server"]["url"] == server.url
    assert facts["server"]["latency_ms"] > 0
    about = facts["twin"]
    assert (about["version"], about["history"], about["actor"], about["op"]) == (2, 1, "me", "merge")
    assert (about["model"], about["validation"], about["history_length"]) == ("TwinState", "standard", 1000)
    assert about["history_form"] == "full"
    assert about["bytes"] == len(twin.client.get(twin.keys.state))


def test_info_on_a_terminal(run: Run, twin: StateManager, terminal: None) -> None:
    shown = run("info").stdout
    assert re.search(r"validation +standard\n", shown)
    assert re.search(r"actor +-\n", shown)


def test_info_tells_how_much_is_kept_and_who_listens(run: Run, server: Server, twin: StateManager) -> None:
    twin.update_many([{"n": 1}, {"n": 2}], commit_id="once")
    twin.update_state({"n": 3})
    oldest = twin.get_commits()[-1]
    with twin.subscribe():
        about = value(run("info"))["twin"]
    assert (about["calls"], about["ids"], about["subscribers"]) == (2, 2, 1)
    assert about["commits_since"] == oldest.committed_at
    assert about["commits_per_second"] > 0
    assert about["memory_state"] > about["bytes"]
    assert about["memory_history"] > 100
    assert about["memory_ids"] > 50


def test_info_tells_whether_the_server_keeps_it(run: Run, own_server: Server, lane: str) -> None:
    with own_server.client() as client:
        client.config_set("maxmemory", "100mb")
    facts = value(run("info", "--url", own_server.url))["server"]
    assert (facts["role"], facts["replicas"]) == ("master", 0)
    assert (facts["append_only_file"], facts["append_only_file_status"]) == (True, "ok")
    assert facts["snapshot_status"] == "ok"
    assert (facts["maxmemory"], facts["maxmemory_policy"]) == (100 * 2**20, "noeviction")
    assert facts["maxmemory"] > facts["memory_bytes"] > 0


def test_info_of_a_server_without_an_append_only_file(run: Run, server: Server) -> None:
    facts = value(run("info"))["server"]
    assert (facts["append_only_file"], facts["append_only_file_status"]) == (False, None)


def test_info_of_a_cluster_counts_sharded_subscribers(run: Run, lane: str) -> None:
    one = Server(lanes()[lane], ("--cluster-enabled", "yes", "--bind", "127.0.0.1", "--cluster-port", str(free_port())))
    try:
        with one.start().client() as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            wait_until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
            listener = client.pubsub()
            listener.execute_command("SSUBSCRIBE", "circman:{default}:events")
            listener.parse_response()
            assert value(run("info", "--url", one.url, "--twin", "default"))["twin"]["subscribers"] == 1
            listener.close()
    finally:
        one.stop()


def test_what_a_user_may_not_ask_is_null(
    run: Run, server: Server, twin: StateManager, client: redis.Redis, lane: str
) -> None:
    """The rest is told all the same."""
    twin.update_many([{"n": 1}, {"n": 2}])
    whole = value(run("info"))
    missing = ("info", "ping", "memory", "pubsub", "lindex", "hlen")
    client.execute_command(
        "ACL", "SETUSER", "shy", "reset", "on", ">pw", "~*", "&*", "+@all", *(f"-{name}" for name in missing)
    )
    try:
        facts = value(run("info", "--url", f"unix://shy:pw@{server.socket}"))
    finally:
        client.acl_deluser("shy")
    assert {name for name, known in facts["server"].items() if known is not None} == {"url"}
    assert "pw" not in facts["server"]["url"]
    asked = {"commits_per_second", "commits_since", "ids", "subscribers"}
    asked |= {"memory_state", "memory_history", "memory_ids"}
    assert {name: known for name, known in facts["twin"].items() if name not in asked} == {
        name: known for name, known in whole["twin"].items() if name not in asked
    }
    assert all(facts["twin"][name] is None for name in asked)


def test_info_of_a_history_that_is_not_ours(run: Run, twin: StateManager, client: redis.Redis) -> None:
    client.lpush(twin.keys.history, "junk")
    about = value(run("info"))["twin"]
    assert (about["commits_per_second"], about["commits_since"]) == (None, None)


def test_every_fact_is_documented(run: Run, twin: StateManager) -> None:
    section = CLI.read_text(encoding="utf-8").split("## `info`")[1].split("\n## ")[0]
    documented = re.findall(r"`([a-z_]+)`", section)
    for part in value(run("info")).values():
        assert set(part) <= set(documented)
