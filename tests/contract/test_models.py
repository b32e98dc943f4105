"""Models, levels and rules: they bind every writer, on each server."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

import pytest
import redis
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from circman_redis import (
    InvalidJSON,
    JSONText,
    ModelMismatch,
    StateConflict,
    StateManager,
    StateTooLarge,
    StateValidationError,
    TwinState,
    UsageError,
    checks,
)
from tests.contract.conftest import Managers
from tests.servers import Server


class Tank(BaseModel):
    """A model of the user's own, all of it in rules that the script checks."""

    level: float = Field(ge=0, le=10)
    mode: Literal["fill", "drain"] = "fill"
    tags: list[Annotated[str, Field(max_length=3)]] = []


class Window(BaseModel):
    """A model with checks that only Python can make."""

    model_config = ConfigDict(title="A window")
    low: float = 0
    high: float = 1
    serial: str = Field(default="A-1", pattern=r"^[A-Z]-\d+$")
    even: Annotated[int, AfterValidator(lambda value: value if value % 2 == 0 else 1 / 0)] = 0

    @model_validator(mode="after")
    def ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


class Timed(BaseModel):
    """A model with a timestamp of another kind."""

    timestamp: float = 0


def test_the_default_model_is_published_with_its_rules(twin: StateManager, raw: redis.Redis) -> None:
    """A twin that has none gets TwinState with its first commit, at level standard; to look at it leaves no trace."""
    assert twin.validate_state({"environment": {"humidity": 101}})[0] is False
    assert twin.get_current_state() == {}
    assert not list(raw.scan_iter())
    twin.update_state({"a": 1})
    assert (twin.config.model, twin.config.validation, twin.config.checks) == (
        "TwinState",
        "standard",
        "server",
    )
    assert twin.schema["title"] == "TwinState"
    rule = json.loads(raw.hget(twin.keys.rules, "/environment/humidity"))
    assert rule == {"type": "number", "minimum": 0, "maximum": 100}


def test_rules_bind_a_writer_that_knows_no_model(open_twin: Managers, other_process: Managers) -> None:
    """They are checked inside the commit."""
    with open_twin(model=Tank) as twin, other_process() as other:
        twin.set_state({"level": 5})
        with pytest.raises(StateValidationError) as caught:
            other.update_state({"level": 11, "mode": "explode", "tags": ["ok", "long"]})
        assert [one.pointer for one in caught.value.violations] == ["/level", "/mode", "/tags/1"]


@pytest.mark.parametrize(
    ("level", "accepted", "refused"),
    [
        ("none", [{"level": "x"}, {"other": 1}], []),
        ("standard", [{"other": 1}, {"mode": "drain"}], [{"level": "x"}, {"level": -1}]),
        (
            "strict",
            [{"level": 1}, {"level": 1, "mode": "drain"}],
            [{"mode": "fill"}, {"level": 1, "other": 1}],
        ),
    ],
)
def test_levels(open_twin: Managers, level: str, accepted: list[Any], refused: list[Any]) -> None:
    """None: a JSON object. Standard: what is there. Strict: required fields, and no unknown ones."""
    with open_twin(model=Tank, validation=level, auto_timestamp=False) as twin:
        for state in accepted:
            assert twin.validate_state(state) == (True, "State is valid")
            twin.set_state(state)
        for state in refused:
            assert not twin.validate_state(state)[0]
            with pytest.raises(StateValidationError):
                twin.set_state(state)


def test_strict_checks_what_a_patch_removes(open_twin: Managers) -> None:
    """A required field cannot be merged away."""
    with open_twin(model=Tank, validation="strict", auto_timestamp=False) as twin:
        twin.set_state({"level": 1, "mode": "fill"})
        twin.update_state({"mode": None})
        with pytest.raises(StateValidationError, match="/level: required"):
            twin.update_state({"level": None})


def test_a_second_model_is_an_error_that_names_both(open_twin: Managers, other_process: Managers) -> None:
    """And says how to publish a new one; the same rules under another name are no second model."""
    with open_twin(model=Tank):
        with pytest.raises(ModelMismatch, match=r"'Tank'.*'TwinState'.*publish_model"):
            other_process(model=TwinState)
        with pytest.raises(ModelMismatch, match=r"'standard'.*'strict'.*publish_model"):
            other_process(validation="strict")
        alike = type("Alike", (Tank,), {})
        with other_process(model=alike) as other:
            assert other.config.model == "Tank"


