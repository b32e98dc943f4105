"""Any object into the front door and into what is pure: an error of ours or a value, and the state as it was."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from circman_redis import CircmanError, StateManager, UsageError, urls
from circman_redis.cli._group import cli as main
from circman_redis.durability import Durability
from circman_redis.keys import TwinKeys
from circman_redis.settings import Settings
from circman_redis.timeline import Timeline
from circman_redis.wish import Wish
from tests.fuzz.junk import drawn, fuzz, junk, mutated
from tests.fuzz.support import KEYS, Subject
from tests.property.texts import Decisions

TEXTS = [
    *(
        "",
        "a",
        "/",
        "/n",
        "/production_line/temperature",
        "/~2",
        "~",
        "\ud800",
        "/\ud800",
        "é" * 70,
        "x" * 129,
        "\0",
        "a b",
    ),
    *(
        "{a}",
        "a}b",
        "*",
        "9" * 400,
        "-1",
        "1e400",
        "nan",
        "inf",
        "2026-03-01T12:00:00Z",
        "2026-02-30T00:00:00Z",
        "0000-00-00",
    ),
    *(
        "epoch:1",
        ":",
        "::",
        "1:2:3",
        "replicas:0",
        "replicas:1",
        "fsync",
        "replicas:9999",
        "full",
        "compact",
        "none",
        "a\n",
        "²",
    ),
]


class Hostile:
    """Nothing about it works."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class OddStr(str):
    """A string that is not itself."""

    __slots__ = ()

    def __str__(self) -> str:
        return "other"


class OddDict(dict[Any, Any]):
    """A dict that lies of its size."""

    def __len__(self) -> int:
        return 0


def recursive() -> dict[str, Any]:
    one: dict[str, Any] = {"a": [1]}
    one["a"].append(one)
    return one


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


LEAVES: list[Any] = [
    *(
        None,
        True,
        0,
        -1,
        1.5,
        float("nan"),
        float("inf"),
        2**63,
        2**64,
        -(2**63) - 1,
        10**400,
        1j,
        b"bytes",
        bytearray(b"x"),
    ),
    *(
        {1, 2},
        (1, "a"),
        [],
        {},
        object(),
        Hostile(),
        OddStr("/n"),
        OddDict(a=1),
        OrderedDict(b=2),
        {1: 2},
        {None: 1},
        {"\ud800": 1},
    ),
    *(
        deep(63),
        deep(64),
        deep(2000),
        {"a": Hostile()},
        {Hostile(): 1},
        {"/n": 1},
        {"/n": True},
        {"/n": "1"},
        {"/n": 10**400},
    ),
    *(
        {b"a": 1},
        {OddStr("a"): 1, "a": 2},
        range(3),
        iter("ab"),
        lambda: 1,
        int,
        {"timestamp": None},
        {"timestamp": 10**30},
        ...,
    ),
]


def anything(draw: Decisions) -> Any:
    kind = draw.below(6)
    if kind == 0:
        return {draw.pick(TEXTS): anything(draw) for _ in range(draw.below(3))}
    if kind == 1:
        return [anything(draw) for _ in range(draw.below(3))]
    if kind == 2:
        return draw.pick(TEXTS)
    if kind == 3:
        return recursive() if draw.below(8) == 0 else json.loads(json.dumps(draw.object()))
    return draw.pick(LEAVES)


@pytest.fixture(scope="module")
def manager(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StateManager]:
    socket = subject.client.connection_pool.connection_kwargs["path"]
    subject.put_back()
    with StateManager(
        KEYS.twin, url=f"unix://{socket}", results=tmp_path_factory.mktemp("results"), timeout=0.2
    ) as one:
        yield one


