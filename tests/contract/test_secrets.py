"""No password shows: in errors, logs, reprs, output, or the process list."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from circman_redis import AsyncStateManager, CircmanError, StateManager
from circman_redis.settings import Settings
from circman_redis.urls import locate
from tests.servers import Server, free_port

SECRET = "hunter2-s3cr3t"
QUICK = {"timeout": 0.3}


@pytest.fixture
def user(server: Server) -> Iterator[str]:
    """A user of the server with the password, who may do everything."""
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "keeper", "reset", "on", f">{SECRET}", "+@all", "~*", "&*")
        yield "keeper"
        admin.acl_deluser("keeper")


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    file = tmp_path / "pw"
    file.write_text(f"{SECRET}\n")
    file.chmod(0o600)
    return file


def wrong_urls(socket: Path) -> list[str]:
    dead = free_port()
    return [
        *(
            f"{scheme}://u:{SECRET}@127.0.0.1:{dead}"
            for scheme in ("redis", "rediss", "redis+cluster", "rediss+cluster")
        ),
        *(f"{scheme}://u:{SECRET}@127.0.0.1:{dead}/main" for scheme in ("redis+sentinel", "rediss+sentinel")),
        f"redis+sentinel://127.0.0.1:{dead}/main?sentinel_password={SECRET}&sentinel_username=s",
        f"redis://127.0.0.1:{dead}?password={SECRET}",
        f"redis://:{SECRET}@127.0.0.1:{dead}/0",
        f"rediss://127.0.0.1:{dead}?ssl_password={SECRET}",
        f"unix://u:{SECRET}@{socket}",  # this user is not known
        f"unix://u:{SECRET}@/nowhere/at/all",
        f"redis://u:{SECRET}@127.0.0.1:port",
        f"redis://u:{SECRET}/x@127.0.0.1:{dead}",
        f"redis://u:[{SECRET}@127.0.0.1:{dead}",
        f"redis+cluster://u:{SECRET}@127.0.0.1:{dead}/3",
        f"redis+sentinel://u:{SECRET}@127.0.0.1:{dead}",
        f"redis://u:{SECRET}@127.0.0.1:{dead}?no_such_option=1",
        f"redis://u:{SECRET}@127.0.0.1:{dead}?decode_responses=true",
        f"http://u:{SECRET}@127.0.0.1",
        f"u:{SECRET}@127.0.0.1:{dead}",
        f"embedded://u:{SECRET}@host",
    ]


def told(error: BaseException) -> str:
    """All that an error says when nobody catches it: with its causes, and the reprs that there are on the way."""
    seen, texts = error, []
    while seen is not None:
        texts += [str(seen), repr(seen), repr(vars(seen))]
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return "".join((*traceback.format_exception(error), *texts))


@pytest.mark.parametrize("number", range(22))
def test_an_address_that_does_not_work(server: Server, number: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    url = wrong_urls(server.socket)[number]

    async def open_async() -> None:
        async with AsyncStateManager("t", url=url, **QUICK):
            pass

    for attempt in (lambda: StateManager("t", url=url, **QUICK), lambda: asyncio.run(open_async())):
        with pytest.raises(CircmanError) as refused:
            attempt()
        assert SECRET not in told(refused.value).replace(url, "")
        assert SECRET not in str(refused.value)
    assert SECRET not in caplog.text


def test_every_address_is_tried(server: Server) -> None:
    assert len(wrong_urls(server.socket)) == 22


@pytest.mark.parametrize("how", ["argument", "file", "environment", "environment's file", "url"])
def test_whatever_way_it_came(
    server: Server, user: str, secret_file: Path, twin_id: str, how: str, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """It is used, and is in no repr of what it made, nor in an error of a closed manager or of a refused commit."""
    caplog.set_level(logging.DEBUG)
    url, given = server.url, {"username": user}
    match how:
        case "argument":
            given["password"] = SECRET
        case "file":
            given["password_file"] = str(secret_file)
        case "environment":
            monkeypatch.setenv("CIRCMAN_PASSWORD", SECRET)
        case "environment's file":
            monkeypatch.setenv("CIRCMAN_PASSWORD_FILE", str(secret_file))
        case "url":
            url, given = f"unix://{user}:{SECRET}@{server.socket}", {}
    with StateManager(twin_id, url=url, **given) as twin, twin.subscribe(timeout=5) as events, twin.mirror() as mirror:
        twin.update_state({"n": 1})
        assert twin.client.acl_whoami() in (user, user.encode())
        made: list[Any] = [twin, events, mirror, twin._driver, twin._driver.store, twin.client, twin._twin, twin.config]
        made += [Settings.from_arguments(redis_url=url, **given), locate(url), twin.client.connection_pool]
        assert SECRET not in "".join(f"{one!r}{one!s}" for one in made)
        with pytest.raises(CircmanError) as refused:
            twin.set_state({"n": 1}, expected_version=99)
        assert SECRET not in told(refused.value)
    with pytest.raises(CircmanError) as closed:
        twin.get_current_state()
    assert SECRET not in told(closed.value) + caplog.text


@pytest.mark.parametrize("arguments", [{"password": [SECRET]}, {"redis_url": [SECRET]}, {"password_file": "/no/file"}])
def test_a_setting_that_is_none(arguments: dict[str, Any]) -> None:
    with pytest.raises(CircmanError) as refused:
        _ = Settings.from_arguments(**arguments).credentials
    assert SECRET not in str(refused.value)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "pw").write_bytes(SECRET.encode() + b"\xff")
    with pytest.raises(CircmanError, match="no text in UTF-8") as refused:
        _ = Settings.from_arguments(password_file=tmp_path / "pw").credentials
    assert SECRET not in told(refused.value)


def test_two_users_are_not_one_manager(server: Server, user: str, twin_id: str) -> None:
    """Whoever asks for another user is not given the rights of the first one."""
    said = r"username='keeper' \(it is None\)"
    with StateManager(twin_id, url=server.url), pytest.raises(CircmanError, match=said) as refused:
        StateManager(twin_id, url=server.url, username=user, password=SECRET)
    assert SECRET not in told(refused.value)


COMMANDS = [
    *(["get"], ["history"], ["info"], ["doctor"], ["twins"], ["update", '{"n": 1}'], ["watch", "--timeout", "0.5"]),
    *(["export", "file.json"], ["backup", "file"], ["audit"], ["demo", "--workers", "1", "--seconds", "0.2"], ["top"]),
]


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., str]:
    """Runs a command as a process, and returns all that it said; nobody's command line shows the password."""

    def run(*arguments: str, **environment: str) -> str:
        root = Path(__file__).parents[2]
        # A package that says everything that is logged.
        start = (
            "import logging, sys; logging.basicConfig(level=logging.DEBUG)\n"
            "from circman_redis.cli import main; sys.exit(main())"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", start, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(root), "CIRCMAN_TIMEOUT": "2", "CIRCMAN_RETRIES": "0", **environment},
        )
        lines: set[str] = set()
        ps = psutil.Process(process.pid)
        while process.poll() is None:
            for one in _family(ps):
                lines.add(one)
            time.sleep(0.02)
        assert not any(SECRET in one for one in lines), lines
        assert process.stdout is not None
        with process.stdout as said:
            return said.read()

    return run


