"""Backup and restore beside writers and subscribers, through kills, missing rights and damage."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import redis

from circman_redis import (
    BadBackup,
    CorruptTwin,
    NoState,
    StateConflict,
    StateError,
    StateEvent,
    StateManager,
    StateRolledBack,
    StoreError,
    UsageError,
)
from circman_redis import backup as backups
from circman_redis.connection import Store, adopt
from circman_redis.keys import TwinKeys
from tests.servers import Server, contents, wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def raw(server: Server) -> Iterator[redis.Redis]:
    with server.client() as client:
        yield client


@pytest.fixture
def store(raw: redis.Redis) -> Store:
    return adopt(raw)


def backup(store: Store, *twins: str, **how: Any) -> io.BytesIO:
    file = io.BytesIO()
    list(backups.backup(store, twins, file, **how))
    return file


def restore(store: Store, file: io.BytesIO, **how: Any) -> list[backups.Kept]:
    return backups.restore(store, file, "file", **how)


@contextmanager
def writing(server: Server, twin: str, count: int = 4, **how: Any) -> Iterator[list[BaseException]]:
    """So many writers, each of which merges as fast as it can; what stopped one of them."""
    over, problems = threading.Event(), list[BaseException]()

    def write(number: int) -> None:
        try:
            with StateManager(twin, url=server.url, **how) as manager:
                n = 0
                while not over.is_set():
                    n += 1
                    manager.update_state({f"writer-{number}": n + 0.5})
        except BaseException as error:  # noqa: BLE001 - for the test to see
            problems.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield problems
    finally:
        over.set()
        for thread in threads:
            thread.join()


def check(server: Server, twin: str) -> None:
    with StateManager(twin, url=server.url) as manager:
        assert manager.verify() == []


# --- of one moment -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["full", "compact"])
@pytest.mark.parametrize("length", [1000, 50])
def test_a_backup_under_writers_is_of_one_moment(
    server: Server, store: Store, twin: StateManager, form: Any, length: int
) -> None:
    """Restored elsewhere, every patch leads to the next state; whether the history is trimmed meanwhile or not."""
    twin.set_state({"text": "x" * 3000})
    twin.set_history_length(length)
    twin.set_history(form)
    twin.update_many([{"n": n} for n in range(length)])
    with writing(server, twin.twin) as problems:
        for number in range(5):
            before = twin.snapshot().version
            (kept,) = restore(store, backup(store, twin.twin), as_twin=f"copy-{number}")
            assert kept.version >= before
            assert 0 < kept.entries <= length
            wait_until(lambda known=kept.version: twin.snapshot().version > known)  # type: ignore[misc]
    assert problems == []
    for number in range(5):
        check(server, f"copy-{number}")
        with StateManager(f"copy-{number}", url=server.url) as one:
            version = one.snapshot().version
            assert one.get_state_at_version(version - 1) is not None


class Meddler:
    """Does something between two round trips."""

    def __init__(self, store: Store, meddle: Callable[[int], object]) -> None:
        self.calls = 0
        self._store = store
        self._meddle = meddle

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def send(self, *command: Any, **how: Any) -> Any:
        self.calls += 1
        self._meddle(self.calls)
        return self._store.send(*command, **how)


@pytest.fixture
def large(twin: StateManager) -> StateManager:
    """A history of several pages."""
    twin.set_state({"n": 0, "text": "x" * 2000})
    twin.update_many([{"n": n} for n in range(1, 400)])
    return twin


def delete_and_remake(twin: StateManager) -> None:
    twin.delete()
    twin.update_many([{"n": n, "text": "y" * 2000} for n in range(500)])


@pytest.mark.parametrize("meddle", [StateManager.clear_history, delete_and_remake])
def test_what_is_cleared_or_made_again_meanwhile_is_read_anew(
    store: Store, large: StateManager, meddle: Callable[[StateManager], object]
) -> None:
    """And the file has nothing of what was read before."""
    meddler = Meddler(store, lambda call: meddle(large) if call == 3 else None)
    file = backup(meddler, large.twin)  # type: ignore[arg-type]
    (kept,) = restore(store, file, as_twin="copy")
    assert (kept.version, kept.entries) == (large.snapshot().version, len(large.get_history()))
    check_same(store, large.keys, TwinKeys("copy"))


def check_same(store: Store, one: TwinKeys, other: TwinKeys) -> None:
    found = contents(store.client)
    for name in ("state", "history", "rules", "schema"):
        assert found.get(getattr(one, name).encode()) == found.get(getattr(other, name).encode()), name


def test_what_is_set_back_meanwhile_is_read_anew(store: Store, large: StateManager) -> None:
    """The commit that it began with is gone, or another one."""
    raw, keys = store.client, large.keys
    dumped = {key: raw.dump(key) for key in (keys.state, keys.meta, keys.history, keys.times)}
    large.update_many([{"n": n} for n in range(3)])

    def meddle(call: int) -> None:
        if call == 3:
            for key, value in dumped.items():
                raw.restore(key, 0, value, replace=True)
            large.update_many([{"n": -n} for n in range(5)])

    file = backup(Meddler(store, meddle), large.twin)  # type: ignore[arg-type]
    restore(store, file, as_twin="copy")
    check_same(store, keys, TwinKeys("copy"))


def test_what_is_cleared_all_the_time_is_refused(store: Store, large: StateManager) -> None:
    """It does not go on for ever."""

    def meddle(call: int) -> None:
        large.clear_history()
        large.update_many([{"n": n, "x": call} for n in range(400)])

    with pytest.raises(StateError, match="5 times"):
        backup(Meddler(store, meddle), large.twin)  # type: ignore[arg-type]


def test_a_twin_that_is_not_there(store: Store, twin: StateManager) -> None:
    """Is an error, or passed over where the list is a moment old."""
    with pytest.raises(NoState):
        backup(store, twin.twin)
    assert restore(store, backup(store, twin.twin, optional=True)) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw, keys: raw.lset(keys.history, 1, "junk"),
        lambda raw, keys: raw.lset(keys.history, 1, raw.lindex(keys.history, 1) + b"\n"),
        lambda raw, keys: raw.set(keys.history, "x"),
        lambda raw, keys: raw.set(keys.rules, "x"),
        lambda raw, keys: raw.set(keys.meta, "x"),
        lambda raw, keys: raw.lpush(keys.schema + "x", "") and raw.rename(keys.schema + "x", keys.schema),
        lambda raw, keys: raw.hset(keys.rules, "/n", "{"),
        lambda raw, keys: raw.hset(keys.meta, "max_bytes", "1e3"),
        lambda raw, keys: raw.set(keys.schema, '"x'),
        lambda raw, keys: raw.setrange(keys.state, 5, "\n"),
        lambda raw, keys: raw.setrange(keys.state, 5, b"\xff"),
        lambda raw, keys: raw.delete(keys.state),
    ],
)
def test_a_damaged_twin_is_no_backup(
    store: Store, twin: StateManager, damage: Callable[[redis.Redis, TwinKeys], object]
) -> None:
    """It could not be restored: better to hear so now."""
    twin.update_many([{"number": n} for n in range(4)])
    damage(store.client, twin.keys)
    with pytest.raises(CorruptTwin, match=twin.twin):
        backup(store, twin.twin)


# --- put back ------------------------------------------------------------------------------------------------------


def test_all_of_a_twin_comes_back(server: Server, store: Store, twin: StateManager) -> None:
    """Deleted and restored it is what it was, but for its epoch; and it can be copied again."""
    twin.update_many([{"price": 22.1, "n": n} for n in range(20)])
    before, history = twin.snapshot(), twin.get_history()
    file = backup(store, twin.twin)
    twin.delete()
    (kept,) = restore(store, file)
    assert (kept.twin, kept.version, kept.entries) == (twin.twin, 20, 19)
    after = twin.snapshot()
    assert (after.state, after.version, after.committed_at) == (before.state, before.version, before.committed_at)
    assert after.epoch == kept.epoch != before.epoch
    assert twin.get_history() == history
    assert twin.get_state_at_time(before.timestamp or "") == before.state
    check(server, twin.twin)
    again = [line for line in backup(store, twin.twin).getvalue().splitlines() if line.startswith(b'{"version"')]
    assert again == [line for line in file.getvalue().splitlines() if line.startswith(b'{"version"')]
    assert not [key for key in contents(store.client) if b":restore" in key]


def test_a_twin_without_a_past(server: Server, store: Store, twin: StateManager) -> None:
    """One version, no history."""
    twin.set_state({"n": 1})
    restore(store, backup(store, twin.twin), as_twin="copy", prefix="circman")
    check(server, "copy")


def test_under_another_prefix(store: Store, twin: StateManager, server: Server) -> None:
    """The prefix is the server's, not the file's."""
    twin.update_many([{"n": n} for n in range(3)])
    restore(store, backup(store, twin.twin), prefix="other")
    with StateManager(twin.twin, url=server.url, prefix="other") as other:
        assert other.verify() == []
        assert other.snapshot().version == 3


def test_where_the_twin_exists(store: Store, twin: StateManager) -> None:
    """Refused, unless it is to be replaced; of several, none is restored then."""
    twin.set_state({"n": 1})
    with StateManager("zz", client=store.client) as other:
        other.set_state({"n": 2})
        file = backup(store, "zz", twin.twin)
        other.delete()
    before = contents(store.client)
    with pytest.raises(StateError, match=f"{twin.twin}.*exists.*nothing was restored"):
        restore(store, file)
    assert contents(store.client) == before
    assert [one.twin for one in restore(store, file, twin="zz")] == ["zz"]
    twin.set_state({"n": 3})
    assert [one.version for one in restore(store, file, replace=True)] == [1, 1]
    assert twin.get_current_state()["n"] == 1


def test_one_that_was_made_at_the_last_moment(store: Store, twin: StateManager) -> None:
    """The script looks too."""
    twin.set_state({"n": 1})
    file = backup(store, twin.twin)
    twin.delete()
    meddler = Meddler(store, lambda call: twin.set_state({"n": 2}) if call == 3 else None)
    with pytest.raises(StateError, match="exists"):
        backups.restore(meddler, file, "file")  # type: ignore[arg-type]
    assert twin.get_current_state()["n"] == 2


def test_a_damaged_twin_is_replaced(server: Server, store: Store, twin: StateManager) -> None:
    """Whatever its keys hold."""
    twin.update_many([{"n": n} for n in range(5)])
    file = backup(store, twin.twin)
    for key in (twin.keys.meta, twin.keys.history, twin.keys.times, twin.keys.rules):
        store.client.set(key, "junk")
    store.client.delete(twin.keys.state)
    restore(store, file, replace=True)
    check(server, twin.twin)
    assert twin.update_state({"n": 6}).version == 6


def test_which_twin(store: Store, twin: StateManager) -> None:
    """What is asked for has to be there, and to be clear."""
    with StateManager("zz", client=store.client) as other:
        other.set_state({"n": 2})
    twin.set_state({"n": 1})
    file = backup(store, "zz", twin.twin)
    before = contents(store.client)
    for wish in ({"twin": "none"}, {"as_twin": "both"}, {"twin": "zz", "as_twin": "no twin"}, {"prefix": "{}"}):
        with pytest.raises(UsageError):
            restore(store, file, **wish)
    assert contents(store.client) == before


def test_what_the_scripts_refuse_is_told_with_the_file(store: Store, twin: StateManager) -> None:
    """A file with the right sums and the wrong content; nothing is left of it."""
    twin.update_many([{"n": n} for n in range(3)])
    lines = backup(store, twin.twin).getvalue().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"model":', b'"modem":')
    twin_part, end, last = lines[1:-2], *lines[-2:]
    end = end[: end.index(b'"sha256"')] + b'"sha256":"%b"}\n' % hashlib.sha256(b"".join(twin_part)).hexdigest().encode()
    whole = b"".join([lines[0], *twin_part, end])
    last = b'{"twins":1,"sha256":"%b"}\n' % hashlib.sha256(whole).hexdigest().encode()
    before = contents(store.client)
    for replace in (True, False):
        with pytest.raises(BadBackup if replace else StateError, match="nothing was restored"):
            restore(store, io.BytesIO(whole + last), replace=replace)
        assert contents(store.client) == before


# --- beside others -------------------------------------------------------------------------------------------------


def test_a_live_subscriber_goes_back_and_on(server: Server, store: Store, twin: StateManager) -> None:
    """To the last commit that it shares with the copy; what comes after it follows, each once."""
    twin.update_many([{"n": n} for n in range(10)])
    file = backup(store, twin.twin)
    subscription = twin.subscribe(timeout=60)
    twin.update_many([{"n": n} for n in range(10, 15)])
    assert [event.version for event in islice(subscription, 5)] == [11, 12, 13, 14, 15]
    (kept,) = restore(store, file, replace=True)
    rollback = next(subscription)
    assert isinstance(rollback, StateRolledBack)
    assert (rollback.version, rollback.epoch, rollback.previous_version) == (10, kept.epoch, 15)
    assert rollback.state["n"] == 9
    twin.update_state({"n": 99})
    event = next(subscription)
    assert isinstance(event, StateEvent)
    assert (event.version, event.epoch, event.state["n"], event.previous["n"]) == (11, kept.epoch, 99, 9)
    subscription.close()


def test_a_subscriber_that_shares_nothing_with_the_copy(store: Store, twin: StateManager) -> None:
    """Begins at its start."""
    twin.update_many([{"n": n} for n in range(3)])
    file = backup(store, twin.twin)
    twin.delete()
    twin.set_state({"n": "another"})
    with twin.subscribe(timeout=60) as subscription:
        restore(store, file, replace=True)
        events = list(islice(subscription, 4))
    assert [(event.kind, event.version) for event in events] == [
        *(("rollback", 0), ("commit", 1), ("commit", 2), ("commit", 3))
    ]


def test_a_mirror_follows(store: Store, twin: StateManager) -> None:
    """Its state is the restored one."""
    twin.update_many([{"n": n} for n in range(3)])
    file = backup(store, twin.twin)
    with twin.mirror() as mirror:
        twin.update_state({"n": 77})
        wait_until(lambda: mirror.state["n"] == 77)
        restore(store, file, replace=True)
        wait_until(lambda: mirror.state["n"] == 2)


def test_live_writers_go_on(server: Server, store: Store, twin: StateManager) -> None:
    """Merges that expect nothing; whoever builds on a state of the old epoch is refused."""
    twin.update_many([{"n": n} for n in range(30)])
    with writing(server, twin.twin) as problems:
        file = backup(store, twin.twin)
        known = twin.snapshot()
        (kept,) = restore(store, file, replace=True)
        wait_until(lambda: twin.snapshot().version > kept.version + 20)
        now = twin.snapshot()
        assert now.epoch == kept.epoch != known.epoch
    assert problems == []
    check(server, twin.twin)

    attempts = []

    def change(state: Any) -> dict[str, Any]:
        attempts.append(state)
        if len(attempts) == 1:
            restore(store, file, replace=True)
        return {**state, "n": "modified"}

    with pytest.raises(StateConflict):
        twin.update_state({"n": 1}, expected_version=known.version + 10**6)
    twin.modify(change)
    assert len(attempts) == 2
    assert twin.get_current_state()["n"] == "modified"
    check(server, twin.twin)


# --- interrupted ---------------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from circman_redis import backup
from circman_redis.connection import connect
from circman_redis.settings import Settings

laid = 0
make = backup.lay_by

def lay_by(*args):
    global laid
    laid += 1
    if laid == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return make(*args)

backup.lay_by = lay_by
store = connect(Settings.from_arguments(redis_url=sys.argv[1], twin="x", prefix=None, actor=None, retries=None))
backup.restore(store, open(sys.argv[2], "rb"), "file", replace=True)
"""


