"""From a JSON Schema (2020-12, as pydantic writes it) to rules, and to the list of what rules cannot say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from circman_redis.patch import join_pointer
from circman_redis.rules_check import ANY_ITEM, ANY_KEY, RULE_KEYWORDS, TYPE_NAMES

Schema = Mapping[str, Any]


def words(text: str) -> frozenset[str]:
    """A table that is written as text."""
    return frozenset(text.split())


# Keywords that no rule has. All others that are not named in this module only annotate, such as title.
PYTHON_ONLY: Final = words(
    """pattern multipleOf contentMediaType contentEncoding contentSchema not if then else $dynamicRef
    minItems maxItems uniqueItems prefixItems contains minContains maxContains unevaluatedItems
    minProperties maxProperties patternProperties propertyNames unevaluatedProperties
    dependentRequired dependentSchemas"""
)
ASSERTIONS: Final = PYTHON_ONLY | words("properties items anyOf oneOf allOf $ref") | set(RULE_KEYWORDS)
_EXACT: Final = 2**53
"""From here on doubles no longer tell neighbouring integers apart."""


def schema_rules(schema: Schema) -> tuple[dict[str, dict[str, Any]], set[str]]:
    """Compile a JSON Schema.

    An object with named properties and no word about others is closed (``additionalProperties`` false), for
    that is how pydantic writes a model that ignores what it does not know.

    Args:
        schema: with its definitions under ``$defs``.

    Returns:
        The rules by place, and what they leave unsaid, each as ``place: what``.
    """
    compiler = _Compiler(schema.get("$defs", {}))
    compiler.place("", schema, frozenset())
    return compiler.rules, compiler.unsaid


@dataclass(frozen=True, slots=True)
class _Branch:
    """One alternative of a place: assertions only, no reference and no union; and the references above it."""

    schema: dict[str, Any]
    above: frozenset[str]

    @property
    def kinds(self) -> list[str]:
        said = self.schema.get("type", [])
        return [said] if isinstance(said, str) else list(said)


class _Compiler:
    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self.definitions = definitions
        self.rules: dict[str, dict[str, Any]] = {}
        self.unsaid: set[str] = set()

    def leave(self, place: str, what: str) -> None:
        self.unsaid.add(f"{place or '/'}: {what}")

    def place(self, place: str, schema: Schema | bool, above: frozenset[str]) -> None:
        branch = self.clear(place, self.unite(place, self.branches(place, schema, above)))
        self.rules[place] = self.rule(place, branch)
        self.members(place, branch)
        items = branch.schema.get("items", {})
        if items != {}:
            self.place(place + ANY_ITEM, items, branch.above)

    def members(self, place: str, branch: _Branch) -> None:
        for key, schema in branch.schema.get("properties", {}).items():
            if key in ("*", "-"):
                self.leave(place, f"property {key!r}")
                self.rules[place].pop("additionalProperties", None)
            else:
                self.place(place + join_pointer([key]), schema, branch.above)
        others = branch.schema.get("additionalProperties", False)
        if others is not False:
            self.place(place + ANY_KEY, others, branch.above)

    # References and unions: from a schema to its alternatives.

    def branches(self, place: str, schema: Schema | bool, above: frozenset[str]) -> list[_Branch]:
        if not isinstance(schema, Mapping):
            if schema is False:
                self.leave(place, "false")
            return [_Branch({}, above)]
        said = {keyword: wanted for keyword, wanted in schema.items() if keyword in ASSERTIONS}
        if "$ref" in said:
            return self.referred(place, said, above)
        for keyword in ("allOf", "anyOf", "oneOf"):
            if keyword in said:
                return self.combined(place, keyword, said, above)
        if "properties" in said:
            said.setdefault("additionalProperties", False)
        if said.get("additionalProperties") in (True, {}):
            del said["additionalProperties"]
        return [_Branch(said, above)]

    def referred(self, place: str, said: dict[str, Any], above: frozenset[str]) -> list[_Branch]:
        name = said.pop("$ref").removeprefix("#/$defs/")
        if name not in self.definitions:
            self.leave(place, f"$ref {name!r}")
            return [_Branch({}, above)]
        target = self.definitions[name]
        if name in above:
            self.leave(place, f"recursive {name!r}")
            return [_type_only(target, above)]
        return self.branches(place, self.joined(place, target, said), above | {name})

    def combined(self, place: str, how: str, said: dict[str, Any], above: frozenset[str]) -> list[_Branch]:
        parts = said.pop(how)
        if how == "allOf":
            if len(parts) > 1:
                self.leave(place, "allOf")
                return self.branches(place, said, above)
            return self.branches(place, self.joined(place, parts[0], said), above)
        for keyword in said:
            self.leave(place, keyword)
        found = [branch for part in parts for branch in self.branches(place, part, above)]
        if how == "anyOf":
            return found
        self.leave(place, "oneOf")
        return [_type_only(branch.schema, above) for branch in found]

    def joined(self, place: str, target: Schema, beside: Schema) -> dict[str, Any]:
        """Both at once; of a keyword in both, the target's."""
        for keyword in beside.keys() & target.keys():
            self.leave(place, keyword)
        return {**beside, **target}

    # Alternatives to one: exactly where that can be, otherwise only the types, and Python checks the rest.

    def unite(self, place: str, branches: list[_Branch]) -> _Branch:
        # As text, for in Python 1 equals True.
        texts = {json.dumps(branch.schema): branch for branch in branches}
        unique = list(texts.values())
        if len(unique) == 1:
            return unique[0]
        above = unique[0].above
        if any(branch.schema == {} for branch in unique):
            return _Branch({}, above)
        choices = [_choices(branch.schema) for branch in unique]
        if None not in choices:
            values = [value for some in choices for value in some or ()]
            return _Branch({**_types(unique), "enum": values}, above)
        if any(len(branch.kinds) != 1 for branch in unique):
            self.leave(place, "anyOf")
            return _Branch(_types(unique), above)
        return self.by_kind(place, unique)

    def by_kind(self, place: str, branches: list[_Branch]) -> _Branch:
        kinds: dict[str, list[_Branch]] = {}
        for branch in branches:
            kind = branch.kinds[0]
            kinds.setdefault("number" if kind == "integer" else kind, []).append(branch)
        chosen = [self.widest(place, members) for members in kinds.values()]
        if len(chosen) > 1 and any(map(_is_listed, chosen)):
            self.leave(place, "anyOf")  # a rule's enum would bind the other kinds too
            chosen = [_type_only(b.schema, b.above) if _is_listed(b) else b for b in chosen]
        merged = {keyword: wanted for branch in chosen for keyword, wanted in branch.schema.items()}
        above = frozenset().union(*(branch.above for branch in chosen))
        return _Branch({**merged, **_types(chosen)}, above)

    def widest(self, place: str, branches: list[_Branch]) -> _Branch:
        """The one of a kind that lets in what the others do, if there is such a one; else its bare type."""
        kind = "number" if any(branch.kinds == ["number"] for branch in branches) else branches[0].kinds[0]
        keywords = [{**branch.schema, "type": kind} for branch in branches]
        bare = {"type": kind}
        if all(one == keywords[0] for one in keywords):
            return _Branch(keywords[0], branches[0].above)
        if not any(branch.schema == bare for branch in branches):
            self.leave(place, "anyOf")
        return _Branch(bare, branches[0].above)

    # One alternative to one rule.

    def clear(self, place: str, branch: _Branch) -> _Branch:
        """Without the parts that a rule could only say wrongly."""
        said = dict(branch.schema)
        if "prefixItems" in said:  # items speaks of those after the prefix only
            said.pop("items", None)
        if "patternProperties" in said and "additionalProperties" in said:  # it speaks of the others only
            del said["additionalProperties"]
        if said.get("items", {}) != {} and "object" in (branch.kinds or ["object"]):
            self.leave(place, "items")  # '-' could be an item as well as a key
            del said["items"]
        return _Branch(said, branch.above)

    def rule(self, place: str, branch: _Branch) -> dict[str, Any]:
        for keyword in PYTHON_ONLY:
            if keyword in branch.schema:
                self.leave(place, keyword)
        rule = _types([branch])
        for keyword in RULE_KEYWORDS[1:]:
            if keyword not in branch.schema:
                continue
            wanted = branch.schema[keyword]
            if _CAN_SAY.get(keyword, _anything)(wanted):
                rule[keyword] = wanted
            elif keyword != "additionalProperties":  # a schema for the others: the rule of '*'
                self.leave(place, keyword if isinstance(wanted, list) else f"{keyword} {wanted}")
        return rule


