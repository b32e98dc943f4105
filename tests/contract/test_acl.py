"""Roles: who has the rights that `circman-redis acl` prints does all that the role may, and cannot do the rest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from pydantic import BaseModel

from circman_redis import JSONText, NotPermitted, StateManager, Unconfirmed, acl, backup, scripts
from circman_redis.acl import ROLES, Role
from circman_redis.keys import TwinKeys
from tests.contract.conftest import Managers
from tests.servers import Server, contents, wait_until

KEYS = TwinKeys("t")
ONCE = pytest.mark.parametrize("mode", ["sync"])
"""For what only the server decides: to ask it by both kinds of manager takes twice as long."""
OLD = "2020-01-01T00:00:00Z"

Act = Callable[[StateManager, Path], object]


class Model(BaseModel):
    """A counter."""

    n: int = 0


class Wider(Model):
    """And another."""

    m: int = 0


# What each role may do beyond those before it.
READS: dict[str, Act] = {
    "state": lambda twin, _: twin.get_current_state(),
    "snapshot": lambda twin, _: twin.snapshot(),
    "history": lambda twin, _: twin.get_history(),
    "sequence": lambda twin, _: (len(twin.state_history), twin.state_history[0]),
    "commits": lambda twin, _: twin.get_commits(),
    "at a time": lambda twin, _: twin.get_state_at_time(OLD),
    "at a version": lambda twin, _: twin.get_state_at_version(2),
    "diff": lambda twin, _: twin.diff(1, 3),
    "config": lambda twin, _: (twin.config, twin.schema, twin.history_length),
    "check": lambda twin, _: twin.validate_state({"n": 1}),
    "verify": lambda twin, _: twin.verify(),
    "audit": lambda twin, _: twin.audit(),
    "export": lambda twin, folder: twin.export_state(folder / "exported.json"),
}
COMMITS: dict[str, Act] = {
    "merge": lambda twin, _: twin.update_state({"n": 9}),
    "late": lambda twin, _: twin.update_state({"n": 9, "timestamp": OLD}),
    "set": lambda twin, _: twin.set_state({"n": 9}),
    "many": lambda twin, _: twin.update_many([{"n": 1}, {"n": 2}]),
    "adjust": lambda twin, _: twin.adjust({"/n": 1}),
    "modify": lambda twin, _: twin.modify(lambda state: {**state, "n": 9}),
    "text": lambda twin, _: twin.update_state(JSONText('{"n": 9}')),
    "import": lambda twin, folder: twin.import_state(_exported(folder)),
    "clear": lambda twin, _: twin.clear_history(),
}
SETTINGS: dict[str, Act] = {
    "publish": lambda twin, _: twin.publish_model(Wider),
    "force": lambda twin, _: twin.publish_model(Wider, validation="strict", force=True),
    "length": lambda twin, _: twin.set_history_length(5),
    "form": lambda twin, _: twin.set_history("compact"),
    "delete": lambda twin, _: twin.delete(),
}


def _exported(folder: Path) -> Path:
    file = folder / "to-import.json"
    file.write_text('{"n": 9}')
    return file


@pytest.fixture
def as_user(manager: Managers, server: Server, twin_id: str) -> Iterator[Managers]:
    """Makes managers whose user has the rules of a role, or those named."""

    def make(role: Role, *more: str, twin: str | None = twin_id, name: str = twin_id, **kwargs: Any) -> StateManager:
        url = login(server, role, *more, twin=twin)
        return manager(name, url=url, **{"timeout": 5.0, **kwargs})

    yield make
    with server.client() as admin:
        for role in ROLES:
            admin.acl_deluser(f"the-{role}")


def login(server: Server, role: Role, *more: str, twin: str | None = None, **kwargs: Any) -> str:
    """Makes a user from the line that is printed, and returns a URL for it."""
    with server.client() as admin:
        admin.execute_command(*acl.line(f"the-{role}", acl.rules(role, twin=twin, **kwargs)).split(), ">secret", *more)
    return f"unix://the-{role}:secret@{server.socket}"


@pytest.fixture
def made(open_twin: Managers) -> Iterator[StateManager]:
    """The twin with a model, a history and times that step back, made by somebody who may."""
    with open_twin() as twin:
        twin.publish_model(Model)
        twin.update_many([{"n": n, "timestamp": f"2026-01-01T00:00:0{n}Z"} for n in range(4)])
        yield twin


# --- the table -------------------------------------------------------------------------------------------------------


def run_by(names: tuple[str, ...]) -> set[str]:
    """The commands in the text of scripts."""
    found = set()
    for text in (scripts.load(name).text for name in names):
        found |= set(re.findall(r"(?:call|check_right)\(\s*'([A-Z]+)'", text))
        found |= {"PUBLISH", "SPUBLISH"} if "publish_command(" in text else set()
    return found


def test_each_script_is_somebodys() -> None:
    assert sorted(name for role in ROLES for name in acl.SCRIPTS[role]) == sorted(scripts.NAMES)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_what_its_scripts_run(role: Role) -> None:
    allowed = {command[0] for command in acl.commands(role, KEYS, cluster=True)}
    assert run_by(tuple(name for one in ROLES[: ROLES.index(role) + 1] for name in acl.SCRIPTS[one])) - allowed == set()


def test_a_reader_has_no_command_that_writes(server: Server, raw: redis.Redis) -> None:
    writing = {name.decode().upper() for name in raw.execute_command("ACL", "CAT", "write")}
    assert len(writing) > 50
    names = {one.removeprefix("+").upper() for one in acl.rules("reader", cluster=True) if one.startswith("+")}
    assert names & (writing | {"EVAL", "EVALSHA", "PUBLISH", "SPUBLISH", "FCALL"}) == set()


def test_names_that_are_none_are_refused() -> None:
    for user in ("", "a b", "a\nACL SETUSER b", '"', "x" * 129):
        with pytest.raises(ValueError, match="use 1 to 128"):
            acl.line(user, [])
    for twin in ("*", "a}:x{", "?", "[a-z]", ""):
        with pytest.raises(ValueError, match="twin id"):
            acl.rules("reader", twin=twin)
    with pytest.raises(ValueError, match="prefix"):
        acl.rules("reader", "circ*")


# --- what is allowed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("act", READS)
def test_every_role_reads(as_user: Managers, made: StateManager, tmp_path: Path, role: Role, act: str) -> None:
    with as_user(role) as twin:
        assert READS[act](twin, tmp_path) == READS[act](made, tmp_path)


@pytest.mark.parametrize("source", ["channel", "keyspace"])
def test_a_reader_follows(as_user: Managers, made: StateManager, source: str) -> None:
    with as_user("reader") as twin, twin.subscribe(source=source, timeout=30) as events:
        made.update_state({"n": 7})
        assert next(iter(events)).version == 5


def test_a_reader_has_a_mirror(as_user: Managers, made: StateManager) -> None:
    with as_user("reader") as twin, twin.mirror() as mirror:
        version = made.update_state({"n": 7}).version
        wait_until(lambda: mirror.version == version)
        assert mirror.state["n"] == 7


@pytest.mark.parametrize("role", ["writer", "admin"])
@pytest.mark.parametrize("act", COMMITS)
def test_a_writer_commits(
    as_user: Managers, made: StateManager, raw: redis.Redis, tmp_path: Path, role: Role, act: str
) -> None:
    before = contents(raw)
    with as_user(role) as twin:
        COMMITS[act](twin, tmp_path)
    assert contents(raw) != before
    assert made.verify() == []


def test_a_writer_waits_for_replicas(as_user: Managers, made: StateManager) -> None:
    with as_user("writer", timeout=1.0) as twin, pytest.raises(Unconfirmed, match="0 of 1 replicas"):
        twin.update_state({"n": 9}, durability="replicas:1")
    with as_user("writer", "-wait", timeout=1.0) as twin, pytest.raises(Unconfirmed, match="wait"):
        twin.update_state({"n": 9}, durability="replicas:1")


@pytest.mark.parametrize("act", SETTINGS)
def test_an_admin_does_the_rest(
    as_user: Managers, made: StateManager, raw: redis.Redis, tmp_path: Path, act: str
) -> None:
    before = contents(raw)
    with as_user("admin") as twin:
        SETTINGS[act](twin, tmp_path)
    assert contents(raw) != before


def test_an_admin_backs_up_and_restores_and_a_reader_backs_up(
    server: Server, made: StateManager, twin_id: str, raw: redis.Redis, tmp_path: Path
) -> None:
    for role in ROLES:
        backup_to(login(server, role, twin=twin_id), tmp_path / role, twin_id)
    before = contents(raw)
    for role in ("reader", "writer"):
        with pytest.raises(NotPermitted):
            restore_from(login(server, role, twin=twin_id), tmp_path / "admin", twin_id)
        assert contents(raw) == before
    restore_from(login(server, "admin", twin=twin_id), tmp_path / "admin", twin_id)
    assert made.verify() == []
    assert contents(raw) != before


def backup_to(url: str, file: Path, twin: str) -> None:
    with StateManager(twin, url=url) as manager, file.open("wb") as there:
        list(backup.backup(manager._driver.store, [twin], there))


def restore_from(url: str, file: Path, twin: str) -> None:
    with StateManager(twin, url=url) as manager, file.open("rb") as there:
        list(backup.restore(manager._driver.store, there, "file", twin=twin, replace=True) or [])


# --- what is not -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", [*COMMITS, *SETTINGS])
def test_a_reader_changes_nothing(
    as_user: Managers, made: StateManager, raw: redis.Redis, tmp_path: Path, act: str
) -> None:
    before = contents(raw)
    with as_user("reader") as twin, pytest.raises(NotPermitted, match=r"evalsha|permission"):
        (COMMITS | SETTINGS)[act](twin, tmp_path)
    assert contents(raw) == before


@pytest.mark.parametrize("act", SETTINGS)
def test_a_writer_is_no_admin(
    as_user: Managers, made: StateManager, raw: redis.Redis, tmp_path: Path, act: str
) -> None:
    before = contents(raw)
    with as_user("writer") as twin, pytest.raises(NotPermitted, match=r"configure|delete"):
        SETTINGS[act](twin, tmp_path)
    assert contents(raw) == before


def test_a_writer_publishes_no_model_of_its_own(as_user: Managers, raw: redis.Redis, open_twin: Managers) -> None:
    """The first commit from Python would publish one: it says who does."""
    with as_user("writer") as twin:
        with pytest.raises(NotPermitted, match="has no model yet, and this user may not publish one"):
            twin.update_state({"n": 1})
        assert contents(raw) == {}
        with open_twin() as admin:
            admin.publish_model(Model)
        assert twin.update_state({"n": 1}).version == 1


def raw_writes(keys: TwinKeys) -> list[tuple[str | int, ...]]:
    """What one could send without our scripts."""
    commit = scripts.load("commit")
    names = (*keys.committed, keys.leases, keys.events)
    arguments = (len(names), *names, "set", "", "id", "", "", 0, "", '{"n":1}')
    writes = "return redis.call('SET', KEYS[1], 'x')"
    return [
        ("SET", keys.state, "{}"),
        ("DEL", keys.state),
        ("UNLINK", keys.history),
        ("GETDEL", keys.state),
        ("GETEX", keys.state, "PX", 1),
        ("EXPIRE", keys.state, 1),
        ("HSET", keys.meta, "version", 9),
        ("RENAME", keys.state, keys.schema),
        ("COPY", keys.state, "elsewhere"),
        ("RESTORE", "elsewhere", 0, b"x"),
        ("SORT", keys.history, "ALPHA", "STORE", keys.ids),
        ("LPUSH", keys.history, "{}"),
        ("EVAL", writes, 1, keys.state),
        ("EVAL_RO", writes, 1, keys.state),
        ("EVAL_RO", "return redis.call('PUBLISH', KEYS[1], 'x')", 1, keys.events),
        ("EVAL_RO", "return redis.call('FLUSHALL')", 0),
        ("EVAL", commit.text, *arguments),
        ("EVAL_RO", commit.text, *arguments),
        ("EVALSHA", commit.sha, *arguments),
        ("EVALSHA_RO", commit.sha, *arguments),
        ("PUBLISH", keys.events, "{}"),
        ("SPUBLISH", keys.events, "{}"),
        *((name,) for name in ("FLUSHALL", "FLUSHDB", "SAVE", "SHUTDOWN", "MONITOR", "RANDOMKEY")),
        *(
            ("KEYS", "*"),
            ("CONFIG", "SET", "maxmemory", "1"),
            ("CONFIG", "GET", "*"),
            ("SCRIPT", "FLUSH"),
            ("SCRIPT", "KILL"),
        ),
        *(("ACL", "SETUSER", "the-reader", "+@all"), ("ACL", "LIST"), ("DEBUG", "SLEEP", 0), ("SWAPDB", 0, 1)),
        *(("MIGRATE", "h", 1, keys.state, 0, 1), ("REPLICAOF", "NO", "ONE"), ("SCAN", 0), ("CLIENT", "LIST")),
        *(("FUNCTION", "LOAD", "#!lua name=x"), ("MODULE", "LOAD", "x"), ("SELECT", 1), ("KEYS", "*")),
    ]


REFUSED = r"permission|no-writes|not allowed|write commands|can't run|acl failure|may not"


def test_nor_does_it_by_raw_commands(server: Server, made: StateManager, raw: redis.Redis) -> None:
    url = login(server, "reader")
    made.update_state({"n": 1})  # commit.lua is loaded
    before = contents(raw)
    with redis.Redis.from_url(url) as reader:
        for command in raw_writes(made.keys):
            with pytest.raises(redis.ResponseError) as refused:
                reader.execute_command(*command)
            said = str(refused.value).lower()
            assert re.search(r"permission|no-writes|not allowed|write commands|can't run|acl failure|may not", said), (
                command
            )
    assert contents(raw) == before


@pytest.mark.parametrize("role", ROLES)
def test_other_twins_and_prefixes_are_closed(
    as_user: Managers, server: Server, manager: Managers, raw: redis.Redis, tmp_path: Path, twin_id: str, role: Role
) -> None:
    """To read and to write, by calls and by hand, and by scripts that are told the keys of one twin and use others."""
    with (
        StateManager("other", client=server.client()) as other,
        StateManager(twin_id, client=server.client(), prefix="foreign") as foreign,
    ):
        for one in (other, foreign):
            one.update_many([{"n": 1}, {"n": 2}])
        before = contents(raw)
        url = login(server, role, twin=twin_id)
        for name, prefix in (("other", None), (twin_id, "foreign")):
            with pytest.raises(NotPermitted):
                manager(name, url=url, prefix=prefix)
        with redis.Redis.from_url(url) as limited:
            for keys in (other.keys, foreign.keys):
                refused = [
                    *(("GET", keys.state), ("EVAL_RO", f"return redis.call('GET', '{keys.state}')", 0)),
                    *(("EVAL_RO", "return redis.call('GET', KEYS[1])", 1, keys.state), ("SUBSCRIBE", keys.events)),
                    *(("PSUBSCRIBE", "*"), ("SUBSCRIBE", f"__keyspace@0__:{keys.state}")),
                    *(command for command in raw_writes(keys) if command[0] not in ("CONFIG", "SCAN")),
                ]
                for command in refused:
                    with pytest.raises(redis.ResponseError):
                        limited.execute_command(*command)
        assert contents(raw) == before


def test_a_writer_who_sets_the_state_by_hand_is_found_out(server: Server, made: StateManager, raw: redis.Redis) -> None:
    """Scripts run with their caller's rights, so whoever commits could also SET; that shows."""
    with redis.Redis.from_url(login(server, "writer")) as writer:
        writer.set(made.keys.state, raw.get(made.keys.state).replace(b'"n":3', b'"n":4'))
    assert [one.key for one in made.verify()] == [made.keys.state]


