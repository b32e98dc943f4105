"""A Journal's lines, and what a log makes of them."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from circman_redis import errors
from circman_redis.journal import Journal, Log, Told, read_logs
from circman_redis.results import Commit
from circman_redis.timestamps import microseconds, parse_timestamp

AT = "2026-01-01T00:00:00.000000Z"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "log") as one:
        yield one


def events(journal: Journal) -> list[dict[str, Any]]:
    """Without the time of this machine's clock."""
    found = [json.loads(line) for line in journal.path.read_text().splitlines()]
    assert all(parse_timestamp(one.pop("at")) for one in found if "at" in one)
    return found


def commit(version: int = 1) -> Commit:
    return Commit(version, "e", None, AT)


SENT = {"sent": "a", "op": "adjust", "n": 1}
GOT = {"got": "a", "version": 1, "n": 1, "epoch": "e", "committed_at": AT}


def test_what_was_acknowledged(journal: Journal) -> None:
    with journal.commit("a", op="adjust") as note:
        assert events(journal) == [SENT]  # before anything is sent
        note(commit())
    with journal.commit("b", n=2) as note:
        note([commit(2), commit(3)])
    assert events(journal) == [SENT, GOT, {"sent": "b", "op": "", "n": 2}, {**GOT, "got": "b", "version": 2, "n": 2}]
    log = read_logs([journal.path])
    committed = microseconds(parse_timestamp(AT))
    told = {"a": 1, "b#1": 2, "b#2": 3}
    assert log.told == {name: [Told(version, "e", committed)] for name, version in told.items()}
    assert (log.refused, log.unacknowledged) == ({}, [])


def test_around_an_await(journal: Journal) -> None:
    """The same with statement; a call that is cancelled is not known."""

    async def made() -> Commit:
        await asyncio.sleep(0)
        return commit()

    async def in_vain() -> None:
        with journal.commit("b"):
            await asyncio.Event().wait()

    async def main() -> None:
        with journal.commit("a", op="adjust") as note:
            note(await made())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(in_vain(), 0.01)

    asyncio.run(main())
    assert events(journal)[1] == GOT
    assert events(journal)[3] == {"unknown": "b", "error": "CancelledError"}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.StateConflict("late", 1, 2), "refused"),
        (errors.StateValidationError([]), "refused"),
        (errors.UsageError("wrong"), "refused"),
        (errors.StoreError("full"), "refused"),
        (errors.RetryExpired("who knows"), "unknown"),
        (errors.StoreUnavailable("gone", "a"), "unknown"),
        (errors.StoreUnavailable("gone"), "unknown"),
        (RuntimeError("what?"), "unknown"),
        (KeyboardInterrupt(), "unknown"),
    ],
)
def test_what_an_error_says_of_the_commit(journal: Journal, error: BaseException, kind: str) -> None:
    """It is logged, and raised."""
    with pytest.raises(type(error)), journal.commit("a", op="adjust"):
        raise error
    assert events(journal) == [SENT, {kind: "a", "error": type(error).__name__}]
    log = read_logs(journal.path)
    assert log.refused == ({"a": type(error).__name__} if kind == "refused" else {})
    assert log.unacknowledged == ([["a"]] if kind == "unknown" else [])


def test_what_was_made_and_not_confirmed(journal: Journal) -> None:
    """With what is known of it; one or several."""
    for call, commits in {"a": [commit()], "b": [commit(2), commit(3)]}.items():
        with pytest.raises(errors.Unconfirmed), journal.commit(call, n=len(commits)):
            raise errors.Unconfirmed("not yet", commits, call)
    facts = {"version": 1, "n": 1, "epoch": "e", "committed_at": AT}
    assert events(journal)[1::2] == [{"unconfirmed": "a", **facts}, {"unconfirmed": "b", **facts, "version": 2, "n": 2}]
    assert read_logs([journal.path]).unacknowledged == [["a"], ["b#1", "b#2"]]


