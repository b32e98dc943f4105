"""What commands are given: JSON from a file, from stdin or from the command line, and models by name."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from circman_redis.codec import JSONText, check_text
from circman_redis.errors import UsageError
from circman_redis.files import MAX_FILE_BYTES, read_text


def document(source: str) -> JSONText:
    """The JSON object in a file, or in stdin where it is ``-``, its numbers with their digits.

    Raises:
        InvalidJSON: it is no JSON object; the message says where.
        OSError: it cannot be read.
    """
    text = stdin_bytes() if source == "-" else read_text(Path(source))
    return json_text(text, "stdin" if source == "-" else source)


def json_text(text: str | bytes, what: str) -> JSONText:
    """JSON text that was checked under the name that the user knows it by."""
    return JSONText(check_text(text, what=what))


def stdin_bytes() -> bytes:
    """All of stdin, which may not be longer than a file."""
    text = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    if len(text) > MAX_FILE_BYTES:
        raise UsageError(f"stdin: more than the {MAX_FILE_BYTES:,} bytes that are accepted")
    return text


def load_model(spec: str) -> type[BaseModel]:
    """The pydantic model that ``MODULE:CLASS`` names; modules of the working directory are found too.

    Raises:
        UsageError: there is no such module, or no such model in it.
    """
    module_name, _, class_name = spec.partition(":")
    if not module_name or not class_name:
        raise UsageError(f"{spec!r}: name the model as MODULE:CLASS, such as plant.models:Plant")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(module_name)
        for name in class_name.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{spec!r}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, BaseModel)):
        raise UsageError(f"{spec!r} is not a pydantic model")
    return found