# --- each right by itself --------------------------------------------------------------------------------------------

# Without it, all of that goes on: it is for `doctor`, for rare moments, or for what is not asked for here.
SPARE = {
    "ping",
    "pttl",
    "hlen",
    "strlen",
    "evalsha_ro",
    "eval_ro",
    "eval",
    "hgetall",
    "wait",
    "subscribe",
    "info",
    "mget",
}


def rights(role: Role) -> list[str]:
    return [one.removeprefix("+") for one in acl.rules(role) if one.startswith("+")]


def refusal(opened: Callable[[], StateManager], act: Act, folder: Path) -> str | None:
    """What is said where a right is missing; None where the call was made."""
    try:
        with opened() as twin:
            act(twin, folder)
    except NotPermitted as error:
        return str(error).lower()
    return None


@ONCE
@pytest.mark.parametrize("missing", rights("writer"))
def test_without_one_right_a_call_is_done_or_refused_as_a_whole(
    as_user: Managers, made: StateManager, raw: redis.Redis, tmp_path: Path, missing: str
) -> None:
    """Redis does not roll back a script: what is refused has to be refused before anything is written."""
    raw.script_flush()
    named = missing.partition("|")[0]
    refused = 0
    for act in (*READS.values(), *COMMITS.values()):
        before = contents(raw)
        if said := refusal(partial(as_user, "writer", f"-{missing}"), act, tmp_path):
            refused += 1
            assert named in said
            assert contents(raw) == before
    assert refused or missing in SPARE, missing
    assert made.verify() == []


