"""Files that are whole or not there, and never written over one another, whatever happens meanwhile."""

from __future__ import annotations

import errno
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from circman_redis import files
from circman_redis.codec import check_text, pretty
from circman_redis.errors import StateTooLarge, UsageError

SIZE = 1_000_000


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def python(code: str, *arguments: Any) -> Iterator[subprocess.Popen[str]]:
    """A process of its own, which is killed if it still runs at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def failing(monkeypatch: pytest.MonkeyPatch, function: str, number: int, calls: int = 1) -> None:
    """Lets an os function fail at its first calls."""
    genuine = getattr(os, function)
    left = [calls]

    def fail(*arguments: Any, **options: Any) -> Any:
        if left[0] > 0:
            left[0] -= 1
            raise OSError(number, os.strerror(number))
        return genuine(*arguments, **options)

    monkeypatch.setattr(os, function, fail)


# --- one file, replaced -----------------------------------------------------------------------------------


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    """In UTF-8, with one line end, and nothing else is left in the folder."""
    path = tmp_path / "state.json"
    files.write_atomically(path, '{"ä": 22.10}')
    assert path.read_bytes() == '{"ä": 22.10}\n'.encode()
    files.write_atomically(path, b"\x89PNG")
    assert path.read_bytes() == b"\x89PNG"
    files.write_atomically(path, "{}\n")
    assert path.read_bytes() == b"{}\n"
    assert names(tmp_path) == ["state.json"]


def test_an_export_keeps_every_digit(tmp_path: Path) -> None:
    """What is printed for export is good text for import, with the same numbers."""
    path = tmp_path / "state.json"
    files.write_atomically(path, pretty('{"a":22.10,"b":[12345678901234567890,1E+5],"c":"\\u007b"}'))
    text = check_text(files.read_text(path))
    assert text == b'{\n  "a": 22.10,\n  "b": [\n    12345678901234567890,\n    1E+5\n  ],\n  "c": "{"\n}\n'


def test_a_long_name_and_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The temporary file beside it does not need the name's length again."""
    monkeypatch.chdir(tmp_path)
    files.write_atomically(Path("x" * 255), "{}")
    assert names(tmp_path) == ["x" * 255]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_permissions_are_the_ordinary_ones(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        files.write_atomically(tmp_path / "a.json", "{}")
        path = files.write_new(tmp_path, "b", "{}")
    finally:
        os.umask(before)
    for one in (tmp_path / "a.json", path):
        assert one.stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    """It goes on pointing to the file, which is replaced."""
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "real" / "state.json")
    for text in ("1", "2"):
        files.write_atomically(link, text)
        assert link.is_symlink()
        assert (tmp_path / "real" / "state.json").read_text() == f"{text}\n"
    assert names(tmp_path / "real") == ["state.json"]


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{re.escape(str(tmp_path))} is a folder: give the path of a file"):
        files.write_atomically(tmp_path, "{}")
    assert names(tmp_path) == []


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    """Or a device, such as /dev/null: replacing it would break it for everybody."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UsageError, match="is a device or a pipe"):
        files.write_atomically(pipe, "{}")
    assert pipe.is_fifo()
    assert names(tmp_path) == ["pipe"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """It may be a slip of the pen, so it is not made."""
    path = tmp_path / "none" / "state.json"
    with pytest.raises(FileNotFoundError, match=re.escape(f"cannot be written (No such file or directory): '{path}'")):
        files.write_atomically(path, "{}")
    assert names(tmp_path) == []


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    """And no temporary one; the error names what was asked for, and is chained."""
    path = tmp_path / "state.json"
    files.write_atomically(path, "old")
    failing(monkeypatch, function, errno.ENOSPC)
    with pytest.raises(OSError, match=r"cannot be written \(No space left on device\)") as caught:
        files.write_atomically(path, "new")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert isinstance(caught.value.__cause__, OSError)
    assert path.read_text() == "old\n"
    assert names(tmp_path) == ["state.json"]


LIMITED = """
import resource, signal, sys
from pathlib import Path
from circman_redis import files
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    files.write_atomically(Path(sys.argv[1]), "x" * 5000)
except OSError as error:
    print(error)