def _type_only(schema: Schema, above: frozenset[str]) -> _Branch:
    return _Branch({"type": schema["type"]} if "type" in schema else {}, above)


def _types(branches: Iterable[_Branch]) -> dict[str, Any]:
    """The types of all, in one order; nothing where one of them has any."""
    kinds = [branch.kinds for branch in branches]
    names = {name for some in kinds for name in some} if all(kinds) else set()
    ordered = [name for name in TYPE_NAMES if name in names]
    return {"type": ordered if len(ordered) > 1 else ordered[0]} if ordered else {}


def _choices(schema: Schema) -> list[Any] | None:
    """The values that a schema lists, where that is all it says."""
    if schema == {"type": "null"}:
        return [None]
    if schema.keys() - {"type"} == {"enum"}:
        return list(schema["enum"])
    return [schema["const"]] if schema.keys() - {"type"} == {"const"} else None


def _is_listed(branch: _Branch) -> bool:
    return "enum" in branch.schema or "const" in branch.schema


def _anything(_: Any) -> bool:
    return True


def _is_exact(value: Any) -> bool:
    """A JSON scalar that compares the same as a double."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value is None or isinstance(value, bool | str)
    return abs(value) < _EXACT


# Keyword -> whether a rule can say it with this value; the others always.
_CAN_SAY: Final[dict[str, Callable[[Any], bool]]] = {
    "minimum": _is_exact,
    "maximum": _is_exact,
    "exclusiveMinimum": _is_exact,
    "exclusiveMaximum": _is_exact,
    "enum": lambda wanted: all(map(_is_exact, wanted)),
    "const": _is_exact,
    "format": lambda wanted: wanted == "date-time",
    "additionalProperties": lambda wanted: wanted is False,
}
