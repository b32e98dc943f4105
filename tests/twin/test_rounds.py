"""Rounds that are held and committed together: each once, whatever becomes of the answers; and what they remember."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from circman_redis import StateManager, StoreUnavailable, Unconfirmed
from circman_redis.twin import rounds
from circman_redis.twin.rounds import Rounds
from tests.servers import Server

pytestmark = pytest.mark.bundled_first


class Counter:
    """A source that counts how often it is asked, and says so."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> dict[str, Any]:
        self.count += 1
        return {"n": self.count}


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
def twin(server: Server, twin_id: str) -> Iterator[StateManager]:
    with StateManager(twin_id, url=server.url) as manager:
        manager.set_state({"n": 0})
        yield manager


def numbers(twin: StateManager) -> list[int]:
    """What the counter said, commit by commit."""
    return [entry.state["n"] for entry in reversed(twin.get_commits())]


def lose_reply(twin: StateManager) -> None:
    """The next commit is made, and its reply is lost, as if the server went away just then."""
    real = twin.update_many

    def update_many(updates: Any, commit_id: str) -> Any:
        del twin.update_many
        real(updates, commit_id=commit_id)
        raise StoreUnavailable("the reply was lost", commit_id)

    twin.update_many = update_many  # type: ignore[method-assign, assignment]


def test_a_batch_whose_reply_was_lost_is_committed_once(twin: StateManager, counter: Counter) -> None:
    """It is sent again with its id, and recognised; what was collected meanwhile comes after it."""
    one = Rounds(twin)
    one.register("count", counter)
    for _ in range(3):
        one.hold(timeout=60)
    lose_reply(twin)
    with pytest.raises(StoreUnavailable):
        one.commit_held()
    assert one.held == 3
    one.hold(timeout=60)
    assert one.commit_held() is not None
    assert one.held == 0
    assert numbers(twin) == [0, 1, 2, 3, 4]


def test_a_batch_that_was_not_made_is_made_later(twin: StateManager, counter: Counter) -> None:
    """Of which it was not known, and which the rules refuse by now: round by round, as it can be."""
    one = Rounds(twin)
    one.register("count", counter)
    one.register("humid", lambda: {"environment": {"humidity": 300}})
    for _ in range(2):
        one.hold(timeout=60)

    def update_many(updates: Any, commit_id: str) -> Any:
        del twin.update_many
        raise StoreUnavailable("nobody there", commit_id)

    twin.update_many = update_many  # type: ignore[method-assign, assignment]
    with pytest.raises(StoreUnavailable):
        one.commit_held()
    assert one.commit_held() is not None
    assert numbers(twin) == [0, 1, 2]
    assert one.sources.status["humid"].error
    one.close()