"""


def test_a_disk_that_takes_only_a_part_leaves_the_old_file(tmp_path: Path) -> None:
    """With the kernel's own limit on a file's size, met in the middle of a write."""
    path = tmp_path / "state.json"
    files.write_atomically(path, "old")
    with python(LIMITED, path) as process:
        assert "cannot be written (File too large)" in process.communicate()[0]
    assert path.read_text() == "old\n"
    assert names(tmp_path) == ["state.json"]


@pytest.mark.parametrize("function", ["open", "fsync"])
def test_a_file_system_that_cannot_sync_a_folder_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    """The file is whole then too; any other failure is reported."""
    genuine = getattr(os, function)

    def on_folders(target: Any, *rest: Any) -> Any:
        if Path(target).is_dir() if function == "open" else stat.S_ISDIR(os.fstat(target).st_mode):
            raise OSError(number, os.strerror(number))
        return genuine(target, *rest)

    monkeypatch.setattr(os, function, on_folders)
    number = errno.EINVAL
    files.write_atomically(tmp_path / "state.json", "1")
    number = errno.EIO
    with pytest.raises(OSError, match="Input/output error"):
        files.write_atomically(tmp_path / "state.json", "2")
    assert names(tmp_path) == ["state.json"]


FOR_EVER = f"""
import itertools, sys
from pathlib import Path
from circman_redis import files
path = Path(sys.argv[1])
for n in itertools.count():
    files.write_atomically(path, "ab"[n % 2] * {SIZE})
    print(n, flush=True)
"""


def whole(path: Path) -> bool:
    return path.read_text() in {"a" * SIZE + "\n", "b" * SIZE + "\n"}


def test_kill_9_in_the_middle_of_an_export_leaves_a_whole_file(tmp_path: Path) -> None:
    """Five times, after another number of writes each; a reader meets whole files all the while."""
    path = tmp_path / "state.json"
    for writes in range(1, 6):
        with python(FOR_EVER, path) as process:
            assert process.stdout
            for _ in range(writes):
                assert process.stdout.readline()
                assert all(whole(path) for _ in range(4))
            process.send_signal(signal.SIGKILL)
        assert whole(path)
        # What a killed process was writing may stay, under a name that no import and no listing takes for a state.
        assert all(name.startswith(".circman-") for name in names(tmp_path) if name != "state.json")


# --- new files --------------------------------------------------------------------------------------------


def test_a_name_that_is_taken_is_never_written_over(tmp_path: Path) -> None:
    """The folder is made; the next free number is used."""
    folder = tmp_path / "results" / "digital_twin"
    paths = [files.write_new(folder, "state_20261122_140000", text) for text in ("1", "2", "3")]
    assert [path.name for path in paths] == [
        "state_20261122_140000.json",
        "state_20261122_140000_1.json",
        "state_20261122_140000_2.json",
    ]
    assert [path.read_text() for path in paths] == ["1\n", "2\n", "3\n"]
    assert names(folder) == sorted(path.name for path in paths)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """As on FAT: the same names, and whole files."""
    (tmp_path / "x.json").write_text("taken")
    failing(monkeypatch, "link", number, calls=9)
    assert files.write_new(tmp_path, "x", "1").name == "x_1.json"
    assert files.write_new(tmp_path, "x", "2").name == "x_2.json"
    assert [(tmp_path / name).read_text() for name in names(tmp_path)] == ["taken", "1\n", "2\n"]


@pytest.mark.parametrize(
    ("function", "number"), [("fsync", errno.ENOSPC), ("link", errno.EIO), ("replace", errno.ENOSPC)]
)
def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, number: int) -> None:
    """Neither an empty file nor a temporary one."""
    if function == "replace":
        failing(monkeypatch, "link", errno.EPERM)
    failing(monkeypatch, function, number)
    with pytest.raises(OSError, match="cannot be written") as caught:
        files.write_new(tmp_path, "x", "1")
    assert caught.value.filename == str(tmp_path)
    assert names(tmp_path) == []


def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    with pytest.raises(OSError, match="cannot be written") as caught:
        files.write_new(tmp_path / "results", "x", "1")
    assert caught.value.filename == str(tmp_path / "results")


EXPORTS = """
import errno, os, sys
from pathlib import Path
from circman_redis import files
if sys.argv[3] == "without links":
    def link(*_):
        raise OSError(errno.EPERM, "no hard links here")
    os.link = link
