"""A server that refuses writes: the error comes before anything is written, and the twin goes on afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis

from tests.lua.support import RawTwin
from tests.servers import Server

BODY = '{"n":2,"timestamp":"2026-01-01T00:00:00Z"}'


@pytest.fixture
def alone(own_server: Server) -> Iterator[RawTwin]:
    """A twin on a server of its own, with versions, a history and ids."""
    with own_server.client() as client:
        twin = RawTwin(client)
        for n in range(3):
            twin.set(f'{{"n":{n}}}', commit_id=f"id{n}")
        yield twin


def writes(twin: RawTwin) -> dict[str, Callable[[], object]]:
    """Every call that writes, and may be refused."""
    return {
        "set": lambda: twin.set(BODY, commit_id="new"),
        "merge": lambda: twin.merge(BODY, commit_id="new"),
        "adjust": lambda: twin.adjust(n="1"),
        "batch": lambda: twin.commit(BODY, BODY, BODY, commit_id="new"),
        "settings": lambda: twin.configure(settings='{"history_length":1}'),
        "model": lambda: twin.configure(
            "force",
            model={"model": "M", "model_hash": "h", "checks": "server", "validation": "none"},
            rules={"": {"type": "object"}},
        ),
    }


def assert_refused(twin: RawTwin, error: type[redis.ResponseError], calls: dict[str, Callable[[], object]]) -> None:
    before = twin.dump()
    for name, call in calls.items():
        with twin.listening() as events, pytest.raises(error):
            call()
        assert twin.dump() == before, name
        assert events == []


def test_out_of_memory(alone: RawTwin) -> None:
    """Refused with OOM, nothing is written; reading goes on; with room again, so does writing."""
    alone.client.config_set("maxmemory", 1)
    assert_refused(alone, redis.exceptions.OutOfMemoryError, writes(alone))
    fresh = RawTwin(alone.client, stamped=True)
    assert_refused(fresh, redis.exceptions.OutOfMemoryError, {"first": lambda: fresh.set(BODY)})
    assert alone.lookup("head")["state"] == {"n": 2}
    assert [entry["version"] for entry in alone.commits()] == [3, 2, 1]
    alone.client.config_set("maxmemory", 0)
    for call in writes(alone).values():
        call()
    assert fresh.set(BODY).first == 1


def test_room_can_be_made_while_out_of_memory(alone: RawTwin) -> None:
    """A clear and a delete are not refused; a repeated call is still recognised, and says that it is no write."""
    first = alone.set(BODY, commit_id="x")
    alone.client.config_set("maxmemory", 1)
    assert alone.set(BODY, commit_id="x") == first._replace(duplicate=2)
    assert alone.call("clear", "") == 3
    assert alone.lookup("head")["version"] == 4
    assert alone.lookup("time", "2026-01-01T00:00:00Z")["version"] == 4
    assert alone.call("delete", "") == 4
    alone.client.config_set("maxmemory", 0)


def test_a_read_only_replica(alone: RawTwin) -> None:
    """Writes are refused, reads are not; promoted, it goes on where it was."""
    alone.client.execute_command("REPLICAOF", "127.0.0.1", "1")
    others = {"clear": lambda: alone.call("clear", ""), "delete": lambda: alone.call("delete", "")}
    again = {"a repeated call": lambda: alone.set('{"n":0}', commit_id="id0")}
    assert_refused(alone, redis.exceptions.ReadOnlyError, writes(alone) | others | again)
    assert alone.lookup("head", read_only=True)["version"] == 3
    assert alone.lookup("version", 2, read_only=True)["version"] == 2
    assert alone.commits(read_only=True)[0]["version"] == 3
    alone.client.execute_command("REPLICAOF", "NO", "ONE")
    assert alone.merge(BODY).first == 4


def test_too_few_replicas(alone: RawTwin) -> None:
    """A server that wants replicas to write to refuses before anything is written."""
    alone.client.config_set("min-replicas-to-write", 1)
    assert_refused(alone, redis.ResponseError, writes(alone))
    alone.client.config_set("min-replicas-to-write", 0)
    assert alone.merge(BODY).first == 4


def test_a_user_who_may_only_read(alone: RawTwin, own_server: Server) -> None:
    """Commits are refused by the server, with its own error; the reading scripts run."""
    alone.client.execute_command(
        "ACL", "SETUSER", "reader", "on", ">pw", "~*", "&*", "+@read", "+eval", "+eval_ro", "+@connection"
    )
    with own_server.client(username="reader", password="pw") as client:
        reader = RawTwin(client, stamped=True, keys=alone.keys)
        before = alone.dump()
        for call in (lambda: reader.set(BODY), lambda: reader.merge(BODY), lambda: reader.call("delete", "")):
            with pytest.raises(redis.ResponseError, match=r"(?i)permission|can't run this command|may not"):
                call()
        assert alone.dump() == before
        assert reader.lookup("head", read_only=True)["version"] == 3
        assert reader.commits(limit=1, read_only=True)[0]["version"] == 3


def test_a_restart_keeps_all_of_it(alone: RawTwin, own_server: Server) -> None:
    """What was committed is replayed from the append-only file to the same bytes."""
    alone.commit(BODY, '{"b":[1.50]}', commit_id="batch")
    alone.configure(settings='{"history_length":4}')
    before = alone.dump()
    own_server.kill()
    own_server.start()
    assert alone.dump() == before
    assert alone.commit(BODY, '{"b":[1.50]}', commit_id="batch").duplicate == 1
