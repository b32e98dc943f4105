"""What a person is shown of a twin, whatever happens to it; for threads and for tasks, over managers and mirrors."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from circman_redis import AsyncStateManager, StateManager, StoreUnavailable, UsageError
from circman_redis.twin.core import DigitalTwin
from circman_redis.twin.interface import AsyncHumanInterface, HumanInterface
from circman_redis.twin.kpis import Kpis, Stock
from tests.servers import Server, free_port, wait_until
from tests.twin.faces import Faces, faces_of

pytestmark = pytest.mark.bundled_first

SECRET = "hunter2-s3cr3t"
STATE = {
    "production_line": {"status": "running", "production_rate": 60.0, "energy_consumption": 10.0, "defect_rate": 0.1},
    "materials": {"glass": {"inventory": 7, "quality": 0.5}, "steel": {"inventory": 9}},
}


@pytest.fixture(params=["sync", "async"])
def faces(request: pytest.FixtureRequest) -> Iterator[Faces]:
    with faces_of(request.param) as made:
        yield made


@pytest.fixture
def manager(faces: Faces, server: Server, twin_id: str) -> Any:
    """Of a twin without a state."""
    return faces.manager(twin_id, url=server.url)


@pytest.fixture
def writer(server: Server, twin_id: str) -> Iterator[StateManager]:
    """Somebody else who writes to the twin."""
    with StateManager(twin_id, client=server.client()) as one:
        one.set_state(STATE)
        yield one


def assert_told(interface: Any, caplog: pytest.LogCaptureFixture, *words: str) -> str:
    """That it does not raise, says what it is in the state's place, and logs it; without the password."""
    caplog.clear()
    shown = interface.get_current_state()
    assert shown.keys() == {"system_status", "error"}
    assert shown["system_status"] == "error"
    (record,) = [one for one in caplog.records if one.name == "circman_redis.twin"]
    assert record.levelno == logging.ERROR
    assert shown["error"] in record.getMessage()
    for word in words:
        assert word in shown["error"]
    assert SECRET not in json.dumps(shown) + caplog.text
    return str(shown["error"])


# --- the state -------------------------------------------------------------------------------------------------


def test_the_state_is_the_callers_own(faces: Faces, manager: Any, writer: StateManager) -> None:
    interface = faces.of(manager)
    shown = interface.get_current_state()
    assert shown == writer.get_current_state()
    shown["materials"].clear()
    assert interface.get_current_state() == writer.get_current_state()


def test_before_the_first_commit_there_is_none(faces: Faces, manager: Any) -> None:
    assert faces.of(manager).get_current_state() == {}
    assert faces.of(manager).get_kpis() == Kpis()
    assert faces.of(manager).get_history() == []


def test_a_closed_manager(faces: Faces, manager: Any, caplog: pytest.LogCaptureFixture) -> None:
    interface = faces.of(manager)
    faces.do(manager.close)
    assert_told(interface, caplog, "is closed")


