"""How the keeper and the server are started, by whatever kind of process, and how that may fail."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from circman_redis import _keeper, embedded
from circman_redis._embedded_folder import KEEPER_LOCK, START_LOCK, USERS_LOCK, is_held, open_lock, release
from circman_redis.embedded import find_binary, open_server
from circman_redis.errors import EmbeddedUnavailable
from tests.embedded.helpers import PROMISED, User, command, living, server_pid, wait_until

Start = Callable[..., User]


@pytest.fixture
def program(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have a shell script run in the place of the server."""

    def use(script: str) -> None:
        path = folder.with_name("program")
        path.write_text(script)
        path.chmod(0o700)
        monkeypatch.setattr(embedded, "find_binary", lambda: path)

    return use


def test_the_starter_is_left_without_children(folder: Path, user: Start) -> None:
    one = user()
    psutil.Process(one.open()).parent().terminate()
    wait_until(lambda: not living(folder))
    one.does("ensure")
    assert one.does("zombies") == "0"
    assert not psutil.Process(one.pid).children()


def test_the_starter_may_ignore_and_block_every_signal(folder: Path, user: Start) -> None:
    one = user("deaf")
    psutil.Process(one.open()).kill()
    wait_until(lambda: not living(folder))
    one.does("ensure")
    assert one.does("PING") == "PONG"
    one.leave()
    wait_until(lambda: not living(folder), within=PROMISED)


def test_the_starter_may_have_no_environment(folder: Path, user: Start) -> None:
    one = user(env={}, where=folder / "Übung 1")
    one.open()
    assert one.does("PING") == "PONG"
    one.leave()
    wait_until(lambda: not living(folder / "Übung 1"), within=PROMISED)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_no_file_of_the_starter_is_inherited(folder: Path) -> None:
    stray, other_end = os.pipe()
    os.set_inheritable(stray, True)
    try:
        mine = Path(f"/proc/self/fd/{stray}").readlink()
        with open_server(folder):
            for process in living(folder):
                for fd in Path(f"/proc/{process.pid}/fd").iterdir():
                    with suppress(FileNotFoundError):  # the keeper and the server open and close their own
                        assert fd.readlink() != mine
    finally:
        os.close(stray)
        os.close(other_end)


def test_the_keeper_is_detached(folder: Path) -> None:
    with open_server(folder) as server:
        keeper = psutil.Process(server_pid(server.socket_path)).parent()
        assert keeper.ppid() != os.getpid()
        assert os.getsid(keeper.pid) != os.getsid(0)
        assert keeper.terminal() is None


def test_a_server_that_fails_is_explained(folder: Path, program: Callable[[str], None]) -> None:
    program("#!/bin/sh\necho the moon is full\nexit 3\n")
    with pytest.raises(EmbeddedUnavailable, match=r"(?s)ended each of the 3.*moon is full.*status 3"):
        open_server(folder)


def test_a_program_that_cannot_be_run_is_explained(folder: Path, program: Callable[[str], None]) -> None:
    program("#!/no/such/interpreter\n")
    with pytest.raises(EmbeddedUnavailable, match=r"(?s)ended each of the 3.*cannot run .*program"):
        open_server(folder)


def test_data_that_cannot_be_read_is_explained(folder: Path) -> None:
    with open_server(folder) as server:
        command(server.socket_path, "SET", "key", "value")
    wait_until(lambda: not living(folder))
    (log,) = folder.glob("appendonlydir/*.incr.aof")
    log.write_bytes(b"*rubbish\r\n" + log.read_bytes())
    with pytest.raises(EmbeddedUnavailable, match="Bad file format reading the append only file"):
        open_server(folder)


def test_a_server_that_does_not_answer_is_given_up(folder: Path, program: Callable[[str], None]) -> None:
    program("#!/bin/sh\necho waiting\nexec sleep 60\n")
    with pytest.raises(EmbeddedUnavailable, match=r"(?s)did not answer within 0.5 s.*waiting"):
        open_server(folder, timeout=0.5)
    wait_until(lambda: not living(folder), within=PROMISED)


