"""fork, merge-back: what-if branches of a twin."""

from __future__ import annotations

import dataclasses

import click

from circman_redis.cli._options import Target, acting, example
from circman_redis.cli._output import emit_changes, emit_value


@click.command("fork", epilog=example("circman-redis fork what-if-1 --twin plant"))
@click.argument("name")
@click.option("--version", type=click.IntRange(1), metavar="N", help="Begin with this past version; else the newest.")
@acting
def fork_command(target: Target, name: str, version: int | None) -> None:
    """Make the branch NAME of the twin: a twin of its own, TWIN@NAME, for every other command.

    Prints its id, and the commit that it begins with.
    """
    from circman_redis.cli._around import managed  # noqa: PLC0415 - imports redis
    from circman_redis.twin.branches import fork  # noqa: PLC0415

    with managed(target) as manager:
        branch = fork(manager, name, version=version)
        with branch.manager:
            began = {name: getattr(branch.origin, name) for name in ("twin", "epoch", "version", "committed_at")}
            emit_value({"branch": branch.manager.twin, "origin": began})


@click.command("merge-back", epilog=example("circman-redis merge-back what-if-1 --twin plant --dry-run"))
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Only print what the branch changed.")
@click.option("--delete", is_flag=True, help="Remove the branch afterwards.")
@acting
def merge_back_command(target: Target, name: str, *, dry_run: bool, delete: bool) -> None:
    """Commit to the twin what the branch NAME changed, and print the commit; nothing, where it changed nothing.

    Where the twin was changed in the same places since, otherwise, it is refused, and they are named.
    """
    from circman_redis.cli._around import managed  # noqa: PLC0415 - imports redis
    from circman_redis.twin.branches import Branch  # noqa: PLC0415

    if dry_run and delete:
        raise click.UsageError("--dry-run changes nothing: leave out --delete")
    with managed(target) as manager, manager.branch(name) as branch:
        found = Branch(branch, manager)
        if dry_run:
            emit_changes(found.diff_to_origin())
            return
        commit = found.merge_back()
        if delete:
            branch.delete()
    if commit is not None:
        emit_value(dataclasses.asdict(commit))
