"""Which of our errors each of redis-py's is, which of them pass, and that none is left out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from types import ModuleType

import pytest
import redis.asyncio.cluster
import redis.asyncio.sentinel
import redis.cluster
import redis.exceptions as theirs
import redis.sentinel
from redis._parsers import BaseParser

from circman_redis import errors
from circman_redis.errors import CircmanError, NotPermitted, StoreError, StoreUnavailable
from circman_redis.retries import NO_ASYNC_RETRY, NO_RETRY
from circman_redis.upstream import CODES, OURS, is_lost, is_passing, is_refused, kind_of, said

MODULES = (theirs, redis.sentinel, redis.asyncio.sentinel, redis.cluster, redis.asyncio.cluster)


def defined(module: ModuleType) -> Iterator[type[Exception]]:
    """The exceptions that a module of redis-py makes itself."""
    for one in vars(module).values():
        if isinstance(one, type) and issubclass(one, Exception) and one.__module__ == module.__name__:
            yield one


def subclasses(kind: type) -> Iterator[type]:
    for one in kind.__subclasses__():
        yield one
        yield from subclasses(one)


def made(kind: type[Exception], text: str = "1 host:1") -> Exception:
    """One of it, with the least that its constructor takes."""
    return kind("status", text) if kind is theirs.ClusterError else kind(text)


def test_every_exception_of_redis_py_has_a_class_of_ours() -> None:
    """Those of its exceptions module by name, whatever derives from them elsewhere by what it derives from."""
    assert set(defined(theirs)) == set(OURS)
    everywhere = {one for module in MODULES for one in defined(module)} | set(subclasses(theirs.RedisError))
    everywhere = {one for one in everywhere if one.__module__.startswith("redis.")}
    assert len(everywhere) > len(OURS)
    assert all(issubclass(kind, StoreError) for kind in OURS.values())
    for kind in everywhere:
        assert issubclass(kind_of(made(kind)), StoreError), kind
    for kind in everywhere - set(OURS):
        assert kind_of(made(kind)) is not StoreError, f"{kind}: decide what it is"


@pytest.mark.parametrize("kind", OURS)
def test_each_is_what_the_table_says(kind: type[Exception]) -> None:
    assert kind_of(made(kind)) is OURS[kind]


@pytest.mark.parametrize("module", [redis.sentinel, redis.asyncio.sentinel])
def test_a_master_that_no_sentinel_knows_may_come(module: ModuleType) -> None:
    error = module.MasterNotFoundError("none")
    assert kind_of(error) is StoreUnavailable
    assert is_passing(error)


def test_it_is_said_which_sentinels_did_not_answer() -> None:
    """And not with which forty settings they were asked."""
    sentinel = redis.sentinel.Sentinel([("127.0.0.1", 1), ("127.0.0.2", 1)], sentinel_kwargs={"retry": NO_RETRY})
    with pytest.raises(redis.sentinel.MasterNotFoundError) as found:
        sentinel.discover_master("main")
    pattern = r"No master found for 'main' : 127.0.0.1:1 - (\S*ConnectionError.*), 127.0.0.2:1 - (\S*ConnectionError.*)"
    assert re.fullmatch(pattern, said(found.value))


def test_asyncio_says_the_same() -> None:
    """Its clients look a little different."""

    async def ask() -> str:
        sentinel = redis.asyncio.sentinel.Sentinel([("127.0.0.1", 1)], sentinel_kwargs={"retry": NO_ASYNC_RETRY})
        with pytest.raises(redis.asyncio.sentinel.MasterNotFoundError) as found:
            await sentinel.discover_master("main")
        return said(found.value)

    assert re.fullmatch(r"No master found for 'main' : 127.0.0.1:1 - .{0,80}", asyncio.run(ask()))


@pytest.mark.parametrize("code", CODES)
def test_each_code_is_what_it_says(code: str) -> None:
    """As redis-py makes an error of the reply, whether it has a class for it or not."""
    error = BaseParser.parse_error(f"{code} something or other")
    assert kind_of(error) is CODES[code]
    assert kind_of(theirs.ResponseError(f"{code} something or other")) is CODES[code]


@pytest.mark.parametrize(
    ("reply", "passes"),
    [
        ("LOADING Redis is loading the dataset in memory", True),
        ("BUSY Redis is busy running a script.", True),
        ("READONLY You can't write against a read only replica.", True),
        ("MASTERDOWN Link with MASTER is down", True),
        ("CLUSTERDOWN The cluster is down", True),
        ("CLUSTERDOWN Hash slot not served", True),
        ("TRYAGAIN Multiple keys request during rehashing of slot", True),
        ("NOREPLICAS Not enough good replicas to write.", True),
        ("UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)", True),
        ("MOVED 1 127.0.0.1:7000", True),
        ("ASK 1 127.0.0.1:7000", True),
        ("NOSCRIPT No matching script.", False),
        ("OOM command not allowed when used memory > 'maxmemory'.", False),
        ("MISCONF Redis is configured to save RDB snapshots", False),
        ("NOPERM this user has no permissions", False),
        ("NOAUTH Authentication required.", False),
        ("WRONGPASS invalid username-password pair or user is disabled.", False),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", False),
        ("ERR unknown command", False),
        ("CIRCMAN_CONFLICT {}", False),
    ],
)
def test_what_passes_by_itself_is_worth_another_try(reply: str, passes: bool) -> None:
    """The words are those of the servers; a code that redis-py takes off the text counts all the same."""
    assert is_passing(BaseParser.parse_error(reply)) is passes


def test_only_what_has_no_answer_is_lost() -> None:
    """A commit that was answered, by whatever error, is known."""
    assert is_lost(theirs.ConnectionError())
    assert is_lost(theirs.TimeoutError())
    assert not is_lost(theirs.ResponseError("ERR"))
    assert not is_lost(theirs.AuthenticationError())


def test_a_refused_user_stays_one_in_another_error() -> None:
    """As redis-py wraps it where it connects to a unix socket for asyncio, or to a cluster."""
    wrapped = theirs.ConnectionError("Error connecting")
    wrapped.__cause__ = theirs.AuthenticationError("invalid username-password pair")
    assert is_refused(wrapped)
    assert kind_of(wrapped) is NotPermitted
    assert not is_passing(wrapped)
    assert not is_lost(wrapped)


def test_nothing_is_no_reason_to_try_again() -> None:
    assert not is_passing(None)
    assert not is_passing(OSError())


def test_the_tree_shows_the_errors_that_there_are() -> None:
    """Each at its place, in the order in which it is drawn, with the built-in class that it is too."""
    above: dict[int, str] = {}
    drawn = {}
    for line in (errors.__doc__ or "").splitlines():
        if not (found := re.match(r"^    ([│├└─ ]*)(\w+)(?:\s+\((\w+)\))?", line)):
            continue
        depth = len(found[1]) // 4
        above[depth] = found[2]
        drawn[found[2]] = (above.get(depth - 1), found[3])
    there = {"CircmanError": (None, None)}
    for one in subclasses(CircmanError):
        if one.__module__ == errors.__name__:
            built_in = [base.__name__ for base in one.__bases__ if not issubclass(base, CircmanError)]
            ours = next(base.__name__ for base in one.__bases__ if issubclass(base, CircmanError))
            there[one.__name__] = (ours, built_in[0] if built_in else None)
    assert drawn == there
