"""Where constants are given: files and the environment. It reads them, and leaves to others whether they are right."""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeAlias

from circman_redis.errors import UsageError
from circman_redis.shown import shown

PACKAGED = Path(__file__).with_name("constants.toml")
"""The file with the defaults."""
VARIABLES = "CIRCMAN_CONSTANTS"
"""What the names of all variables begin with."""
FILE_VARIABLE = "CIRCMAN_CONSTANTS_FILE"
"""The variable that names the user's file."""
LARGEST_FILE = 2**20
"""Bytes of a file with constants."""

THRESHOLDS = "thresholds"
"""The section that is a list of tables: it has no names, and is one value."""
RULES = "rules"
"""What its model calls that list."""

Known: TypeAlias = Mapping[str, Sequence[str]]
"""Sections, with the names that each has."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value was given.

    Attributes:
        kind: the packaged file, a user's file, or the environment.
        where: the file's path, or the variable's name.
    """

    kind: Literal["packaged", "file", "environment"]
    where: str

    def place(self, path: str, below: str = "") -> str:
        """The place of a value, for a message.

        Args:
            path: section and name; a variable's own name has them in it.
            below: where inside the value.
        """
        return self.where + below if self.kind == "environment" else f"{self.where}: {path}{below}"


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it was given, and not yet checked."""

    section: str
    name: str
    value: Any
    source: Source


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, where and what is allowed; and the error that told of it, where there was one."""

    text: str
    cause: Exception | None = None


Found: TypeAlias = Iterator[Given | Problem]


def refuse(problems: Sequence[Problem]) -> NoReturn:
    """Raises the UsageError that tells of them all.

    Args:
        problems: one at least.
    """
    causes = [one.cause for one in problems if one.cause is not None]
    cause = ExceptionGroup("what is wrong with the constants", causes) if len(causes) > 1 else next(iter(causes), None)
    if len(problems) == 1:
        raise UsageError(problems[0].text) from cause
    lines = "".join(f"\n  {one.text}" for one in problems)
    raise UsageError(f"{len(problems)} things are wrong with the constants:{lines}") from cause


def in_file(path: str | Path, source: Source, known: Known, told_by: str = "") -> Found:
    """What a file gives, and what is wrong with its form.

    Args:
        path: the file, TOML 1.0 in UTF-8.
        source: what it is.
        known: what there is to be given.
        told_by: who named the file, for a message.
    """
    try:
        document = _read(path)
    except RecursionError as error:  # tomllib goes one level down for each bracket
        yield Problem(f"{told_by}{shown(str(path))}: nested too deeply", error)
    except UnicodeDecodeError as error:
        yield Problem(f"{told_by}{shown(str(path))}: it is no text in UTF-8: {error}", error)
    except tomllib.TOMLDecodeError as error:
        yield Problem(f"{told_by}{shown(str(path))}: it is no TOML: {error}", error)
    except OSError as error:
        yield Problem(f"{told_by}{shown(str(path))}: it cannot be read: {error.strerror or error}", error)
    except (UsageError, ValueError, TypeError) as error:
        yield Problem(f"{told_by}{shown(str(path))}: {error}", error)
    else:
        for section, content in document.items():
            yield from _in_section(section, content, source, known)


def _read(path: str | Path) -> dict[str, Any]:
    file = Path(path)
    if not stat.S_ISREG(file.stat().st_mode):  # a pipe could keep its reader for ever
        raise UsageError("it is a folder, or something else that is no file with constants")
    with file.open("rb") as opened:
        text = opened.read(LARGEST_FILE + 1)
    if len(text) > LARGEST_FILE:
        raise UsageError(f"it is larger than {LARGEST_FILE:,} bytes, and no file with constants")
    return tomllib.loads(text.decode())


def _in_section(section: str, content: Any, source: Source, known: Known) -> Found:
    if section not in known:
        yield Problem(f"{source.where}: there is no section {shown(section)}; there are {', '.join(known)}")
    elif section == THRESHOLDS:
        yield Given(section, RULES, content, source)
    elif not isinstance(content, dict):
        yield Problem(f"{source.place(section)}={shown(content)}: it has to be a table: [{section}]")
    else:
        for name, value in content.items():
            if name in known[section]:
                yield Given(section, name, value, source)
            else:
                yield Problem(f"{source.where}: {section} has no {shown(name)}; it has {', '.join(known[section])}")


def in_environment(environment: Mapping[str, str], known: Known) -> Found:
    """What the environment gives, and which of our variables give nothing that there is.

    Args:
        environment: names and texts of variables, as `os.environ`.
        known: what there is to be given.
    """
    of = {variable_of(section, name): (section, name) for section, names in known.items() for name in names}
    for variable, text in sorted(environment.items()):
        if not variable.startswith(VARIABLES) or variable == FILE_VARIABLE:
            continue
        if variable in of:
            yield Given(*of[variable], _parsed(text), Source("environment", variable))
        else:
            yield Problem(f"{shown(variable)}: there is no such constant; {_nearest(variable, known)}")


def variable_of(section: str, name: str) -> str:
    """The variable that gives a value: ``CIRCMAN_CONSTANTS__SECTION__NAME``."""
    parts = (section,) if section == THRESHOLDS else (section, name)
    return "__".join((VARIABLES, *parts)).upper()


def _parsed(text: str) -> Any:
    """The TOML value that a text is; the text itself, where it is none."""
    try:
        document = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return document["value"] if document.keys() == {"value"} else text  # further lines could give other names


def _nearest(variable: str, known: Known) -> str:
    """What is there instead: the variables of the section that was meant, or of each."""
    for section, names in known.items():
        if variable.startswith(f"{VARIABLES}__{section}".upper()):
            return "there are " + ", ".join(variable_of(section, name) for name in names)
    sections = ", ".join(section.upper() for section in known if section != THRESHOLDS)
    return (
        f"there are {FILE_VARIABLE}, {variable_of(THRESHOLDS, '')} and {VARIABLES}__SECTION__NAME, SECTION one of "
        f"{sections}"
    )