def test_rounds_are_not_held_for_ever(
    twin: StateManager, counter: Counter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The oldest are dropped, and that is said."""
    monkeypatch.setattr(rounds, "MOST_HELD", 3)
    one = Rounds(twin)
    one.register("count", counter)
    for _ in range(5):
        one.hold(timeout=60)
    assert one.held == 3
    one.commit_held()
    assert numbers(twin) == [0, 3, 4, 5]
    assert any("dropped" in record.getMessage() for record in caplog.records)


def test_a_batch_too_old_to_tell_is_not_committed_again(
    twin: StateManager, server: Server, counter: Counter, caplog: pytest.LogCaptureFixture
) -> None:
    """Its id was forgotten meanwhile: that is said, and what was collected since is committed."""
    one = Rounds(twin)
    one.register("count", counter)
    for _ in range(2):
        one.hold(timeout=60)
    lose_reply(twin)
    with pytest.raises(StoreUnavailable):
        one.commit_held()
    with server.client() as client, StateManager(twin.twin, client=client) as other:
        for _ in range(2 * 2048 + 1):
            other.update_state({"other": 1})
    one.hold(timeout=60)
    assert one.commit_held() is not None
    assert [key for key, _ in itertools.groupby(entry.state["n"] for entry in twin.get_commits())] == [3, 2]
    assert any("whether 2 rounds were committed" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("held", [1, 3])
def test_what_was_made_and_not_confirmed_is_held_no_longer(
    server: Server, twin_id: str, counter: Counter, held: int
) -> None:
    """There is no replica to confirm it: that is raised, and it is not made again."""
    with StateManager(twin_id, url=server.url) as twin:
        twin.set_state({"n": 0})
    with StateManager(twin_id, url=server.url, durability="replicas:1", timeout=0.2) as twin:
        one = Rounds(twin)
        one.register("count", counter)
        for _ in range(held):
            one.hold(timeout=60)
        with pytest.raises(Unconfirmed):
            one.commit_held()
        assert one.held == 0
        assert one.commit_held() is None
        assert numbers(twin) == list(range(held + 1))


def test_a_batch_that_is_not_confirmed_when_it_is_sent_again(
    twin: StateManager, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was made the first time."""
    one = Rounds(twin)
    one.register("count", counter)
    for _ in range(2):
        one.hold(timeout=60)
    lose_reply(twin)
    with pytest.raises(StoreUnavailable):
        one.commit_held()
    real = twin.update_many
    with monkeypatch.context() as patched:
        patched.setattr(
            twin, "update_many", lambda updates, commit_id: real(updates, commit_id=commit_id, durability="replicas:1")
        )
        patched.setattr(twin._driver.store.retry, "_timeout", 0.2)
        with pytest.raises(Unconfirmed):
            one.commit_held()
    assert one.held == 0
    assert numbers(twin) == [0, 1, 2]


def test_a_round_too_large_for_the_twin_is_left_out(
    server: Server, twin_id: str, counter: Counter, caplog: pytest.LogCaptureFixture
) -> None:
    """The others of its batch are committed."""
    large = iter(["", "x" * 3000, ""])
    with StateManager(twin_id, url=server.url, max_bytes=2000) as twin:
        twin.set_state({"n": 0})
        one = Rounds(twin)
        one.register("count", counter)
        one.register("large", lambda: {"text": next(large)})
        for _ in range(3):
            one.hold(timeout=60)
        assert one.commit_held() is not None
        assert one.held == 0
        assert numbers(twin) == [0, 1, 3]
    assert any("is left out" in record.getMessage() for record in caplog.records)


def test_a_server_that_is_away_leaves_all_of_it_held(own_server: Server, twin_id: str, counter: Counter) -> None:
    """Where nothing was sent yet, it is committed when the server is back, with what came meanwhile."""
    with StateManager(twin_id, url=own_server.url, timeout=0.2) as twin:
        twin.set_state({"n": 0})
        one = Rounds(twin)
        one.register("count", counter)
        for _ in range(2):
            one.hold(timeout=60)
        own_server.kill()
        for held in (2, 3):
            with pytest.raises(StoreUnavailable):
                one.commit_held()
            assert one.held == held
            one.hold(timeout=60)
        own_server.start()
        assert one.commit_held() is not None
        assert numbers(twin) == [0, 1, 2, 3, 4]


def test_more_rounds_than_one_call_takes(twin: StateManager, counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many calls as it takes."""
    monkeypatch.setattr(rounds, "MOST_TOGETHER", 2)
    one = Rounds(twin)
    one.register("count", counter)
    for _ in range(5):
        one.hold(timeout=60)
    assert one.commit_held() is not None
    assert numbers(twin) == [0, 1, 2, 3, 4, 5]


def test_only_the_latest_commits_are_known_as_ones_own(
    twin: StateManager, counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few of them are enough: it is asked soon after."""
    monkeypatch.setattr(rounds, "_OWN", 3)
    one = Rounds(twin)
    one.register("count", counter)
    made = [one.update(timeout=60) for _ in range(5)]
    assert [commit is not None and one.is_own(commit.position) for commit in made] == [False, False, True, True, True]
    assert not one.is_own(twin.update_state({"n": 0}).position)


def test_where_the_twin_stamps_nothing_nothing_is_stamped(server: Server, twin_id: str, counter: Counter) -> None:
    """Its states have the timestamps that sources give, and no others."""
    with StateManager(twin_id, url=server.url, auto_timestamp=False, validation="none") as twin:
        twin.set_state({"n": 0})
        one = Rounds(twin)
        one.register("count", counter)
        for _ in range(2):
            one.hold(timeout=60)
        assert one.commit_held() is not None
        assert [entry.state for entry in twin.get_commits()] == [{"n": 2}, {"n": 1}, {"n": 0}]