def test_a_server_that_is_killed_and_comes_back(
    faces: Faces, own_server: Server, twin_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In the middle of it all: the first look is told, and the first after that sees the state again."""
    manager = faces.manager(twin_id, url=own_server.url, timeout=0.5)
    interface = faces.of(manager)
    assert interface.set_target("/a", 1, operator="anna").done
    own_server.kill()
    assert_told(interface, caplog, twin_id)
    with pytest.raises(StoreUnavailable):
        interface.get_kpis()
    own_server.start()
    assert interface.get_current_state()["a"] == 1
    assert interface.set_target("/a", 2, operator="anna").before == 1


def test_a_server_that_does_not_answer(
    faces: Faces, server: Server, twin_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    interface = faces.of(faces.manager(twin_id, url=server.url, timeout=0.3))
    with server.stopped():
        assert_told(interface, caplog, twin_id)


@pytest.mark.parametrize("damage", [("SET", "no JSON"), ("SET", "[1]"), ("SET", '{"a":\xff}'), ("LPUSH", "x")])
def test_a_damaged_twin(
    faces: Faces, manager: Any, writer: StateManager, damage: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """It is not shown as if it were a state."""
    writer.client.delete(writer.keys.state)
    writer.client.execute_command(damage[0], writer.keys.state, damage[1])
    assert_told(faces.of(manager), caplog)


def test_a_bug(faces: Faces, manager: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody's mistake, anywhere below: where it was made is in the log, and the password in its words is not."""

    class OddError(Exception):
        def __str__(self) -> str:
            raise self

    def mistaken(error: BaseException) -> Any:
        def fail(*_: Any) -> Any:
            raise error

        return fail

    interface = faces.of(manager)
    url = f"redis://u:{SECRET}@host:1/0?password={SECRET}&ssl_password={SECRET}"
    for error in (RuntimeError(f"no way to {url} today\nnor to {url}"), KeyError("x"), ValueError(), MemoryError()):
        monkeypatch.setattr(manager, "get_current_state", mistaken(error))
        assert_told(interface, caplog, f"unexpected {type(error).__name__}")
        assert "in mistaken" in caplog.text or "in fail" in caplog.text
    monkeypatch.setattr(manager, "get_current_state", mistaken(OddError()))
    assert_told(interface, caplog, "unexpected OddError")


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_is_no_failure(
    server: Server, twin_id: str, monkeypatch: pytest.MonkeyPatch, ending: type[BaseException]
) -> None:
    def end() -> Any:
        raise ending

    with StateManager(twin_id, url=server.url) as manager:
        monkeypatch.setattr(manager, "get_current_state", end)
        with pytest.raises(ending):
            HumanInterface(manager).get_current_state()


def test_a_cancelled_look_is_cancelled(server: Server, twin_id: str) -> None:
    """And not told as an error of the twin."""

    async def main() -> None:
        async with AsyncStateManager(twin_id, url=server.url) as manager:
            with server.stopped():
                task = asyncio.create_task(HumanInterface(manager).get_current_state())
                done, _ = await asyncio.wait([task], timeout=0.1)
                assert not done
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

    asyncio.run(main())


def test_no_password_is_said(faces: Faces, server: Server, twin_id: str, caplog: pytest.LogCaptureFixture) -> None:
    """Of a server that is there no more, or refuses the user now."""
    caplog.set_level(logging.DEBUG)
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "eve", "reset", "on", f">{SECRET}", "+@all", "~*", "&*")
        url = f"unix://eve:{SECRET}@{server.socket}"
        interface = faces.of(faces.manager(twin_id, url=url, timeout=0.5))
        assert interface.set_target("/a", 1, operator="anna").done
        admin.execute_command("ACL", "SETUSER", "eve", "resetpass", ">another", "-@all")
        admin.client_kill_filter(_type="normal", skipme=True)
        assert_told(interface, caplog, twin_id)
        answer = interface.set_target("/a", 2, operator="anna")
        assert answer.done is False
        admin.acl_deluser("eve")
    assert SECRET not in f"{answer} {answer!r} {answer.to_json()} {interface!r}" + caplog.text


def test_a_dead_server_of_a_url_with_a_password(twin_id: str, caplog: pytest.LogCaptureFixture) -> None:
    """An asynchronous manager is there before its server."""

    async def main() -> dict[str, Any]:
        url = f"redis://u:{SECRET}@127.0.0.1:{free_port()}"
        manager = AsyncStateManager(twin_id, url=url, timeout=0.3)
        shown = await HumanInterface(manager).get_current_state()
        await manager.close()
        return shown

    shown = asyncio.run(main())
    assert shown["system_status"] == "error"
    assert SECRET not in shown["error"] + caplog.text


# --- the past, and the figures -----------------------------------------------------------------------------------


def test_the_past_is_the_managers(faces: Faces, manager: Any, writer: StateManager) -> None:
    writer.update_many([{"n": n} for n in range(4)])
    interface = faces.of(manager)
    assert interface.get_history() == writer.get_history()
    assert [one["n"] for one in interface.get_history(limit=2)] == [1, 2]


def test_the_figures(faces: Faces, manager: Any, writer: StateManager) -> None:
    """Of the newest commits: an hour of 60 units and 5 kWh, half of it idle."""
    line = STATE["production_line"]
    for at, change in (("12:00", {}), ("12:30", {"status": "idle", "production_rate": 60.0}), ("13:00", {})):
        energy = 10.0 if at == "12:00" else 15.0
        writer.update_state(
            {"timestamp": f"2026-11-22T{at}:00Z", "production_line": line | {"energy_consumption": energy} | change}
        )
    found = faces.of(manager).get_kpis(limit=3)
    assert (found.period, found.availability, found.yield_rate) == (3600, 0.5, 0.9)
    assert found.energy_per_unit == pytest.approx(5 / 60)
    assert found.lowest_stock == Stock("glass", 7)
    assert faces.of(manager).get_kpis(limit=1).period == 0
    for wrong in (0, -1, 1.5, "3"):
        with pytest.raises(UsageError, match="limit="):
            faces.of(manager).get_kpis(limit=wrong)


