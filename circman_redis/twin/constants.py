"""The constants that programs around a twin go by: packaged defaults, a user's file, the environment."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from circman_redis.errors import UsageError
from circman_redis.shown import shown
from circman_redis.twin import constant_sources as sources
from circman_redis.twin.config import (
    SimulationConfig,
    StateManagementConfig,
    SynchronizationConfig,
    ThresholdsConfig,
    TwinConfig,
)
from circman_redis.twin.constant_sources import RULES, THRESHOLDS, Given, Problem, Source
from circman_redis.twin.threshold_rule import ThresholdRule

SECTIONS: Mapping[str, type[BaseModel]] = {
    "digital_twin": TwinConfig,
    "simulation": SimulationConfig,
    "synchronization": SynchronizationConfig,
    "state_management": StateManagementConfig,
    THRESHOLDS: ThresholdsConfig,
}
"""The sections, with the model of each."""

_KNOWN = {section: tuple(model.model_fields) for section, model in SECTIONS.items()}

Config = TypeVar("Config", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Constant:
    """A value, and who gave it.

    Attributes:
        section: such as ``simulation``.
        name: such as ``steps``; None for the thresholds, which are one value: a tuple of rules.
        value: what holds.
        source: where it was given.
    """

    section: str
    name: str | None
    value: Any
    source: Source


@dataclass(frozen=True, init=False, eq=False)
class ConstantsService:
    """The constants, read once when it is made; it never changes afterwards.

    What is given later in this list goes before what is given earlier: the packaged file, the user's file,
    ``CIRCMAN_CONSTANTS__SECTION__NAME``. Each gives as many values as it likes. The thresholds, and the simulation's
    parameters, are one value each.

    Args:
        file: the user's file, TOML in UTF-8; None for the one that ``CIRCMAN_CONSTANTS_FILE`` names, if any.
        environment: the variables; None for the process's own.

    Raises:
        UsageError: the file cannot be read; or a value is not allowed, or is of a name or section that there is not.
            All of these are told at once, each with its place and with what is allowed. A value is checked also
            where another one goes before it.
    """

    _sections: tuple[BaseModel, ...]
    _sources: Mapping[tuple[str, str], Source] = field(repr=False)

    def __init__(self, file: str | Path | None = None, *, environment: Mapping[str, str] | None = None) -> None:
        given = _checked(_defaults(), _overrides(file, os.environ if environment is None else environment))
        values = {(one.section, one.name): one.value for one in given}
        models = (
            model.model_validate({name: values[section, name] for name in _KNOWN[section]})
            for section, model in SECTIONS.items()
        )
        object.__setattr__(self, "_sections", tuple(models))
        object.__setattr__(self, "_sources", {(one.section, one.name): one.source for one in given})

    def get_digital_twin_config(self) -> TwinConfig:
        """How a twin is run."""
        return self._of(TwinConfig)

    def get_simulation_config(self) -> SimulationConfig:
        """How a simulation runs."""
        return self._of(SimulationConfig)

    def get_synchronization_config(self) -> SynchronizationConfig:
        """How data sources are asked."""
        return self._of(SynchronizationConfig)

    def get_state_management_config(self) -> StateManagementConfig:
        """What a state manager is opened with: ``StateManager(twin, **config.model_dump())``."""
        return self._of(StateManagementConfig)

    def get_thresholds(self) -> tuple[ThresholdRule, ...]:
        """The rules that the state is watched by."""
        return self._of(ThresholdsConfig).rules

    def get(self, section: str, name: str) -> Any:
        """One value.

        Args:
            section: such as ``simulation``.
            name: such as ``steps``; of the thresholds, a rule's.

        Raises:
            UsageError: there is none, with those that there are.
        """
        if section not in _KNOWN:
            raise UsageError(f"there is no section {shown(section)}; there are {', '.join(_KNOWN)}")
        model = self._of(SECTIONS[section])
        found = {rule.name: rule for rule in self.get_thresholds()} if section == THRESHOLDS else dict(model)
        if name not in found:
            raise UsageError(f"{section} has no {shown(name)}; it has {', '.join(found) or 'nothing'}")
        return found[name]

    def describe(self) -> tuple[Constant, ...]:
        """Every value, with where it came from, in the order of the packaged file."""
        return tuple(
            Constant(section, None if section == THRESHOLDS else name, value, self._sources[section, name])
            for section, model in zip(SECTIONS, self._sections, strict=True)
            for name, value in model
        )

    def to_json(self, *, with_sources: bool = False) -> dict[str, Any]:
        """All values as JSON has them, by section and name; the thresholds are a list.

        Args:
            with_sources: each value as an object of ``value``, ``source`` (packaged, file or environment) and
                ``where`` (the file's path, or the variable's name).
        """
        dumped = {name: one.model_dump(mode="json") for name, one in zip(SECTIONS, self._sections, strict=True)}
        if with_sources:
            for (section, name), source in self._sources.items():
                value = dumped[section][name]
                dumped[section][name] = {"value": value, "source": source.kind, "where": source.where}
        return {section: values[RULES] if section == THRESHOLDS else values for section, values in dumped.items()}

    def _of(self, model: type[Config]) -> Config:
        return next(one for one in self._sections if isinstance(one, model))


def _defaults() -> list[Given]:
    """What the packaged file gives."""
    found = list(sources.in_file(sources.PACKAGED, Source("packaged", str(sources.PACKAGED)), _KNOWN))
    given = [one for one in found if isinstance(one, Given)]
    problems = [one for one in found if isinstance(one, Problem)]
    here = {(one.section, one.name) for one in given}
    wanted = [(section, name) for section, names in _KNOWN.items() for name in names]
    problems += [Problem(f"{sources.PACKAGED}: {'.'.join(one)} is missing") for one in wanted if one not in here]
    if problems:
        sources.refuse(problems)
    return given


def _overrides(file: str | Path | None, environment: Mapping[str, str]) -> sources.Found:
    """What the user gives: in the file first, and then in the environment, which goes before it."""
    told_by = "" if file is not None else f"{sources.FILE_VARIABLE}="
    path = file if file is not None else environment.get(sources.FILE_VARIABLE) or None  # empty is as good as unset
    if path is not None:
        yield from sources.in_file(path, Source("file", str(path)), _KNOWN, told_by)
    yield from sources.in_environment(environment, _KNOWN)


def _checked(defaults: Sequence[Given], overrides: Iterable[Given | Problem]) -> list[Given]:
    """What holds, in the order of the defaults; or the error that tells of all that is wrong."""
    held = {(one.section, one.name): one for one in defaults}
    problems = [problem for one in defaults for problem in _problems(one, held)]
    for one in overrides:
        if isinstance(one, Problem):
            problems.append(one)
            continue
        problems += _problems(one, held)
        held[one.section, one.name] = one
    if problems:
        sources.refuse(problems)
    return list(held.values())


def _problems(given: Given, held: Mapping[tuple[str, str], Given]) -> Iterator[Problem]:
    """What is wrong with a value; the others of its section stand for the rest of the model."""
    section = {name: held[given.section, name].value for name in _KNOWN[given.section]}
    try:
        SECTIONS[given.section].model_validate({**section, given.name: given.value})
    except ValidationError as error:
        told = [one for one in error.errors() if one["loc"][:1] == (given.name,)]
        yield from (Problem(f"{_place(given, one['loc'])}{_said(one, given)}", error) for one in told)


def _place(given: Given, location: tuple[int | str, ...]) -> str:
    """Where in its file, or in which variable, something is wrong; a rule goes by its name."""
    path = given.section if given.section == THRESHOLDS else f"{given.section}.{given.name}"
    below = [f"[{_rule_name(given.value, step)}]" if isinstance(step, int) else f".{step}" for step in location[1:]]
    return given.source.place(path, "".join(below))


def _rule_name(rules: Any, index: int) -> str:
    rule = rules[index]
    name = rule.get("name") if isinstance(rule, dict) else None
    return shown(name) if isinstance(name, str) else str(index)


def _said(error: Any, given: Given) -> str:
    """What is wrong and what is allowed, from one of pydantic's errors."""
    kind, value, said = error["type"], error["input"], error["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        return f": a rule has no such name; it has {', '.join(ThresholdRule.model_fields)}"
    if kind == "missing":
        return ": it is missing"
    if kind == "string_type" and given.source.kind == "environment":
        said += "; what reads as another TOML value is a string in quotes"
    return f"={shown(value)}: {said}"
