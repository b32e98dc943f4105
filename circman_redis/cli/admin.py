"""twins, server: what is where."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from circman_redis import _embedded_folder as folders
from circman_redis import protocol
from circman_redis.cli._options import Target, connected, example
from circman_redis.cli._output import emit_table, emit_value, note, on_terminal
from circman_redis.cli._session import Session, twin_names
from circman_redis.codec import decode
from circman_redis.driver import Driver
from circman_redis.embedded import open_server
from circman_redis.errors import StoreError
from circman_redis.keys import TwinKeys

_LOOK_AFTER = 5.0  # seconds between two looks at the embedded server


@click.command("twins", epilog=example("circman-redis twins --prefix circman"))
@click.option("--branches", is_flag=True, help="Their branches too.")
@connected
def twins_command(target: Target, branches: bool) -> None:
    """List the twins on the server (with a state, under --prefix).

    When piped, one JSON object per line: twin, version, bytes, committed_at, history.
    """
    with target.session() as session:
        found = [_line(session, name) for name in twin_names(session, branches=branches)]
    if not on_terminal():
        for one in found:
            emit_value(one)
    elif found:
        emit_table(list(found[0]), [list(one.values()) for one in found])
    else:
        note("no twins")


def _line(session: Session, name: str) -> dict[str, Any]:
    keys = TwinKeys(name, session.settings.prefix)
    driver = Driver(session.store, keys)  # each twin may be on another node
    fields = ("version", "bytes", "head")
    try:
        version, size, head = driver.run(protocol.Call("HMGET", (keys.meta,), fields, lambda reply: reply))
        entries = driver.run(protocol.history_size(keys))
    except StoreError:  # a key of the wrong type, which `doctor` names
        version = size = head = entries = None
    return {
        "twin": name,
        "version": int(version) if version else None,
        "bytes": int(size) if size else None,
        "committed_at": decode(head)["committed_at"] if head else None,
        "history": entries,
    }


@click.command("server", epilog=example("circman-redis server"))
@click.option("--folder", type=click.Path(file_okay=False), help="Its folder; else the user's own.")
@click.option("--status", is_flag=True, help="Say whether it runs; exit code 1 where it does not.")
@click.option("--path", is_flag=True, help="Print the path of its socket; start nothing.")
def server_command(folder: str | None, status: bool, path: bool) -> None:
    """Hold the embedded server in the foreground, until Ctrl-C or SIGTERM.

    It prints the server's URL, which programs in any language may use for as long as it is held. The commands of
    this program start the server by themselves; hold it to keep it between them.
    """
    if not (status or path):
        _hold(folder)
        return
    socket = _socket(folder)
    if path:
        click.echo(str(socket))
        return
    runs = _answers(socket)
    emit_value({"running": runs, "url": _url(socket)})
    if not runs:
        note("the embedded server does not run: whoever needs it starts it")
        click.get_current_context().exit(1)


def _hold(folder: str | None) -> None:

    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with open_server(folder) as server:
            click.echo(_url(server.socket_path))
            note(f"redis-cli -s {server.socket_path}")
            note(f"its data: {server.folder}; Ctrl-C ends it, unless others use it")
            while True:
                time.sleep(_LOOK_AFTER)
                server.ready()
    except KeyboardInterrupt:
        note("let go")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _socket(folder: str | None) -> Path:

    chosen = Path(folder) if folder else folders.default_folder()
    return folders.socket_path(chosen.resolve())


def _url(socket: Path) -> str:

    return f"unix://{quote(str(socket))}"


def _answers(socket: Path) -> bool:

    with redis.Redis(unix_socket_path=str(socket), retry=Retry(NoBackoff(), 0), socket_timeout=3) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