@ONCE
@pytest.mark.parametrize("missing", [one for one in rights("admin") if one not in rights("reader")])
def test_the_same_of_an_admin(
    server: Server, made: StateManager, raw: redis.Redis, tmp_path: Path, twin_id: str, missing: str
) -> None:
    for act in ("length", "publish", "restore", "delete"):
        backup_to(server.url, tmp_path / "backup", twin_id)
        url = login(server, "admin", f"-{missing}", twin=twin_id)
        before = kept(raw)
        said = refusal(partial(StateManager, twin_id, url=url), ADMINISTERS[act], tmp_path)
        if said:
            assert missing.partition("|")[0] in said
            assert kept(raw) == before


def _restores(twin: StateManager, folder: Path) -> object:
    with (folder / "backup").open("rb") as there:
        return list(backup.restore(twin._driver.store, there, "backup", twin=twin.twin, replace=True))


ADMINISTERS = {"restore": _restores, **SETTINGS}


def kept(client: redis.Redis) -> dict[bytes, object]:
    """All but what a restore laid by, which expires."""
    return {key: value for key, value in contents(client).items() if b"}:restore" not in key}


@ONCE
@pytest.mark.parametrize("part", ["state", "history", "meta", "rules", "ids", "ids:old", "times", "events"])
def test_a_key_that_is_closed_is_refused_before_anything_is_written(
    as_user: Managers, made: StateManager, raw: redis.Redis, tmp_path: Path, twin_id: str, part: str
) -> None:
    given = [one for one in acl.rules("writer", twin=twin_id) if not one.endswith(f"}}:{part}") or one[0] == "&"]
    for act in COMMITS.values():
        before = contents(raw)
        with as_user("writer", *given) as twin:
            if refusal(lambda twin=twin: twin, act, tmp_path):
                assert contents(raw) == before
            else:
                assert act is COMMITS["clear"]  # it does without rules and ids
                assert part in {"rules", "ids", "ids:old"}
    assert made.verify() == []


@ONCE
def test_a_channel_that_is_closed_is_refused_before_anything_is_written(
    as_user: Managers, made: StateManager, raw: redis.Redis, tmp_path: Path
) -> None:
    for act in COMMITS.values():
        before = contents(raw)
        with as_user("writer", "resetchannels") as twin, pytest.raises(NotPermitted, match="PUBLISH"):
            act(twin, tmp_path)
        assert contents(raw) == before
    with as_user("reader", "resetchannels") as twin, pytest.raises(NotPermitted, match="SUBSCRIBE"):
        twin.subscribe()


@ONCE
@pytest.mark.parametrize("missing", rights("reader"))
def test_without_one_right_a_reader_is_told(
    as_user: Managers, made: StateManager, raw: redis.Redis, tmp_path: Path, missing: str
) -> None:
    raw.script_flush()
    for act in (*READS.values(), lambda twin, _: twin.subscribe().close()):
        said = refusal(partial(as_user, "reader", f"-{missing}"), act, tmp_path)
        assert said is None or missing.partition("|")[0] in said
