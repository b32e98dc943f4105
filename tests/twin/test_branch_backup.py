"""A backup of a branch, and of a twin with its branches: what it began with comes along."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from circman_redis import BadBackup, InvalidJSON, NoState, StateConflict, StateManager
from circman_redis.backup import backup, begin, restore
from circman_redis.backup_file import EndRecord, EntryRecord, TwinRecord, Writer, read
from circman_redis.connection import Store, adopt
from circman_redis.twin.branches import Branch, branches, fork
from tests.servers import Server

DEEP = json.loads('{"a":' * 63 + "{}" + "}" * 63)


@pytest.fixture
def store(server: Server) -> Iterator[Store]:
    with server.client() as client:
        yield adopt(client)


@pytest.fixture
def twin(server: Server, twin_id: str) -> Iterator[StateManager]:
    with StateManager(twin_id, url=server.url) as manager:
        manager.update_many([{"n": 0, "text": '{"}'}, {"m": 1}])
        yield manager


@pytest.fixture
def branch(twin: StateManager) -> Iterator[Branch]:
    made = fork(twin, "b")
    with made.manager as manager:
        manager.update_state({"n": 5})
        yield made


def copy_of(store: Store, *twins: str) -> io.BytesIO:
    file = io.BytesIO()
    assert len(list(backup(store, twins, file))) == len(twins)
    return file


def text_of(manager: StateManager) -> bytes:
    return bytes(manager.client.get(manager.keys.origin) or b"")


def test_a_branch_comes_back_with_its_origin(store: Store, twin: StateManager, branch: Branch) -> None:
    """Byte for byte; and can be merged back."""
    file, before = copy_of(store, branch.manager.twin), text_of(branch.manager)
    branch.manager.delete()
    restore(store, file, "file")
    assert text_of(branch.manager) == before
    assert [change.pointer for change in branch.diff_to_origin()] == ["/n"]
    assert branch.merge_back() is not None
    assert twin.get_current_state()["n"] == 5


def test_a_branch_of_a_twin_that_was_restored_too(store: Store, twin: StateManager, branch: Branch) -> None:
    """The copy has the commit that the branch was made of, and so the twin is still the same."""
    file = copy_of(store, twin.twin, branch.manager.twin)
    twin.delete()
    restore(store, file, "file")
    assert branches(twin) == [branch.manager.twin]
    twin.update_state({"m": 2})
    assert branch.merge_back() is not None
    state = twin.get_current_state()
    assert (state["n"], state["m"]) == (5, 2)


def test_a_branch_of_what_the_copy_of_the_twin_has_not(store: Store, twin: StateManager) -> None:
    """It was made of a later commit; the restored twin has another one in its place."""
    file = copy_of(store, twin.twin)
    twin.update_state({"m": 3})
    with fork(twin, "late").manager as manager:
        manager.update_state({"n": 5})
        restore(store, file, "file", replace=True)
        twin.update_state({"m": 4})
        with pytest.raises(StateConflict, match="set back"):
            Branch(manager, twin).merge_back()


def written(file: io.BytesIO, **change: bytes) -> io.BytesIO:
    """The same backup with something else in its twins' lines."""
    file.seek(0)
    writer = Writer()
    made = [writer.first("2026-03-01T12:00:00Z")]
    for record in read(file, "file"):
        match record:
            case TwinRecord():
                made.append(writer.twin(replace(record, **change)))  # type: ignore[arg-type]
            case EntryRecord():
                made.append(writer.entry(record.text))
            case EndRecord():
                made.append(writer.end())
    return io.BytesIO(b"".join([*made, writer.last()]))


def test_a_backup_from_before(store: Store, branch: Branch) -> None:
    """Of a branch, when the file had no origin yet: it comes back without one, which is said."""
    file = written(copy_of(store, branch.manager.twin), origin=b"")
    assert b'"origin"' not in file.getvalue()
    restore(store, file, "file", replace=True)
    assert text_of(branch.manager) == b""
    assert branch.manager.get_current_state()["n"] == 5
    with pytest.raises(NoState, match="is no branch"):
        branch.diff_to_origin()


def test_a_branch_as_a_twin_of_its_own(store: Store, branch: Branch, twin_id: str) -> None:
    """It is no branch any more; under the id of another branch it is one."""
    file = copy_of(store, branch.manager.twin)
    restore(store, file, "file", as_twin=f"{twin_id}-own")
    restore(store, file, "file", as_twin=f"{twin_id}@c")
    with StateManager(f"{twin_id}-own", client=branch.manager.client) as own, branch.trunk.branch("c") as other:
        assert text_of(own) == b""
        assert text_of(other) == text_of(branch.manager)
        assert Branch(other, branch.trunk).merge_back() is not None


def test_a_branch_of_a_state_as_deep_as_may_be(store: Store, twin: StateManager) -> None:
    """In its origin it stands one level deeper."""
    twin.set_state(DEEP)
    with fork(twin, "deep").manager as deep:
        file, before = copy_of(store, deep.twin), text_of(deep)
        restore(store, file, "file", replace=True)
        assert text_of(deep) == before
        assert Branch(deep, twin).diff_to_origin() == []


FACTS = b'{"twin":"t","epoch":"e","version":1,"committed_at":"2026-03-01T12:00:00.000000Z"'


@pytest.mark.parametrize(
    "origin",
    [
        *(b"{}", b"[]", b"3", b'"x"', FACTS + b"}", FACTS + b',"state":3}', FACTS + b',"state":{"a": 1}}'),
        *(FACTS + b',"state":{"a":1,"a":2}}', FACTS + b',"state":{},"more":1}', b'{"twin":"t","state":{}}'),
        FACTS.replace(b"1,", b"0,") + b',"state":{}}',
    ],
)
def test_an_origin_that_is_none(store: Store, branch: Branch, origin: bytes) -> None:
    """Is refused, by the file's reader and by the script; and nothing is changed."""
    file = written(copy_of(store, branch.manager.twin), origin=origin)
    before = branch.manager.snapshot()
    with pytest.raises(BadBackup, match="line 2"):
        restore(store, file, "file", replace=True)
    file.seek(0)
    (record, *_) = read(written(copy_of(store, branch.manager.twin)), "file")
    assert isinstance(record, TwinRecord)
    with pytest.raises(InvalidJSON):
        branch.manager.run(begin(branch.manager.keys, "0" * 16, replace(record, origin=origin)))
    assert branch.manager.snapshot() == before
