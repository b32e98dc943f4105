"""constants: what programs around a twin go by, and where it was given."""

from __future__ import annotations

import click

from circman_redis.cli._options import example
from circman_redis.cli._output import emit_value
from circman_redis.twin.constants import ConstantsService


@click.command("constants", epilog=example("circman-redis constants --sources"))
@click.option("--file", metavar="FILE", help="The user's file, in TOML [CIRCMAN_CONSTANTS_FILE].")
@click.option("--sources", is_flag=True, help="Say of each value where it was given.")
def constants_command(file: str | None, *, sources: bool) -> None:
    """Print the constants that programs around a twin go by, as JSON. It asks no server.

    CIRCMAN_CONSTANTS__SECTION__NAME in the environment goes before the user's file, and that before the defaults.
    """
    emit_value(ConstantsService(file).to_json(with_sources=sources))