def _family(process: psutil.Process) -> Iterator[str]:
    try:
        for one in (process, *process.children(recursive=True)):
            yield " ".join(one.cmdline())
    except psutil.Error:
        return


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda one: one[0])
def test_commands(
    command: Callable[..., str], server: Server, user: str, secret_file: Path, twin_id: str, arguments: list[str]
) -> None:
    """Where all is well, with a password that is refused, and with nobody there."""
    where = ["--url", server.url, "--twin", twin_id, "--user", user]
    with StateManager(twin_id, url=server.url) as twin:
        if arguments[0] != "demo":
            twin.update_state({"n": 1})
    said = command(*arguments, *where, "--password-file", str(secret_file))
    assert "WRONGPASS" not in said
    assert "invalid username" not in said.lower()
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", user, "resetpass", ">another")
    refused = command(*arguments, *where, CIRCMAN_PASSWORD=SECRET)
    assert arguments == ["top"] or "password" in refused.lower()
    dead = command(*arguments, CIRCMAN_REDIS_URL=f"redis://u:{SECRET}@127.0.0.1:{free_port()}")
    for text in (said, refused, dead):
        assert SECRET not in text


def test_the_file_counts_before_the_environment(
    command: Callable[..., str], server: Server, user: str, secret_file: Path
) -> None:
    where = ["--url", server.url, "--user", user, "--password-file", str(secret_file)]
    assert "WRONGPASS" not in command("twins", *where, CIRCMAN_PASSWORD="another")
    assert "No such file" in command("twins", "--url", server.url, "--password-file", "missing")
