"""The group of all commands: what there is, where it lives, and what becomes of an error."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

from circman_redis._version import __version__
from circman_redis.cli import EXIT_INTERRUPTED, EXIT_PIPE_CLOSED, EXIT_REFUSED, EXIT_USAGE
from circman_redis.cli._options import example, server_options

# Module and help of each command, so that --help lists them without importing any.
COMMANDS = {
    "demo": ("demo", "Several workers on one twin, checked at the end."),
    "get": ("reading", "Print the state, or the value at a JSON Pointer."),
    "set": ("writing", "Replace the state by a JSON document."),
    "update": ("writing", "Merge a JSON Merge Patch (RFC 7396) into the state."),
    "adjust": ("writing", "Add numbers in place, several at once, all or none."),
    "history": ("reading", "List the commits, newest first."),
    "at": ("reading", "Print the state of a past time or version."),
    "diff": ("reading", "Show what changed between two versions."),
    "watch": ("watch", "One line per event, as they come: who changed what."),
    "top": ("top", "A live view of the twin, on the whole terminal."),
    "plot": ("plot", "Draw numbers of the twin over its history."),
    "simulate": ("simulate", "What becomes of the state, by the models; commit nothing."),
    "worker": ("worker", "Work on the twin as one of any number of workers."),
    "workers": ("worker", "List the workers of the twin."),
    "thresholds": ("around", "List the thresholds of the twin, and how they stand."),
    "events": ("around", "Print what happened around the twin."),
    "fork": ("branches", "Make a what-if branch of the twin."),
    "merge-back": ("branches", "Commit to the twin what a branch changed."),
    "export": ("reading", "Write the state to a file, and print its path."),
    "import": ("writing", "Commit the state in an exported file."),
    "backup": ("backup", "Write twins to a file, with history and model."),
    "restore": ("backup", "Put twins from a backup on the server."),
    "validate": ("models", "Check a state against the twin's model; commit nothing."),
    "clear-history": ("writing", "Remove the past states; the state and its version stay."),
    "delete": ("writing", "Remove the twin with all its keys."),
    "schema": ("models", "Show or publish the model that states must fit."),
    "twins": ("admin", "List the twins on the server."),
    "info": ("info", "Facts at a glance: the server and the twin."),
    "acl": ("acl", "Print the ACL rules of a role: reader, writer or admin."),
    "doctor": ("doctor", "Say in words what is wrong with the server or the twin."),
    "repair": ("repair", "Say what would make a damaged twin right, and do it on request."),
    "audit": ("audit", "Prove the history, and what clients were told of their commits."),
    "constants": ("constants", "Print the constants that programs around a twin go by."),
    "ingest": ("ingest", "Commit the rows of a CSV file, or lines of JSON."),
    "server": ("admin", "Hold the embedded server in the foreground."),
    "cluster": ("cluster", "Hold a cluster on this machine in the foreground."),
}


class LazyGroup(click.Group):
    """Imports a command's module when the command is run, and turns errors into a line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All names, in the order of the documentation."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """The command, its module imported."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"circman_redis.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_") + "_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Writes the list of commands for --help, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command that was named."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except (KeyboardInterrupt, click.Abort):
            ctx.exit(EXIT_INTERRUPTED)
        except BrokenPipeError:
            # Whoever read has seen enough. What is still buffered would fail once more at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(EXIT_PIPE_CLOSED)
        except (click.ClickException, click.exceptions.Exit, ModuleNotFoundError):
            raise
        except Exception as error:  # noqa: BLE001 - what is not ours to explain is raised again
            ctx.exit(_explain(error))
        return result


def _explain(error: Exception) -> int:
    """Says what went wrong, one line per reason; returns the exit code."""
    from circman_redis.cli._errors import lines_of  # noqa: PLC0415 - errors are rare
    from circman_redis.errors import PointerError, UsageError  # noqa: PLC0415

    for line in lines_of(error):
        click.echo(line, err=True)
    usage = isinstance(error, UsageError) and not isinstance(error, PointerError)
    return EXIT_USAGE if usage else EXIT_REFUSED


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=f"{example('circman-redis get /environment/temperature')}\n\n"
    "Output is JSON: indented on a terminal, one line when piped. "
    "Exit code 1: refused, with the reason; 2: wrong usage. Each command has --help.",
)
@server_options
@click.version_option(__version__)
def cli(**_: Any) -> None:
    """A digital twin's state as one JSON document in Redis: shared, validated, versioned.

    Without --url (or CIRCMAN_REDIS_URL) the embedded server is used, which all processes of this user share.
    """