def test_a_restore_that_is_killed_changes_nothing(
    server: Server, store: Store, large: StateManager, tmp_path: Path
) -> None:
    """What it laid by has a time to live, and the next restore takes its place."""
    file = backup(store, large.twin)
    (tmp_path / "file").write_bytes(file.getvalue())
    large.update_state({"n": -1})
    before = contents(store.client)
    arguments = [sys.executable, "-c", KILLED, server.url, str(tmp_path / "file")]
    run = subprocess.run(arguments, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert run.returncode == -signal.SIGKILL
    after = contents(store.client)
    left = after.keys() - before.keys()
    assert left >= {large.keys.restore.encode(), large.keys.restore_history.encode()}
    assert all(b":restore" in key for key in left)
    assert {key: after[key] for key in before} == before
    assert all(store.client.pttl(key) > 0 for key in left)
    restore(store, file, replace=True)
    assert contents(store.client).keys() == before.keys() - {large.keys.ids.encode()}
    assert all(store.client.pttl(key) == -1 for key in contents(store.client))
    check(server, large.twin)


def test_a_restore_that_fails_leaves_nothing(store: Store, large: StateManager) -> None:
    """Whatever raised."""
    file = backup(store, large.twin)
    before = contents(store.client)

    def meddle(call: int) -> None:
        if call == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backups.restore(Meddler(store, meddle), file, "file", replace=True)  # type: ignore[arg-type]
    assert contents(store.client) == before


def test_a_server_without_room_refuses_it(own_server: Server, twin_id: str) -> None:
    """Nothing is changed, and with room it goes on."""
    with own_server.client() as raw, StateManager(twin_id, client=raw) as twin:
        twin.update_many([{"n": n} for n in range(10)])
        store = adopt(raw)
        file = backup(store, twin_id)
        before = contents(raw)
        raw.config_set("maxmemory", 1)
        try:
            with pytest.raises(StoreError, match=r"maxmemory|OOM|memory"):
                restore(store, file, replace=True)
        finally:
            raw.config_set("maxmemory", 0)
        assert contents(raw) == before
        restore(store, file, replace=True)
        assert twin.verify() == []


# --- rights --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "missing",
    ["set", "unlink", "hset", "rename", "persist", "zadd", "publish", "rpush", "pexpire"],
)
def test_a_missing_right_is_named(server: Server, store: Store, twin: StateManager, missing: str) -> None:
    """Before anything of the twin is changed."""
    twin.update_many([{"n": n} for n in range(10)])
    file = backup(store, twin.twin)
    before = contents(store.client)
    store.client.execute_command(
        "ACL", "SETUSER", "limited", "reset", "on", ">pw", "+@all", "~circman:*", "&circman:*", f"-{missing}"
    )
    with server.client(username="limited", password="pw") as client:
        with pytest.raises(StoreError, match=rf"(?i)\b{missing}\b"):
            restore(adopt(client), file, replace=True)
        assert {key: value for key, value in contents(store.client).items() if b":restore" not in key} == before
        store.client.delete(*(getattr(twin.keys, name) for name in ("restore", "restore_history", "restore_times")))


