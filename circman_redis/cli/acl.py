"""acl: the rules that give a user of the server no more rights than it needs."""

from __future__ import annotations

import hashlib
import os

import click

from circman_redis import acl
from circman_redis.cli._options import Target, example
from circman_redis.cli._output import note
from circman_redis.cli._session import settings_of
from circman_redis.errors import UsageError
from circman_redis.settings import read_password


@click.command("acl", epilog=example("circman-redis acl reader --twin plant --user screen | redis-cli"))
@click.argument("role", type=click.Choice(acl.ROLES))
@click.option("--user", metavar="NAME", help="The user's name [<prefix>-<twin>-<role>].")
@click.option("--twin", "-t", metavar="ID", help="For this twin [CIRCMAN_TWIN; else for all under the prefix].")
@click.option("--prefix", metavar="TEXT", help="What keys begin with [CIRCMAN_PREFIX; else circman].")
@click.option("--cluster", is_flag=True, help="For the nodes of a cluster, each of which has to be told.")
@click.option("--fsync", is_flag=True, help="Commits may wait for the disk (Valkey, Redis 7.2).")
@click.option("--new-password", metavar="FILE", help="A file with its password, whose SHA-256 is printed.")
@click.option("--acl-file", is_flag=True, help="As a line of the server's ACL file, not a command.")
def acl_command(
    role: acl.Role,
    *,
    user: str | None,
    twin: str | None,
    prefix: str | None,
    cluster: bool,
    fsync: bool,
    new_password: str | None,
    acl_file: bool,
) -> None:
    """Print the ACL rules of a role: reader, writer or admin. It asks no server.

    A reader reads and follows, and cannot change a byte. A writer commits and clears the history. An admin also
    publishes models, changes settings, deletes, restores, repairs and looks around. docs/security.md says more.
    """
    before = click.get_current_context().find_root().params
    twin = twin or before.get("twin") or os.environ.get("CIRCMAN_TWIN")
    prefix = settings_of(Target(prefix=prefix or before.get("prefix"))).prefix
    name = user or "-".join([prefix, *([twin] if twin else []), role])
    secret = hashlib.sha256(_password(new_password).encode()).hexdigest() if new_password else None
    given = acl.rules(role, prefix, twin, cluster=cluster, fsync=fsync)
    click.echo(acl.line(name, given, secret, acl_file=acl_file))
    if secret is None:
        note(f"it has no password yet, so nobody can log in: ACL SETUSER {name} >PASSWORD, or --new-password FILE")


def _password(file: str) -> str:
    password = read_password(file, "--new-password")
    if not password:
        raise UsageError(f"--new-password {file}: the file is empty")
    return password
