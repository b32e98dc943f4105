"""Commands that are lost on the way, and said again: done once, whatever became of the first time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from circman_redis import MISSING, StateConflict, StateManager
from circman_redis.twin.commands import CommandResult
from tests.servers import Server
from tests.topology.proxy import Faults, Proxy
from tests.twin.faces import Faces, faces_of

pytestmark = pytest.mark.bundled_first

RATE = "/production_line/production_rate"
WINDOWS = 2 * 2048 + 1
"""Calls after which an id is forgotten."""
LOSES_REPLY = Faults(drop_reply=1.0, only=frozenset({"EVALSHA", "EVAL"}))
LOSES_REQUEST = Faults(drop_request=1.0, only=frozenset({"EVALSHA", "EVAL"}))


@pytest.fixture(params=["sync", "async"])
def faces(request: pytest.FixtureRequest) -> Iterator[Faces]:
    with faces_of(request.param) as made:
        yield made


@pytest.fixture
def writer(server: Server, twin_id: str) -> Iterator[StateManager]:
    """Somebody else who looks at the twin, and writes to it."""
    with StateManager(twin_id, client=server.client()) as one:
        one.set_state({"production_line": {"production_rate": 60.0}, "note": "hi"})
        yield one


@pytest.fixture
def interface(faces: Faces, server: Server, twin_id: str, writer: StateManager) -> Any:
    return faces.of(faces.manager(twin_id, url=server.url))


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server) as one:
        yield one


@pytest.fixture
def lossy(faces: Faces, proxy: Proxy, twin_id: str, writer: StateManager) -> Any:
    """An interface beyond the proxy."""
    url = f"redis://127.0.0.1:{proxy.port}"
    interface = faces.of(faces.manager(twin_id, url=url, retries=0, timeout=5.0))
    assert interface.set_target("/plan", {}, operator="anna").version == 2
    return interface


def lost(interface: Any, proxy: Proxy, faults: Faults, pointer: str, value: Any) -> CommandResult:
    """The answer to a command that was lost."""
    proxy.faults = faults
    answer: CommandResult = interface.set_target(pointer, value, operator="anna")
    proxy.faults = Faults()
    assert (answer.done, answer.version) == (None, None)
    assert answer.commit_id
    assert answer.commit_id in str(answer.error)
    assert str(answer).startswith("not known: ")
    return answer


def again(interface: Any, answer: CommandResult, **other: Any) -> CommandResult:
    arguments = {"operator": answer.operator, "commit_id": answer.commit_id} | other
    said: CommandResult = interface.set_target(answer.pointer, answer.value, **arguments)
    return said


def test_a_lost_answer(lossy: Any, proxy: Proxy, writer: StateManager) -> None:
    """Said again, it is told what the first one did: what stood there then, not now."""
    answer = lost(lossy, proxy, LOSES_REPLY, RATE, 75)
    assert writer.get_current_state()["production_line"]["production_rate"] == 75
    writer.update_state({"production_line": {"production_rate": 80}})
    told = again(lossy, answer)
    assert (told.done, told.before, told.version, told.commit_id) == (True, 60.0, 3, None)
    assert writer.snapshot().version == 4
    assert again(lossy, answer) == told


def test_a_lost_command(lossy: Any, proxy: Proxy, writer: StateManager) -> None:
    """Said again, it is done now."""
    answer = lost(lossy, proxy, LOSES_REQUEST, RATE, 75)
    writer.update_state({"production_line": {"production_rate": 80}})
    told = again(lossy, answer)
    assert (told.done, told.before, told.version) == (True, 80, 4)


def test_said_again_where_its_place_is_there_no_more(lossy: Any, proxy: Proxy, writer: StateManager) -> None:
    """The first one was done all the same; of one that was not, that is said."""
    done = lost(lossy, proxy, LOSES_REPLY, "/plan/rate", 1)
    lost_one = lost(lossy, proxy, LOSES_REQUEST, "/plan/speed", 1)
    writer.update_state({"plan": "none"})
    told = again(lossy, done)
    assert (told.done, told.before, told.version) == (True, MISSING, 3)
    told = again(lossy, lost_one)
    assert (told.done, told.commit_id) == (False, None)
    assert "/plan is 'none'" in str(told.error)
    writer.update_state({"plan": {}})
    assert writer.snapshot().version == 5


def test_what_is_not_done_is_not_done_later(interface: Any, writer: StateManager) -> None:
    """The first attempt may be under way still: it is refused when it arrives."""
    commit_id = writer.new_commit_id()
    answer = interface.set_target("/note/x", 1, operator="anna", commit_id=commit_id)
    assert answer.done is False
    assert "/note is 'hi'" in str(answer.error)
    with pytest.raises(StateConflict):
        writer.update_state({"note": {"x": 1}}, commit_id=commit_id)
    assert writer.snapshot().version == 1


def test_said_again_by_another_process(lossy: Any, proxy: Proxy, faces: Faces, server: Server, twin_id: str) -> None:
    answer = lost(lossy, proxy, LOSES_REPLY, RATE, 75)
    told = again(faces.of(faces.manager(twin_id, url=server.url)), answer)
    assert (told.done, told.before, told.version) == (True, 60.0, 3)


def test_said_again_after_the_history_was_cleared(lossy: Any, proxy: Proxy, writer: StateManager) -> None:
    """That it was done is known; what stood there is not."""
    answer = lost(lossy, proxy, LOSES_REPLY, RATE, 75)
    writer.update_state({"production_line": {"production_rate": 80}})
    writer.clear_history()
    told = again(lossy, answer)
    assert (told.done, told.before, told.version) == (True, MISSING, 3)


def test_said_again_where_the_rules_have_changed(lossy: Any, proxy: Proxy, writer: StateManager) -> None:
    """A refusal by the script is of the first one too: it does not know the id."""
    answer = lost(lossy, proxy, LOSES_REQUEST, RATE, -75)
    told = again(lossy, answer)
    assert (told.done, told.commit_id) == (False, None)
    assert told.violations
    assert again(lossy, answer).done is False


def test_said_again_too_late(lossy: Any, proxy: Proxy, writer: StateManager) -> None:
    """The id was forgotten: nobody knows, and nothing is done twice."""
    answer = lost(lossy, proxy, LOSES_REPLY, RATE, 75)
    for _ in range(5):
        writer.update_many([{"n": n} for n in range(1000)])
    for _ in range(WINDOWS):
        writer.update_state({"n": 0})
    before = writer.snapshot().version
    told = again(lossy, answer)
    assert (told.done, told.commit_id) == (None, None)
    assert writer.snapshot().version == before


def test_an_id_of_another_command(lossy: Any, proxy: Proxy, writer: StateManager) -> None:
    answer = lost(lossy, proxy, LOSES_REPLY, RATE, 75)
    told = lossy.set_target("/plan/rate", 1, operator="anna", commit_id=answer.commit_id)
    assert told.done is False
    assert "that of another commit, version 3" in str(told.error)
    assert writer.snapshot().version == 3


def test_an_id_of_ones_own(interface: Any, writer: StateManager) -> None:
    """From before the first time on: what a program keeps, to ask again after it was killed itself."""
    commit_id = writer.new_commit_id()
    first = interface.set_target(RATE, 75, operator="anna", commit_id=commit_id)
    assert (first.done, first.before, first.version) == (True, 60.0, 2)
    assert interface.set_target(RATE, 75, operator="anna", commit_id=commit_id) == first


def test_a_server_that_is_dead(faces: Faces, own_server: Server, twin_id: str) -> None:
    """Nothing was sent: so it is known. But not of a command that is said again."""
    interface = faces.of(faces.manager(twin_id, url=own_server.url, timeout=0.3))
    assert interface.set_target("/a", 1, operator="anna").done
    own_server.kill()
    answer = interface.set_target("/a", 2, operator="anna")
    assert (answer.done, answer.commit_id) == (False, None)
    told = interface.set_target("/a", 2, operator="anna", commit_id="said-before")
    assert (told.done, told.commit_id) == (None, "said-before")
    own_server.start()
    assert interface.set_target("/a", 2, operator="anna", commit_id="said-before").before == 1


def test_a_server_that_is_killed_in_the_middle(faces: Faces, own_server: Server, twin_id: str) -> None:
    """Again and again, while commands come: each is done exactly once, and each answer is true."""
    interface = faces.of(faces.manager(twin_id, url=own_server.url, timeout=0.3))
    assert interface.set_target("/n", 0, operator="anna").done
    with ThreadPoolExecutor(1) as pool:
        told = []
        for number in range(1, 11):
            killed = pool.submit(own_server.kill)
            answer = interface.set_target("/n", number, operator="anna")
            killed.result()
            own_server.start()
            while not answer.done:
                answer = interface.set_target("/n", number, operator="anna", commit_id=answer.commit_id)
            told.append(answer)
    assert [answer.before for answer in told] == list(range(10))
    with StateManager(twin_id, client=own_server.client()) as manager:
        assert [one.state["n"] for one in manager.get_commits()] == list(range(10, -1, -1))
        assert manager.verify() == []


def test_done_and_not_confirmed(faces: Faces, server: Server, twin_id: str, writer: StateManager) -> None:
    """There is no replica: it was committed, and the answer says what it lacks."""
    manager = faces.manager(twin_id, url=server.url, durability="replicas:1", timeout=0.5)
    answer = faces.of(manager).set_target(RATE, 75, operator="anna")
    assert (answer.done, answer.before, answer.version) == (True, 60.0, 2)
    assert "not known to be durable" in str(answer.error)
    assert str(answer).startswith("done: ")
    assert "durable" in str(answer)