def test_whoever_may_only_read_makes_backups(server: Server, store: Store, twin: StateManager) -> None:
    """And restores nothing."""
    twin.update_many([{"n": n} for n in range(10)])
    store.client.execute_command(
        "ACL", "SETUSER", "limited", "reset", "on", ">pw", "+@read", "+@scripting", "+@connection", "~circman:*"
    )
    with server.client(username="limited", password="pw") as client:
        file = backup(adopt(client), twin.twin)
        with pytest.raises(StoreError, match="HSET"):
            restore(adopt(client), file, as_twin="copy")
    restore(store, file, as_twin="copy")
    check(server, "copy")


# --- large ---------------------------------------------------------------------------------------------------------


def test_a_large_history_comes_in_pieces(server: Server, store: Store, twin: StateManager) -> None:
    """10,000 entries of 2 kB: no reply and no request has more than a few hundred kB."""
    twin.set_state({f"f{n}": "x" * 20 for n in range(60)})
    twin.set_history_length(20_000)
    for start in range(0, 10_000, 1000):
        twin.update_many([{"n": n} for n in range(start, start + 1000)])
    sizes: list[int] = []

    class Weighing(Meddler):
        def send(self, *command: Any, **how: Any) -> Any:
            reply = super().send(*command, **how)
            texts = [*command, *(reply if isinstance(reply, list) else [])]
            sizes.append(sum(len(one) for one in texts if isinstance(one, bytes | str)))
            return reply

    weighing = Weighing(store, lambda _: None)
    (kept,) = restore(weighing, backup(weighing, twin.twin), as_twin="copy")  # type: ignore[arg-type]
    assert kept.entries == 10_000
    assert len(sizes) > 200
    assert max(sizes) < 300_000
    check_same(store, twin.keys, TwinKeys("copy"))
