"""validate and schema: the model that a twin's states must fit."""

from __future__ import annotations

import click

from circman_redis import protocol
from circman_redis.cli._options import Target, acting, connected, example, modelled
from circman_redis.cli._output import emit, emit_value, note
from circman_redis.cli._read import document, load_model
from circman_redis.errors import StateError

LEVELS = ("none", "standard", "strict")


@click.command("validate", epilog=example("circman-redis validate state.json"))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@connected
@modelled
def validate_command(target: Target, file: str) -> None:
    """Check whether the state in FILE (- for stdin) would be accepted; commit nothing.

    It is checked against the twin's model, or the built-in one where the twin has none yet. Exit code 0 where it
    would be accepted, 1 with the reasons where not.
    """
    state = document(file)
    with target.session() as session:
        twin = session.twin
        accepted, reason = session.ask(twin.validate(state))
    note(reason if accepted else f"error: {reason}".replace("model=<that class>", "--model MODULE:CLASS"))
    click.get_current_context().exit(0 if accepted else 1)


@click.group("schema", epilog=example("circman-redis schema show"))
def schema_command() -> None:
    """Show or publish the model that the twin's states must fit."""


@schema_command.command("show", epilog=example("circman-redis schema show --twin plant"))
@connected
def show_command(target: Target) -> None:
    """Print the JSON Schema of the published model.

    Exit code 1 where none was published.
    """
    with target.session() as session:
        call = protocol.Call("GET", (session.keys.schema,), (), lambda reply: reply)
        text = session.run(call)
        if text is None:
            raise StateError(f"twin {session.keys.twin!r} has no published model")
    emit(text)


@schema_command.command(
    "publish",
    short_help="Publish a pydantic model.",
    epilog=example("circman-redis schema publish circman_redis.models:TwinState"),
)
@click.argument("model", metavar="MODULE:CLASS")
@click.option("--validation", type=click.Choice(LEVELS), help="How much of it binds; else as it was.")
@click.option("--force", is_flag=True, help="Even though the state that is there does not fit.")
@acting
def publish_command(target: Target, model: str, validation: str | None, force: bool) -> None:
    """Publish a pydantic model: from now on its rules bind every writer of the twin.

    Modules of the working directory are found too. Exit code 1 where the state that is there does not fit.
    """
    chosen = load_model(model)
    with target.session() as session:
        session.write(session.twin.publish_model(chosen, validation, force))
        config = session.twin.config
    emit_value(
        {
            "twin": session.keys.twin,
            "model": config.model,
            "model_hash": config.model_hash,
            "validation": config.validation,
            "checks": config.checks,
        }
    )