# --- mirrors -----------------------------------------------------------------------------------------------------


def test_a_mirror_shows_the_state(faces: Faces, manager: Any, writer: StateManager) -> None:
    """And the figures of it; what it cannot do it says."""
    mirror = faces.mirror(manager)
    interface = faces.of(mirror)
    shown = interface.get_current_state()
    assert shown == writer.get_current_state()
    shown["materials"]["glass"]["inventory"] = 0  # a copy of one's own
    writer.update_state({"materials": {"glass": {"inventory": 3}}})
    wait_until(lambda: interface.get_current_state() == writer.get_current_state())
    assert interface.get_kpis().lowest_stock == Stock("glass", 3)
    assert interface.get_kpis().availability is None
    with pytest.raises(UsageError, match=r"a mirror has no history: .*manager="):
        interface.get_history()
    with pytest.raises(UsageError, match=r"a mirror is for reading only: .*manager="):
        interface.set_target("/a", 1, operator="anna")


def test_a_mirror_with_its_manager_does_it_all(faces: Faces, manager: Any, writer: StateManager) -> None:
    interface = faces.of(faces.mirror(manager), manager=manager)
    answer = interface.set_target("/production_line/production_rate", 70.0, operator="anna")
    assert (answer.done, answer.before, answer.version) == (True, 60.0, 2)
    assert len(interface.get_history()) == 1
    assert interface.get_kpis().production_rate == 70.0
    wait_until(lambda: interface.get_current_state() == writer.get_current_state())


def test_a_mirror_that_is_too_old(
    faces: Faces, own_server: Server, twin_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An old state is not shown as the current one."""
    manager = faces.manager(twin_id, url=own_server.url, timeout=1.0)
    interface = faces.of(faces.mirror(manager, max_age=0.5))
    assert interface.get_current_state() == {}
    own_server.kill()
    wait_until(lambda: "error" in interface.get_current_state())
    assert_told(interface, caplog, "over its max_age")
    own_server.start()
    wait_until(lambda: interface.get_current_state() == {})


def test_a_mirror_of_another_twin(faces: Faces, manager: Any, server: Server) -> None:
    other = faces.manager("another", url=server.url)
    with pytest.raises(UsageError, match="the mirror is of twin"):
        HumanInterface(faces.mirror(manager), manager=other)


def test_an_asynchronous_mirror_that_does_not_stand_yet(server: Server, twin_id: str) -> None:
    async def main() -> dict[str, Any]:
        async with AsyncStateManager(twin_id, url=server.url) as manager:
            return await HumanInterface(manager.mirror()).get_current_state()

    assert "await it" in asyncio.run(main())["error"]


# --- what it can be made of --------------------------------------------------------------------------------------


class Plant:
    """What has a state manager."""

    def __init__(self, manager: Any) -> None:
        self.state_manager = manager


def test_what_has_a_state_manager(faces: Faces, manager: Any, writer: StateManager) -> None:
    interface = faces.of(Plant(manager))
    assert interface.get_current_state() == writer.get_current_state()
    assert faces.of(faces.mirror(manager), manager=Plant(manager)).get_history() == []
    assert repr(interface).endswith(f"of twin {writer.twin!r}>")


def test_a_digital_twin(server: Server, twin_id: str, writer: StateManager) -> None:
    """The whole of one, which goes on beside it."""
    with StateManager(twin_id, url=server.url) as manager:
        interface = HumanInterface(DigitalTwin(state_manager=manager))
        assert interface.set_target("/production_line/status", "idle", operator="anna").before == "running"
        assert interface.get_current_state() == writer.get_current_state()


def test_what_it_cannot_be_made_of(faces: Faces, manager: Any) -> None:
    for wrong in (None, 7, "line-1", {}, StateManager, Plant(None), Plant(3)):
        with pytest.raises(UsageError, match="wanted"):
            HumanInterface(wrong)
        with pytest.raises(UsageError, match="wanted"):
            AsyncHumanInterface(wrong)
    mirror = faces.mirror(manager)
    for wrong in (7, mirror, Plant(None)):
        with pytest.raises(UsageError, match="manager="):
            HumanInterface(mirror, manager=wrong)
    with pytest.raises(UsageError, match="leave it out"):
        HumanInterface(manager, manager=manager)


def test_the_asynchronous_one_takes_no_other(server: Server, twin_id: str) -> None:
    with StateManager(twin_id, url=server.url) as manager, pytest.raises(UsageError, match="not asynchronous"):
        AsyncHumanInterface(manager)  # type: ignore[arg-type]