def test_publish_model_replaces_it_for_everybody(open_twin: Managers, other_process: Managers) -> None:
    """Who goes by the twin's own model follows; who asked for the old one is told."""
    with (
        open_twin(model=Tank) as twin,
        other_process() as follower,
        other_process(model=Tank) as insister,
    ):
        twin.set_state({"level": 5})
        twin.publish_model(TwinState, validation="standard")
        twin.update_state({"level": 99})
        follower.update_state({"level": 100})
        with pytest.raises(ModelMismatch):
            insister.update_state({"level": 1})
        assert twin.snapshot().version == 3


def test_publish_model_wants_a_state_that_fits(open_twin: Managers) -> None:
    """Unless it is forced: then what is there stays, and only what is touched is checked."""
    with open_twin() as twin:
        twin.set_state({"level": 50})
        with pytest.raises(StateValidationError, match=r"/level: 50 breaks maximum"):
            twin.publish_model(Tank)
        assert twin.config.model == "TwinState"
        twin.publish_model(Tank, force=True)
        twin.update_state({"mode": "drain"})
        with pytest.raises(StateValidationError):
            twin.update_state({"level": 50})
        with pytest.raises(UsageError, match="validation="):
            twin.publish_model(Tank, validation="lax")


def test_publish_model_has_python_check_the_state_too(open_twin: Managers) -> None:
    """Where the rules alone find nothing wrong."""
    with open_twin() as twin:
        twin.set_state({"low": 5, "high": 1})
        with pytest.raises(StateValidationError, match="low is above high"):
            twin.publish_model(Window)
        assert twin.config.model == "TwinState"
        twin.publish_model(Window, validation="none")
        twin.publish_model(Window, validation="standard", force=True)
        assert twin.config.checks == "python"


def test_checks_that_only_python_can_make_hold_too(open_twin: Managers) -> None:
    """Patterns, validators of fields and of models: on the merged state, and only if nobody was faster."""
    with open_twin(model=Window) as twin:
        assert twin.config.checks == "python"
        twin.set_state({"low": 0, "high": 10, "serial": "B-2"})
        twin.update_state({"low": 5})
        twin.adjust({"/low": 4})
        assert [one.version for one in twin.update_many([{"high": 20}, {"low": 15}])] == [4, 5]
        for write in (
            lambda: twin.update_state({"low": 21}),
            lambda: twin.adjust({"/low": 100}),
            lambda: twin.set_state({"low": 2, "high": 1}),
            lambda: twin.update_state({"serial": "b"}),
            lambda: twin.modify(lambda state: state.update(low=100)),
            lambda: twin.update_many([{"high": 30}, {"low": 31}]),
        ):
            with pytest.raises(StateValidationError):
                write()
        assert twin.snapshot().version == 5
        assert not twin.validate_state({"low": 2, "high": 1})[0]


def test_who_cannot_make_those_checks_is_refused(open_twin: Managers, other_process: Managers) -> None:
    """A writer without the class cannot get round them."""
    with open_twin(model=Window) as twin, other_process() as other:
        twin.set_state({"low": 0})
        for write in (lambda: other.update_state({"low": 5}), lambda: other.set_state({"low": 5})):
            with pytest.raises(ModelMismatch, match="only Python can make"):
                write()
        assert other.get_current_state()["low"] == 0


