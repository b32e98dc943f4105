"""What an error looks like on the command line."""

from __future__ import annotations

from circman_redis.errors import (
    CircmanError,
    ModelMismatch,
    NoState,
    StateValidationError,
    StoreUnavailable,
)
from circman_redis.view.words import printable


def lines_of(error: Exception) -> list[str]:
    """The lines to print: one, and one more per violated rule.

    Raises:
        Exception: the error itself, where it is not one that a user can do something about.
    """
    if isinstance(error, StateValidationError) and error.violations:
        count = len(error.violations)
        head = f"error: refused, {count} rule{'s are' if count > 1 else ' is'} broken:"
        return [head, *(f"  {printable(str(one))}" for one in error.violations)]
    if isinstance(error, OSError) and not isinstance(error, CircmanError):
        return [f"error: {printable(_os_error(error))}"]
    if isinstance(error, CircmanError):
        return [f"error: {printable(_in_commands(error))}"]
    if isinstance(error, UnicodeEncodeError):
        return ["error: an argument is no text in UTF-8"]
    raise error


def _os_error(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


def _in_commands(error: CircmanError) -> str:
    """The message, with what to do said in commands in the place of Python."""
    said = str(error)
    if isinstance(error, NoState):
        return said.partition(": commit one")[0] + ": commit one with `circman-redis set` or `update`"
    if isinstance(error, StoreUnavailable) and error.commit_id:
        return said.partition(": say it again")[0] + f": repeat it with --commit-id {error.commit_id}"
    if isinstance(error, ModelMismatch):
        said = said.replace("model=<that class>", "--model MODULE:CLASS")
        return said.replace("publish_model()", "`circman-redis schema publish`")
    return said