print("ready", flush=True)
sys.stdin.readline()
for n in range(10):
    files.write_new(Path(sys.argv[1]), "state", f"{sys.argv[2]} {n}")
"""


@pytest.mark.parametrize("links", ["with links", "without links"])
def test_many_processes_at_once_never_write_over_one_another(tmp_path: Path, links: str) -> None:
    """Six processes start together, with ten exports each in the same second: sixty whole files."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", EXPORTS, str(tmp_path), str(number), links],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(6)
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    found = sorted(path.read_text() for path in tmp_path.iterdir())
    assert found == sorted(f"{number} {n}\n" for number in range(6) for n in range(10))
    assert names(tmp_path) == sorted(["state.json", *(f"state_{n}.json" for n in range(1, 60))])


def test_threads_of_one_process_do_not_meet_either(tmp_path: Path) -> None:
    """Each has a temporary file of its own."""
    threads = [threading.Thread(target=lambda n=n: files.write_new(tmp_path, "x", str(n))) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(path.read_text()) for path in tmp_path.iterdir()) == list(range(16))


def test_export_name() -> None:
    """In the moment's own zone."""
    assert files.export_name(datetime(2026, 1, 2, 3, 4, 5, 999999, tzinfo=UTC)) == "state_20260102_030405"


# --- import -----------------------------------------------------------------------------------------------


def test_an_import_is_found_as_given_or_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As given comes first; a path into a sub-folder is fine too."""
    folder = tmp_path / "results"
    (folder / "old").mkdir(parents=True)
    (folder / "a.json").write_text("in the folder")
    (folder / "old" / "b.json").write_text("deeper")
    monkeypatch.chdir(tmp_path)
    assert files.find_import("a.json", folder) == folder / "a.json"
    assert files.find_import(Path("old/b.json"), folder) == folder / "old" / "b.json"
    assert files.find_import(folder / "a.json", tmp_path / "none") == folder / "a.json"
    (tmp_path / "a.json").write_text("here")
    assert files.find_import("a.json", folder).read_text() == "here"


def test_an_import_that_is_not_there_names_the_places_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        files.find_import("a.json", Path("results"))
    assert f"{tmp_path / 'a.json'} or {tmp_path / 'results' / 'a.json'}" in str(caught.value)
    assert caught.value.errno == errno.ENOENT
    with pytest.raises(FileNotFoundError, match=re.escape(f"no file to import at {tmp_path / 'b.json'}: ")):
        files.find_import(tmp_path / "b.json", tmp_path / "results")


def test_a_file_is_read_up_to_a_limit(tmp_path: Path) -> None:
    """The limit itself is accepted; a device without an end is not read for ever."""
    path = tmp_path / "state.json"
    path.write_bytes(b"12345\n")
    assert files.read_text(path) == files.read_text(str(path), max_bytes=6) == b"12345\n"
    with pytest.raises(StateTooLarge, match="more than the 5 bytes") as caught:
        files.read_text(path, max_bytes=5)
    assert caught.value.details == {"limit": 5}
    with pytest.raises(StateTooLarge, match="/dev/zero"):
        files.read_text("/dev/zero", max_bytes=10_000)
    with pytest.raises(IsADirectoryError):
        files.read_text(tmp_path)


# --- the folder -------------------------------------------------------------------------------------------


def test_the_results_folder() -> None:
    """The default one, one of the caller's, and an object of a host application that fits."""

    class Host:
        def folder(self) -> Path:
            return Path("/data")

    assert files.ResultsFolder().folder() == Path("results/digital_twin")
    assert files.ResultsFolder(Path("x")).folder() == Path("x")
    assert isinstance(files.ResultsFolder(), files.ResultsManager)
    assert isinstance(Host(), files.ResultsManager)
    assert not isinstance(Path(), files.ResultsManager)
