"""What of a pydantic model only Python can check, found in its core schema (``pydantic_core.core_schema``).

A model's JSON Schema does not tell of validators written in Python, nor of all constraints. The core schema
does. This module knows the parts of it that JSON Schema covers in full; whatever else it meets, it names.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pydantic.json_schema import SkipJsonSchema, WithJsonSchema

from circman_redis.patch import join_pointer
from circman_redis.rules_check import ANY_ITEM, ANY_KEY
from circman_redis.rules_schema import ASSERTIONS, words

Node = Mapping[str, Any]

# Keys that refuse no JSON value which the rules let in, or are looked at by themselves below. What lets in
# more than the JSON Schema says, such as an alias by name, is no matter: a twin keeps to the schema.
_NEUTRAL: Final = words(
    """type ref metadata serialization serialization_alias serialization_exclude serialization_exclude_if
    schema cls cls_name generic_origin computed_fields config strict frozen fail_fast from_attributes
    revalidate_instances custom_error_type custom_error_message custom_error_context"""
)
_BOUNDS: Final = "gt ge lt le"
_FIELD: Final = "validation_alias"
_MEMBERS: Final = "fields extra_behavior extras_schema"

# Core type -> its own keys that the rules, or the JSON Schema side, know.
_COVERED: Final[dict[str, frozenset[str]]] = {
    kind: _NEUTRAL | words(keys)
    for kind, keys in {
        "any": "",
        "none": "",
        "bool": "",
        "int": _BOUNDS,
        "float": f"{_BOUNDS} allow_inf_nan",
        "str": "min_length max_length regex_engine coerce_numbers_to_str",
        "datetime": "microseconds_precision",
        "literal": "expected",
        "enum": "members sub_type missing",
        "nullable": "",
        "union": "choices auto_collapse mode",
        "default": "default default_factory default_factory_takes_data validate_default on_error",
        "list": "items_schema",
        "tuple": "items_schema variadic_item_index",
        "set": "items_schema",
        "frozenset": "items_schema",
        "generator": "items_schema",
        "dict": "keys_schema values_schema",
        "model": "root_model post_init extra_behavior",
        "model-fields": f"{_MEMBERS} model_name",
        "model-field": _FIELD,
        "typed-dict": f"{_MEMBERS} total",
        "typed-dict-field": f"{_FIELD} required",
        "dataclass": "fields slots post_init",
        "dataclass-args": f"{_MEMBERS} dataclass_name collect_init_only",
        "dataclass-field": f"{_FIELD} name init kw_only",
        "definitions": "definitions",
        "definition-ref": "schema_ref",
        "json-or-python": "json_schema python_schema",
        "lax-or-strict": "lax_schema strict_schema",
        "custom-error": "",
        "tagged-union": "choices discriminator",  # oneOf, says the JSON Schema side
    }.items()
}

# What the JSON Schema calls a thing that both sides find, so that it is named once.
_JSON_NAMES: Final = {
    "multiple_of": "multipleOf",
    "pattern": "pattern",
    "date": "format date",
    "time": "format time",
    "timedelta": "format duration",
    "uuid": "format uuid",
    "bytes": "format binary",
    "url": "format uri",
    "json": "contentMediaType",
}
_ITEM_COUNTS: Final = {"min_length": "minItems", "max_length": "maxItems"}
_MEMBER_COUNTS: Final = {"min_length": "minProperties", "max_length": "maxProperties"}

# Settings of a model that refuse values, or change them before they are checked. (The JSON Schemas of
# pydantic 2.10 do not tell of the first two, those of 2.14 do.)
_CONFIG: Final = ("str_min_length", "str_max_length", "str_strip_whitespace", "str_to_lower", "str_to_upper")


def python_checks(schema: Node) -> set[str]:
    """Name what the rules of this model cannot say.

    Args:
        schema: a model's ``__pydantic_core_schema__``.

    Returns:
        Each check as ``place: what``, such as ``/window: model validator 'check_order'``.
    """
    return set(_scan(schema, "", {}, frozenset()))


def _scan(node: Node, place: str, definitions: Mapping[str, Node], above: frozenset[str]) -> Iterator[str]:
    if node["type"] == "definitions":
        definitions = {**definitions, **{one["ref"]: one for one in node["definitions"]}}
    if node["type"] == "definition-ref":
        # The JSON Schema side names a recursion; here it only has to end.
        if node["schema_ref"] not in above:
            yield from _scan(definitions[node["schema_ref"]], place, definitions, above)
        return
    yield from (f"{place or '/'}: {what}" for what in _unsaid(node))
    above |= {node["ref"]} if "ref" in node else set()
    for step, child in _children(node):
        yield from _scan(child, place + step, definitions, above)


def _children(node: Node) -> Iterator[tuple[str, Node]]:
    """The schemas inside that see the JSON, each with its step from this place."""
    if node["type"] not in _COVERED and not node["type"].startswith("function-"):
        return
    for key in ("schema", "json_schema", "lax_schema", "strict_schema"):
        if key in node:
            yield "", node[key]
    for key, step in (("values_schema", ANY_KEY), ("extras_schema", ANY_KEY)):
        if key in node:
            yield step, node[key]
    items = node.get("items_schema", [])
    yield from ((ANY_ITEM, item) for item in (items if isinstance(items, list) else [items]))
    choices = node.get("choices", [])
    for choice in choices.values() if isinstance(choices, dict) else choices:
        yield "", choice[0] if isinstance(choice, tuple) else choice
    yield from _fields(node)


def _fields(node: Node) -> Iterator[tuple[str, Node]]:
    fields = node.get("fields", {})
    if node["type"] == "dataclass":  # only their names: the fields themselves are one level down
        return
    pairs = fields.items() if isinstance(fields, dict) else ((field["name"], field) for field in fields)
    for name, field in pairs:
        alias = field.get("validation_alias")
        yield join_pointer([alias if isinstance(alias, str) else name]), field


def _unsaid(node: Node) -> Iterator[str]:
    """What this node alone refuses, or takes otherwise, without its JSON Schema saying so."""
    kind = node["type"]
    if kind.startswith("function-"):
        yield _validator(node)
    elif kind not in _COVERED:
        yield str(_JSON_NAMES.get(kind, kind))
    else:
        for key in node.keys() - _COVERED[kind]:
            if node[key] not in (None, False):
                yield _name(kind, key)
        yield from _SPECIAL.get(kind, _nothing)(node)
    config = node.get("config") or {}
    yield from (f"config {key}" for key in _CONFIG if config.get(key))
    if config.get("validate_by_alias") is False:
        yield "config validate_by_alias"
    if any(map(_changes_schema, _json_schema_changes(node))):
        yield "custom JSON Schema"


def _name(kind: str, key: str) -> str:
    if kind in ("list", "set", "frozenset", "tuple", "generator"):
        return _ITEM_COUNTS.get(key, f"{kind} {key}")
    if kind == "dict":
        return _MEMBER_COUNTS.get(key, f"{kind} {key}")
    return _JSON_NAMES.get(key, f"{kind} {key}")


def _validator(node: Node) -> str:
    function = node["function"]["function"]
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", type(function).__name__)
    inner = node
    while inner["type"].startswith("function-") and "schema" in inner:
        inner = inner["schema"]
    of_model = inner["type"] in ("model", "model-fields", "dataclass", "dataclass-args", "typed-dict")
    return f"{'model ' if of_model else ''}validator {name!r}"


# What else there is to say about one type of node.


def _nothing(_: Node) -> Iterator[str]:
    yield from ()


def _number(node: Node) -> Iterator[str]:
    for key in ("gt", "ge", "lt", "le"):
        if not math.isfinite(node.get(key, 0)):  # JSON Schema leaves these out
            yield f"{node['type']} {key}"


def _datetime(node: Node) -> Iterator[str]:
    if node.get("microseconds_precision", "truncate") != "truncate":
        yield "datetime microseconds_precision"


def _literal(node: Node) -> Iterator[str]:
    if not all(value is None or type(value) in (str, int, bool) for value in node["expected"]):
        yield "literal"


def _tuple(node: Node) -> Iterator[str]:
    if len(node["items_schema"]) != 1 or node.get("variadic_item_index") != 0:
        yield "prefixItems"


def _set(_: Node) -> Iterator[str]:
    yield "uniqueItems"


def _dict(node: Node) -> Iterator[str]:
    keys = node.get("keys_schema", {"type": "any"})
    if keys["type"] not in ("any", "str") or keys.keys() - _NEUTRAL:
        yield "propertyNames"


def _field(node: Node) -> Iterator[str]:
    if isinstance(node.get("validation_alias"), list):
        yield "validation alias"
    if node.get("init") is False:
        yield "init"


def _model(node: Node) -> Iterator[str]:
    after = getattr(node["cls"], "model_post_init", None)
    # pydantic's own, which a model with private attributes has, checks nothing.
    if node.get("post_init") and getattr(after, "__name__", "") != "init_private_attributes":
        yield "model_post_init"


def _dataclass(node: Node) -> Iterator[str]:
    if node.get("post_init"):
        yield "__post_init__"


_SPECIAL: Final[dict[str, Callable[[Node], Iterator[str]]]] = {
    "int": _number,
    "float": _number,
    "datetime": _datetime,
    "literal": _literal,
    "tuple": _tuple,
    "set": _set,
    "frozenset": _set,
    "dict": _dict,
    "model-field": _field,
    "typed-dict-field": _field,
    "dataclass-field": _field,
    "model": _model,
    "dataclass": _dataclass,
}


def _json_schema_changes(node: Node) -> Iterator[Any]:
    """Everything that may make this node's JSON Schema say other than the node does."""
    metadata = node.get("metadata") or {}
    for key in ("pydantic_js_functions", "pydantic_js_annotation_functions"):
        yield from (change for change in metadata.get(key, []) if not _only_leaves_out_null(node, change))
    yield from (metadata[key] for key in ("pydantic_js_updates", "pydantic_js_extra") if key in metadata)
    config = getattr(node.get("cls"), "model_config", None) or {}
    yield config.get("json_schema_extra")


def _only_leaves_out_null(node: Node, change: Any) -> bool:
    """A null that the JSON Schema leaves out only makes the rules narrower than the model."""
    return node["type"] == "none" and isinstance(getattr(change, "__self__", None), _OVERRIDES)


# At run time both are classes; mypy takes the one for the alias that it is in annotations.
_OVERRIDES: Final[tuple[Any, ...]] = (SkipJsonSchema, WithJsonSchema)


def _changes_schema(change: Any) -> bool:
    if change is None:
        return False
    if isinstance(change, Mapping):
        return not ASSERTIONS.isdisjoint(change)
    # What pydantic says of its own types, such as an Enum, is so.
    own = str(getattr(change, "__module__", "")).startswith("pydantic.")
    return not own or isinstance(getattr(change, "__self__", None), _OVERRIDES)