def test_a_block_that_notes_nothing_leaves_it_open(journal: Journal) -> None:
    with journal.commit("a"):
        pass
    assert read_logs([journal.path]).unacknowledged == [["a"]]


def test_several_writers_share_a_file(journal: Journal) -> None:
    """Threads of one journal, and another process: no line is torn."""

    def write(name: str, own: Journal) -> None:
        for n in range(500):
            with own.commit(f"{name}-{n}") as note:
                note(commit(n + 1))

    child = os.fork()
    if not child:
        try:
            with Journal(journal.path) as own:
                write("child", own)
        finally:
            os._exit(0)
    threads = [threading.Thread(target=write, args=(f"t{i}", journal)) for i in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert os.waitpid(child, 0)[1] == 0
    log = read_logs([journal.path])
    assert (len(log.told), log.torn) == (2500, 0)


def test_a_torn_line_has_not_happened(journal: Journal) -> None:
    """Also where somebody else went on in the same file."""
    whole = json.dumps(GOT).encode()
    for end in range(1, len(whole)):
        journal.path.write_bytes(json.dumps(SENT).encode() + b"\n" + whole[:end])
        log = read_logs([journal.path])
        assert (log.torn, log.told, log.unacknowledged) == (1, {}, [["a"]])
    with Journal(journal.path) as next_one:
        next_one.sent("b")
    log = read_logs([journal.path])
    assert (log.torn, log.unacknowledged) == (1, [["a"], ["b"]])
    journal.path.write_bytes(json.dumps(SENT).encode() + b"\n" + whole)  # without the line's end: whole all the same
    assert (log := read_logs([journal.path])).torn == 0
    assert list(log.told) == ["a"]


@pytest.mark.parametrize(
    "line",
    [
        "version,id\n",
        "[]\n",
        "5\n",
        "null\n",
        "{}\n",
        '{"seen": "a"}\n',
        '{"sent": 5}\n',
        '{"sent": "a", "n": 0}\n',
        '{"sent": "a", "n": true}\n',
        '{"refused": "a", "error": 5}\n',
        '{"got": "a"}\n',
        '{"got": "a", "version": 1.0, "epoch": "e", "committed_at": "2026-01-01T00:00:00Z"}\n',
        '{"got": "a", "version": 1, "epoch": null, "committed_at": "2026-01-01T00:00:00Z"}\n',
        '{"got": "a", "version": 1, "epoch": "e", "committed_at": "now"}\n',
        '{"got": "a", "version": 1, "epoch": "e", "committed_at": 5}\n',
        '{"sent": "\udcff"}\n',
        "[" * 100_000 + "\n",
    ],
)
def test_a_file_that_is_no_log_is_named(tmp_path: Path, line: str) -> None:
    """With its line."""
    path = tmp_path / "log"
    path.write_text('{"sent": "a"}\n\n' + line, errors="surrogateescape")
    with pytest.raises(errors.UsageError, match=r"log: line 3 is no "):
        read_logs([path])


def test_a_line_that_cannot_be_written_whole_is_an_error(tmp_path: Path) -> None:
    """And what was written of it has not happened."""
    child = os.fork()
    if not child:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try:
            with Journal(tmp_path / "log") as own:
                own.sent("a")
                own.sent("b")
        except OSError as error:
            os._exit(7 if "only" in str(error) else 8)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    log = read_logs([tmp_path / "log"])
    assert (log.unacknowledged, log.torn) == ([["a"]], 1)


def test_attempts_are_counted_over_all_files() -> None:
    """An id that was refused here, and is open there, may have been made."""
    log = Log()
    log.add([b'{"refused": "a"}'])
    assert log.refused == {"a": "refused"}
    log.add([b'{"sent": "a", "n": 2}\n', b'{"sent": "a"}\n'])
    assert (log.refused, log.unacknowledged) == ({}, [["a#1", "a#2"]])
