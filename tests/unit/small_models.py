"""Small models, and what the tests of the rules ask of a compiled one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, NotRequired

from pydantic import BaseModel, ConfigDict, RootModel, create_model
from typing_extensions import TypedDict

from circman_redis.rules import CompiledModel, compile_model


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Grade(IntEnum):
    LOW = 1


class Sub(BaseModel):
    x: int


class Other(BaseModel):
    y: str = ""


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    x: int = 0


class TypedOpen(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float]
    x: int = 0


class Shut(BaseModel):
    model_config = ConfigDict(extra="forbid")
    x: int = 0


class Typed(TypedDict):
    a: int
    b: NotRequired[str]


@dataclass
class Data:
    a: int
    b: str = ""


class Names(RootModel[dict[str, int]]):
    pass


def compiled(annotation: Any, **config: Any) -> CompiledModel:
    """A model with the one required field ``f``."""
    made: type[BaseModel] = create_model("Made", __config__=ConfigDict(**config), f=(annotation, ...))
    return compile_model(made)


def at_f(found: CompiledModel) -> dict[str, dict[str, Any]]:
    return {place.removeprefix("/f"): rule for place, rule in found.rules.items() if place}


SUB = {"type": "object", "required": ["x"], "additionalProperties": False}
INT = {"type": "integer"}