CALLS: list[tuple[str, int, tuple[str, ...]]] = [
    ("set_state", 1, ("expected_version", "actor", "commit_id", "durability")),
    ("update_state", 1, ("expected_version", "actor", "commit_id", "durability")),
    ("update_many", 1, ("expected_version", "actor", "commit_id", "durability")),
    ("adjust", 1, ("expected_version", "actor", "commit_id", "durability")),
    ("modify", 1, ("attempts", "expected_version")),
    ("get_history", 1, ()),
    ("get_commits", 2, ()),
    ("get_state_at_time", 1, ()),
    ("get_state_at_version", 1, ()),
    ("diff", 2, ()),
    ("validate_state", 1, ()),
    ("set_history_length", 1, ()),
    ("set_history", 1, ()),
]


@fuzz(300, draw=drawn)
def test_any_object_into_any_call(subject: Subject, manager: StateManager, draw: Decisions) -> None:
    """Refused with an error of ours, and nothing written; or taken."""
    name, positional, named = draw.pick(CALLS)
    args = [anything(draw) for _ in range(positional)]
    how = {one: anything(draw) for one in named if draw.below(4) == 0}
    if name == "modify" and draw.below(4):
        after = args[0]
        args[0] = lambda state: after
    before = subject.dump()
    try:
        getattr(manager, name)(*args, **how)
    except CircmanError:
        assert subject.dump() == before
    except RuntimeError as error:
        assert str(error) == "no text"  # noqa: PT017 - the caller's own, from its own object
        assert subject.dump() == before
    else:
        subject.put_back()


@fuzz(300, draw=drawn)
def test_names_and_wishes(draw: Decisions) -> None:
    """Ids, prefixes, durability, since and paths: allowed, or a UsageError."""
    text = draw.pick(TEXTS) if draw.below(2) else junk(draw, [b"twin-1", b"a:b"]).decode(errors="surrogateescape")
    value: Any = text if draw.below(2) else anything(draw)
    for make in (
        lambda: TwinKeys(value),
        lambda: TwinKeys("a", value),
        lambda: Durability.of(value),
        lambda: Wish.of(since=value),
        lambda: Wish.of(paths=value),
        lambda: Wish.of(paths=[value]),
        lambda: Wish.of(source=value),
        lambda: Wish.of(timeout=value, heartbeat=value),
    ):
        try:
            made = make()
        except UsageError:
            continue
        except RuntimeError as error:
            assert str(error) == "no text"  # noqa: PT017
            continue
        if isinstance(made, TwinKeys):
            assert made.state.count("{") == made.state.count("}") == 1


@fuzz(200, draw=drawn)
def test_settings(draw: Decisions) -> None:
    """By argument and by environment."""
    name = draw.pick(sorted(Settings.model_fields))
    text = draw.pick(TEXTS) if draw.below(2) else junk(draw, [b"12", b"true"]).decode(errors="surrogateescape")
    try:
        Settings.from_arguments(**{name: text if draw.below(2) else anything(draw)})
    except UsageError:
        pass
    except RuntimeError as error:
        assert str(error) == "no text"  # noqa: PT017
    if "\0" in text or "\ud800" in text:
        return  # no environment holds it
    os.environ[f"CIRCMAN_{name.upper()}"] = text
    try:
        Settings.from_arguments()
    except UsageError:
        pass
    finally:
        del os.environ[f"CIRCMAN_{name.upper()}"]


SECRET = "s3cr3t"
URLS = [
    *(f"redis://:{SECRET}@h:6379/0", f"redis://u:{SECRET}@h", f"rediss://u:{SECRET}@[::1]:7/1?ssl_cert_reqs=none"),
    *(f"unix:///tmp/s?password={SECRET}", f"redis+sentinel://u:{SECRET}@a:1,b/m/0?sentinel_password={SECRET}&db=1"),
    *(
        f"redis+cluster://:{SECRET}@a:7000,b:7001",
        f"redis://h?password={SECRET}&username=u&socket_timeout=1",
        "embedded:///tmp/f",
    ),
]


