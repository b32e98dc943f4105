"""What the fuzz has found, each as a test of its own."""

from __future__ import annotations

import json

from tests.lua.conftest import bytes_client, raw
from tests.lua.support import RawTwin

__all__ = ["bytes_client", "raw"]


def test_a_bound_that_is_no_number(raw: RawTwin) -> None:
    """It cannot be published; where something else wrote it, a commit says so, in place of an error in the middle."""
    model = {"model": "M", "model_hash": "h", "checks": "server", "validation": "standard"}
    for rule in ({"minimum": "x"}, {"maxLength": None}, {"enum": 1}, {"required": "a"}, {"required": [1]}):
        with raw.refused("BAD_JSON"):
            raw.configure("publish", model=model, rules={"/a": rule})
    raw.set('{"a":1}')
    raw.bind({"/a": {"minimum": "x"}})
    with raw.refused("CORRUPT"):
        raw.merge('{"a":2}')


def test_a_history_of_another_type_has_its_name_in_every_script(raw: RawTwin) -> None:
    """past.lua once failed where it was to say so."""
    raw.set("{}")
    raw.client.set(raw.keys.history, "x")
    with raw.refused("CORRUPT") as refusal:
        raw.call("past", 0, -1)
    assert refusal.details["key"] == raw.keys.history


def test_an_error_tells_of_so_many_violations_only(raw: RawTwin) -> None:
    """Each repeats its rule: 20,000 of them with a long one were 200 MB."""
    raw.bind({"/*": {"enum": [str(n) for n in range(1000)]}})
    with raw.refused("INVALID") as refusal:
        raw.set(json.dumps({f"k{n}": "x" for n in range(2000)}))
    assert 10 < len(refusal.violations) < 100


def test_one_call_makes_so_many_bytes_of_states_only(raw: RawTwin) -> None:
    """Then it says how many commits of the size would do; a single one is never too many."""
    twin = RawTwin(raw.client, constants={"MOST_MADE": 1000})
    twin.set('{"a":"' + "x" * 3000 + '"}')
    twin.merge('{"b":1}')
    with twin.refused("TOO_LARGE") as refusal:
        twin.commit('{"b":2}', '{"b":3}')
    assert refusal.details == {"commits": 2, "most": 1}


def test_a_time_beyond_all_years_is_none_of_a_commit(raw: RawTwin) -> None:
    """A commit after it could not be dated."""
    raw.set("{}")
    raw.meta(committed="9" * 25)
    with raw.refused("CORRUPT"):
        raw.set("{}")


def test_the_age_of_a_retry_is_a_number_in_its_refusal(raw: RawTwin) -> None:
    """007 is none in JSON."""
    raw.meta(ids_since="1000000")
    with raw.refused("EXPIRED") as refusal:
        raw.set("{}", commit_id="x", age="00" + "9" * 16)
    assert refusal.details["age"] > 0
