"""A pydantic model, compiled to the rules that the commit script checks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from circman_redis.errors import UsageError
from circman_redis.rules_check import check
from circman_redis.rules_python import python_checks
from circman_redis.rules_schema import schema_rules

__all__ = ["CompiledModel", "check", "compile_model"]


@dataclass(frozen=True, slots=True)
class CompiledModel:
    """A model in the form that a twin keeps; shared by all who compile it, so to be read only.

    Attributes:
        name: the class's qualified name.
        rules: place -> JSON Schema keywords, the same for every level (see ``check``).
        schema: the model's full JSON Schema, for readers.
        python_checks: what the rules cannot say, each as ``place: what``; where there is any, a state has to
            pass the model itself as well.
        hash: 16 hex digits that change when what the model accepts changes, and not with its words.
    """

    name: str
    rules: dict[str, dict[str, Any]]
    schema: dict[str, Any]
    python_checks: tuple[str, ...]
    hash: str

    def checks(self, level: str) -> str:
        """Who makes its checks at a level: ``python`` where some need the class; at level none there are none."""
        return "python" if self.python_checks and level != "none" else "server"


class _JsonSchema(GenerateJsonSchema):
    """pydantic's, but a type that JSON Schema has no words for is any value, and Python's to check."""

    ignored_warning_kinds = {"skipped-choice", "skipped-discriminator", "non-serializable-default"}  # noqa: RUF012 - an instance's, says pydantic

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> JsonSchemaValue:  # noqa: ARG002 - pydantic's signature
        return {}


def compile_model(model: type[BaseModel]) -> CompiledModel:
    """Compile a model to rules.

    What the model's JSON Schema (2020-12, validation mode, by alias) says in the keywords of a rule becomes a
    rule. The rest of it, and every validator written in Python, is named in ``python_checks``.

    Args:
        model: a pydantic model whose JSON is an object.

    Returns:
        The compiled model; the same object for the same class.

    Raises:
        UsageError: where it is no such model, or not fully defined yet.
    """
    if not _is_model(model):
        raise UsageError(f"model {model!r}: wanted a pydantic BaseModel class")
    return _compiled(model)


@cache
def _compiled(model: type[BaseModel]) -> CompiledModel:
    try:
        schema = model.model_json_schema(by_alias=True, mode="validation", schema_generator=_JsonSchema)
    except PydanticUserError as error:
        raise UsageError(f"model {model.__qualname__}: {error}") from error
    rules, unsaid = schema_rules(schema)
    if rules[""].get("type") != "object":
        raise UsageError(f"model {model.__qualname__}: a state is a JSON object, and this model's JSON is not")
    reasons = tuple(sorted(unsaid | python_checks(model.__pydantic_core_schema__)))
    return CompiledModel(
        name=model.__qualname__,
        rules=rules,
        schema=schema,
        python_checks=reasons,
        hash=_fingerprint(model.__qualname__, rules, reasons),
    )


def _is_model(candidate: Any) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, BaseModel)


def _fingerprint(name: str, rules: Mapping[str, Any], reasons: tuple[str, ...]) -> str:
    """Of a model that Python has to check too the rules say not all, so its name counts as well."""
    identity = [_canonical(rules), *([name, *reasons] if reasons else [])]
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _canonical(part: Any) -> Any:
    """One form for rules that mean the same: every list in a rule is a set, and 0.0 is 0."""
    if isinstance(part, Mapping):
        return {key: _canonical(value) for key, value in part.items()}
    if isinstance(part, list):
        return sorted(map(_canonical, part), key=json.dumps)
    return int(part) if isinstance(part, float) and part.is_integer() else part