@fuzz(600, draw=drawn)
def test_urls(draw: Decisions) -> None:
    """A Location or a UsageError; and where the password was is not shown."""
    url = draw.pick(URLS)
    for _ in range(1 + draw.below(3)):
        at = draw.below(len(url) + 1)
        put = draw.pick(
            [
                "",
                "@",
                ":",
                "/",
                "?",
                "#",
                "[",
                "]",
                "&",
                "=",
                "%",
                "%2",
                ",",
                "\0",
                " ",
                "\n",
                "é",
                "\ud800",
                "//",
                "0x",
            ]
        )
        url = url[:at] + put + url[at + draw.below(3) :]
    for work in (urls.locate, urls.identity, urls.without_password):
        try:
            shown = work(url)
        except UsageError as error:
            shown = str(error)
        if url.startswith("unix") and "?" not in url:
            continue  # the name of a file
        if url.count(SECRET) == url.count(f":{SECRET}@") + url.count(f"password={SECRET}"):
            assert SECRET not in str(shown), (work, url, shown)


def message_of(draw: Decisions, version: int) -> bytes:
    facts: dict[str, Any] = {
        "twin": KEYS.twin, "epoch": draw.pick(["e", "e", "f", ""]), "version": version, "op": draw.pick(["merge", "set", "delete", "x"]),
        "actor": None, "id": None, "timestamp": None, "committed_at": draw.pick(["2026-03-01T12:00:00Z", "", "x"]), "patch": {"n": 1},
    }  # fmt: skip
    if draw.below(3) == 0:
        facts[draw.pick(sorted(facts))] = draw.pick([None, 1, -1, 2**70, 1.5, [], {}, "x", True])
    text = json.dumps(facts).encode()
    return mutated(draw, text) if draw.below(2) else text


@fuzz(500, draw=drawn)
def test_messages_to_a_timeline(draw: Decisions) -> None:
    """Nothing that no commit made is handed out: what comes continues what was there, one version at a time."""
    line = Timeline(KEYS, "e", 0)
    line.behind, at = False, 0
    for _ in range(6):
        for event in line.offer(message_of(draw, at + draw.pick([1, 1, 1, 0, 2, -1]))):
            kind = type(event).__name__
            assert kind in {"StateEvent", "HistoryGap", "StateRolledBack"}
            if kind == "StateEvent":
                assert event.version == at + 1
            at = line.version or 0


ARGUMENTS = [
    *(
        "--twin",
        "--url",
        "--prefix",
        "--json",
        "--version",
        "--help",
        "--limit",
        "--at",
        "--since",
        "--",
        "-",
        "@x",
        "/n",
        "n=1",
    ),
    *(
        '{"n":1}',
        "{",
        "x" * 200,
        "",
        "\ud800",
        "-1",
        "1e9",
        "a/../../b",
        "redis://h:x",
        "t",
        "34",
        "true",
        "null",
        "/a=1",
    ),
]


@fuzz(150, draw=drawn)
def test_the_command_line(subject: Subject, draw: Decisions) -> None:
    """0, 1 or 2, and never a traceback."""
    names = sorted(set(main.list_commands(None)) - {"demo", "cluster", "top", "watch", "ingest", "doctor", "server"})
    socket = subject.client.connection_pool.connection_kwargs["path"]
    arguments = [draw.pick(names)] + [draw.pick(ARGUMENTS) for _ in range(draw.below(5))]
    if "--url" in arguments:
        return
    environment = {"CIRCMAN_REDIS_URL": f"unix://{socket}", "CIRCMAN_TWIN": KEYS.twin}
    runner = CliRunner()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # some of them write files
        result = runner.invoke(main, arguments, env=environment, input=junk(draw).decode(errors="replace"))
    assert result.exit_code in {0, 1, 2}, (arguments, result.output)
    assert result.exception is None or isinstance(result.exception, SystemExit), (arguments, result.exception)
    assert "Traceback" not in result.output
    subject.put_back()
