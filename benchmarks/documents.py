"""The documents that the rivals hold, and the patches that they are given: functions of i, so that each one changes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

JSONObject = dict[str, Any]
Patch = Callable[[int], JSONObject]

SIZES: Mapping[str, int] = {"0.5 kB": 500, "2 kB": 2_000, "10 kB": 10_000, "100 kB": 100_000, "1 MB": 1_000_000}
"""A document's name -> about how many bytes it has; the first is the sample itself."""

LEVELS, LEAVES, REMOVABLE = 12, 200, 200

SHAPE_CALLS = 50
"""As many calls of one shape as leave the document about as large as it was, and have members left to remove."""

_START = datetime(2026, 1, 1, tzinfo=UTC)

_SAMPLE: JSONObject = {
    "timestamp": "2025-02-24T14:20:07.123456",
    "system_status": "running",
    "production_line": {
        "status": "running",
        "temperature": 22.5,
        "energy_consumption": 120.5,
        "production_rate": 8.5,
        "efficiency": 0.92,
        "defect_rate": 0.02,
    },
    "materials": {
        "silicon_wafer": {"inventory": 1000, "quality": 0.95},
        "silver_paste": {"inventory": 500, "quality": 0.98},
    },
    "environment": {"temperature": 22.0, "humidity": 45.0},
    "quality_metrics": {"overall": 0.93},
    "resource_metrics": {"energy_efficiency": 0.88},
}


def size_of(document: JSONObject) -> int:
    """Bytes of it as compact JSON."""
    return len(orjson.dumps(document))


def document(size: str) -> JSONObject:
    """The sample, with as many more materials as make it about as large as ``size``, one of SIZES, says."""
    return _grown(copy.deepcopy(_SAMPLE), SIZES[size])


def _grown(state: JSONObject, wanted: int) -> JSONObject:
    materials, bytes_now = state["materials"], size_of(state)
    while True:
        name, more = f"material_{len(materials)}", {"inventory": 1000, "quality": 0.95}
        bytes_now += size_of({name: more}) - 1
        if bytes_now > wanted:
            return state
        materials[name] = more


def shapes_document() -> JSONObject:
    """One of 10 kB in which there is a place for each of the SHAPES."""
    tree: JSONObject = {"leaf": 0}
    for level in range(LEVELS - 1, 1, -1):
        tree = {"name": f"level {level}", "setpoint": 20.5, "below": tree, "enabled": True}
    readings = {f"reading_{n}": 20 + n / 8 for n in range(LEAVES)}
    spares = {f"spare_{n}": n for n in range(REMOVABLE)}
    state = copy.deepcopy(_SAMPLE) | {"tree": tree, "readings": readings, "spares": spares}
    return _grown(state, SIZES["10 kB"])


def usual(document: JSONObject) -> Patch:
    """Touches a timestamp and three numbers at two depths: before all the materials, behind them, and amid them."""
    materials = list(document["materials"])
    material = materials[len(materials) // 2]

    def patch(i: int) -> JSONObject:
        return {
            "timestamp": (_START + timedelta(milliseconds=i)).isoformat(timespec="milliseconds"),
            "production_line": {"temperature": _reading(i)},
            "environment": {"temperature": _reading(i + 1)},
            "materials": {material: {"inventory": 1000 + i}},
        }

    return patch


def _reading(i: int) -> float:
    return 20 + i % 400 / 16


def _deep_leaf(i: int) -> JSONObject:
    patch: JSONObject = {"leaf": i + 1}
    for _ in range(LEVELS - 2):
        patch = {"below": patch}
    return {"tree": patch}


def _wide(i: int) -> JSONObject:
    return {"readings": {f"reading_{n}": 20.0625 + (i + n) % 400 / 16 for n in range(LEAVES)}}


def _new_member(i: int) -> JSONObject:
    return {"quality_metrics": {f"metric_{i}": 0.9}}


def _removal(i: int) -> JSONObject:
    return {"spares": {f"spare_{i}": None}}


SHAPES: Mapping[str, Patch] = {
    "usual": usual(shapes_document()),
    f"one leaf {LEVELS} levels deep": _deep_leaf,
    f"wide, {LEAVES} leaves": _wide,
    "a new member": _new_member,
    "a removal": _removal,
}
"""A patch's name -> the patch, for the shapes document. The last two: at most SHAPE_CALLS, then a fresh document."""