@pytest.fixture
def keeper(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Have a keeper with one thing changed."""

    def use(old: str, new: str) -> None:
        text = embedded._KEEPER.read_text()
        assert old in text
        path = folder.with_name("keeper.py")
        path.write_text(text.replace(old, new))
        monkeypatch.setattr(embedded, "_KEEPER", path)

    return use


def test_a_server_that_does_not_end_is_killed(
    folder: Path, program: Callable[[str], None], keeper: Callable[[str, str], None]
) -> None:
    keeper("KILL_AFTER = 60.0", "KILL_AFTER = 0.2")
    program("#!/bin/sh\ntrap '' TERM\nexec sleep 60\n")
    with pytest.raises(EmbeddedUnavailable, match="did not answer"):
        open_server(folder, timeout=0.5)
    wait_until(lambda: not living(folder))
    log = (folder / "server.log").read_text()
    assert "did not end within 0.2 s of SIGTERM: killing it" in log
    assert "ended with status -9" in log


def test_a_server_without_a_keeper_that_does_not_end_is_explained(
    folder: Path, keeper: Callable[[str, str], None]
) -> None:
    keeper("LEFT_OVER_WAIT = 60.0", "LEFT_OVER_WAIT = 0.1")
    folder.mkdir(mode=0o700)
    lock = open_lock(folder / "server.lock")
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        with pytest.raises(EmbeddedUnavailable, match="a server without a keeper is here"):
            open_server(folder)
    finally:
        release(lock)


def test_a_keeper_that_does_not_start_is_given_up(folder: Path, keeper: Callable[[str, str], None]) -> None:
    keeper("def main(", "time.sleep(60)\n\n\ndef main(")
    with pytest.raises(EmbeddedUnavailable, match=r"could not be started within 0.5 s"):
        open_server(folder, timeout=0.5)
    assert not living(folder)


@pytest.mark.parametrize(("name", "why"), [(USERS_LOCK, "previous server to end"), (START_LOCK, "to start")])
def test_a_lock_that_is_never_free_is_given_up(folder: Path, name: str, why: str) -> None:
    folder.mkdir(mode=0o700)
    lock = open_lock(folder / name)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        with pytest.raises(EmbeddedUnavailable, match=why):
            open_server(folder, timeout=0.1)
    finally:
        release(lock)


def test_a_server_without_a_keeper_is_replaced_and_nothing_lost(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    lock = open_lock(folder / "server.lock")
    fcntl.flock(lock, fcntl.LOCK_EX)
    left_over = subprocess.Popen(
        [find_binary(), "--port", "0", "--unixsocket", "server.sock", "--appendonly", "yes"],
        cwd=folder,
        pass_fds=[lock],
        stdout=subprocess.DEVNULL,
    )
    os.close(lock)
    try:
        wait_until((folder / "server.sock").exists)
        command(folder / "server.sock", "SET", "key", "value")
        with open_server(folder) as server:
            assert left_over.wait(30) == 0
            assert command(server.socket_path, "GET", "key") == "value"
            assert is_held(folder / KEEPER_LOCK)
    finally:
        left_over.kill()
        left_over.wait()


@pytest.fixture
def answering(folder: Path) -> Iterator[Callable[[bytes], Path]]:
    """A server that answers once, with what it is given."""
    threads = []
    folder.mkdir(mode=0o700)

    def start(reply: bytes) -> Path:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(folder / "fake.sock"))
        listener.listen()

        def serve() -> None:
            with listener:
                link, _ = listener.accept()
                with link:
                    link.recv(100)
                    link.sendall(reply)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return folder / "fake.sock"

    yield start
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(
    ("reply", "means"),
    [
        (b"+PONG\r\n", "up"),
        (b"-BUSY Valkey is busy running a script\r\n", "up"),
        (b"-MISCONF Errors writing to the AOF file\r\n", "up"),
        (b"-LOADING Valkey is loading the dataset in memory\r\n", "loading"),
        (b"", "gone"),
    ],
)
def test_what_an_answer_means(answering: Callable[[bytes], Path], reply: bytes, means: str) -> None:
    assert embedded._ask(answering(reply)) == means


def test_no_answer_in_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_PATIENCE", 0.1)
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "fake.sock"))
        assert embedded._ask(folder / "fake.sock") == "gone"
        listener.listen()
        assert embedded._ask(folder / "fake.sock") == "silent"
    assert embedded._ask(folder / "none.sock") == "gone"


def test_the_keeper_brings_what_was_written_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    synced: list[str] = []
    log = tmp_path / "appendonlydir" / "appendonly.aof.1.incr.aof"

    def sync(file: int) -> None:
        synced.append(Path(f"/dev/fd/{file}").resolve().name)
        if len(synced) == 3:
            raise OSError("the disk is gone")

    def write(text: str) -> None:
        log.parent.mkdir(exist_ok=True)
        log.with_name("appendonly.aof.manifest").touch()
        with log.open("a") as file:
            file.write(text)

    # What happens in each second: nothing is there yet, it grows, it does not, it grows, it grows, and again.
    seconds = iter(["", "one", "", "two", "three", "four"])

    def sleep(_: float) -> None:
        if (text := next(seconds, None)) is None:
            raise KeyboardInterrupt
        if text:
            write(text)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_keeper.time, "sleep", sleep)
    monkeypatch.setattr(os, "fdatasync", sync, raising=False)
    with pytest.raises(KeyboardInterrupt):
        _keeper._sync_what_it_writes(1234)
    assert synced == [log.name] * 4
    assert "cannot sync what the server 1234 wrote: the disk is gone" in capfd.readouterr().err