def test_a_python_checked_write_is_made_on_the_state_that_was_checked(
    open_twin: Managers, server: Server, twin_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two writers that would each be right alone cannot be wrong together."""
    with open_twin(model=Window) as twin, StateManager(twin_id, client=server.client(), model=Window) as other:
        twin.set_state({"low": 0, "high": 10})
        check, raced = checks.refuse, []

        def check_and_be_overtaken(*about: Any) -> None:
            check(*about)
            if not raced:
                raced.append("now")
                other.update_state({"high": 4})

        monkeypatch.setattr(checks, "refuse", check_and_be_overtaken)
        with pytest.raises(StateValidationError, match="low is above high"):
            twin.update_state({"low": 5})
        assert raced
        assert twin.update_state({"low": 3}).version == 3


def test_validate_state_says_what_a_set_would(twin: StateManager) -> None:
    """The messages that callers know."""
    assert twin.validate_state("x") == (False, "State must be a dictionary")
    assert twin.validate_state(None) == (False, "State must be a dictionary")
    for bad in ("yesterday", 5, "2025-02-30T00:00:00Z"):
        assert twin.validate_state({"timestamp": bad})[1].startswith("Invalid timestamp format")
    ok, message = twin.validate_state({"materials": {"glass": {"inventory": -1, "quality": 2}}})
    assert not ok
    assert "/materials/glass/inventory" in message
    assert "/materials/glass/quality" in message
    assert "NaN" in twin.validate_state({"a": float("nan")})[1]
    assert twin.validate_state({"a": 1}) == (True, "State is valid")


def test_who_asked_for_another_model_stays_refused(other_process: Managers) -> None:
    """Whatever it looked at or set in between: it cannot pass for one that made the new model's checks."""
    with other_process(model=Tank) as insister, other_process() as other:
        other.set_state({"level": 1})
        other.publish_model(Window)
        assert insister.validate_state({"low": 5, "high": 1})[0] is False
        insister.history_length = 5
        for write in (insister.set_state, insister.update_state):
            with pytest.raises(ModelMismatch, match=r"Window.*Tank|Tank.*Window|another"):
                write({"low": 5, "high": 1})
        assert other.snapshot().version == 1


def test_checks_in_python_bind_whoever_opened_the_twin_at_level_none(other_process: Managers) -> None:
    """At none everybody may write; once the level is raised, nobody goes on as before."""
    with (
        other_process(model=Window, validation="none") as first,
        other_process(model=Window) as second,
        other_process() as without_the_class,
    ):
        first.set_state({"low": 0, "high": 1})
        without_the_class.update_state({"low": 0.5})
        without_the_class.publish_model(Window, validation="standard")
        with other_process(model=Window) as writer:
            writer.update_state({"low": 0})
        for write in (first.set_state, first.update_state, second.set_state, second.update_state):
            with pytest.raises((ModelMismatch, StateValidationError)):
                write({"low": 9, "high": 1})
        second.update_state({"low": 0.25})
        assert second.get_current_state()["low"] == 0.25


def test_an_expected_version_that_is_still_to_come_is_refused_at_once(open_twin: Managers) -> None:
    """What was checked, or changed, on one version is not committed on a later one."""
    with open_twin(model=Window) as twin:
        twin.set_state({"low": 0, "high": 10})
        called: list[Any] = []
        for write in (
            lambda: twin.update_state({"low": 5}, expected_version=2),
            lambda: twin.modify(called.append, expected_version=2),
        ):
            with pytest.raises(StateConflict) as caught:
                write()
            assert (caught.value.expected, caught.value.actual) == (2, 1)
        assert not called


@pytest.mark.parametrize("level", ["none", "standard", "strict"])
@pytest.mark.parametrize("auto_timestamp", [True, False])
@pytest.mark.parametrize("model", [None, Tank, Window, Timed])
def test_validate_state_and_set_state_agree(
    open_twin: Managers, level: str, auto_timestamp: bool, model: type[BaseModel] | None
) -> None:
    """On what is valid, for every kind of model."""
    members: list[dict[str, Any]] = [
        *({"timestamp": one} for one in (None, 5, 1.5, "yesterday", "2025-01-01T00:00:00Z", "2025-02-30T00:00:00Z")),
        *({"level": one} for one in (None, 5, "5", 11, True)),
        {"low": 2, "high": 1, "level": 1},
        {"serial": None, "mode": "fill", "level": 0},
        {"a": "[" * 200_000, "level": 1},
        {"a": {"b": float("inf")}},
        {},
    ]
    arguments: dict[str, Any] = {"model": model, "validation": level, "auto_timestamp": auto_timestamp}
    with open_twin(**arguments) as twin:
        for state in members:
            said, why = twin.validate_state(state)
            try:
                twin.set_state(state)
            except (StateValidationError, InvalidJSON, StateTooLarge):
                assert not said, state
            else:
                assert said, (state, why)


def test_validate_state_answers_and_does_not_raise(open_twin: Managers, other_process: Managers) -> None:
    """Also for text, models, and where the class would be needed."""
    with open_twin(model=Window) as twin, other_process() as other:
        assert twin.validate_state(JSONText("[1]")) == (False, "State must be a dictionary")
        assert "line 1" in twin.validate_state(JSONText('{"a":'))[1]
        assert "NaN" in twin.validate_state(Window.model_construct(low=float("nan")))[1]
        assert twin.validate_state(Window()) == (True, "State is valid")
        assert "model=<that class>" in other.validate_state({"low": 0})[1]
