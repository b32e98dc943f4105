"""The options that commands share. Options may stand before the command as well as after it."""

from __future__ import annotations

import functools
import getpass
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from circman_redis.cli._session import Session

Command = Callable[..., None]

_WHERE = ("url", "twin", "prefix", "user", "password_file", "ca_file", "cert_file", "key_file")

QUICK_RETRIES = 3
"""At a prompt a wrong address should be said at once. CIRCMAN_RETRIES asks for more patience."""


@dataclass(frozen=True, slots=True)
class Target:
    """Which twin, on which server, and who is at the keyboard; None for the environment's and the defaults."""

    url: str | None = None
    twin: str | None = None
    prefix: str | None = None
    actor: str | None = None
    model: str | None = None
    user: str | None = None
    password_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    retries: int | None = QUICK_RETRIES

    def session(self) -> Session:
        """The way to the twin, to be used in a with statement."""
        from circman_redis.cli._session import Session  # noqa: PLC0415 - imports redis and pydantic

        return Session(self)

    def patient(self) -> Target:
        """The same, but it goes on for as long as the library does when the connection fails."""
        return replace(self, retries=None)


@dataclass(frozen=True, slots=True)
class Write:
    """What the options of a writing command say of the commit."""

    expected_version: int | None
    commit_id: str | None


def example(line: str) -> str:
    """The end of a command's help, which click leaves on one line."""
    return f"\b\nExample:\n  {line}"


def server_options(command: Command) -> Command:
    """Adds the options that lead to a server and a twin, as they are."""
    options = (
        click.option("--url", metavar="URL", help="The server [CIRCMAN_REDIS_URL; else the embedded one]."),
        click.option("--twin", "-t", metavar="ID", help="The twin [CIRCMAN_TWIN; else default]."),
        click.option("--prefix", metavar="TEXT", help="What keys begin with [CIRCMAN_PREFIX; else circman]."),
        click.option("--user", metavar="NAME", help="Who logs in, where the URL does not say [CIRCMAN_USERNAME]."),
        click.option("--password-file", metavar="FILE", help="The password [CIRCMAN_PASSWORD_FILE, CIRCMAN_PASSWORD]."),
        click.option("--ca-file", metavar="FILE", help="Who vouches for the server (PEM), with TLS [CIRCMAN_CA_FILE]."),
        click.option("--cert-file", metavar="FILE", help="The client's certificate (PEM) [CIRCMAN_CERT_FILE]."),
        click.option("--key-file", metavar="FILE", help="Its private key (PEM) [CIRCMAN_KEY_FILE]."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def connected(command: Command) -> Command:
    """Adds the same; the command gets them as a Target, its first argument."""

    @server_options
    @functools.wraps(command)
    def with_target(**given: Any) -> None:
        before = click.get_current_context().find_root().params
        where = {name: given.pop(name) or before.get(name) for name in _WHERE}
        command(Target(**where), **given)

    return with_target


def acting(command: Command) -> Command:
    """As `connected`, with --actor."""

    @click.option("--actor", metavar="TEXT", help="Who commits [CIRCMAN_ACTOR; else cli:<user>].")
    @connected
    @functools.wraps(command)
    def with_actor(target: Target, *, actor: str | None, **rest: Any) -> None:
        actor = actor or os.environ.get("CIRCMAN_ACTOR") or f"cli:{_user()}"
        command(replace(target, actor=actor), **rest)

    return with_actor


def modelled(command: Command) -> Command:
    """Adds --model, for twins some of whose checks only Python can make; to stand below `connected` or `acting`."""

    @click.option("--model", metavar="MODULE:CLASS", help="The twin's model, where Python has to check it too.")
    @functools.wraps(command)
    def with_model(target: Target, *, model: str | None, **rest: Any) -> None:
        command(replace(target, model=model), **rest)

    return with_model


def writing(command: Command) -> Command:
    """Adds all that a commit takes; the command gets a Target and a Write, its first two arguments."""

    @click.option("--expect", type=click.IntRange(0), metavar="VERSION", help="Only on top of this version.")
    @click.option("--commit-id", metavar="TEXT", help="A repeat with the same id commits nothing more.")
    @acting
    @modelled
    @functools.wraps(command)
    def with_write(target: Target, *, expect: int | None, commit_id: str | None, **rest: Any) -> None:
        command(target, Write(expect, commit_id), **rest)

    return with_write


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in some containers
        return str(os.getuid())
