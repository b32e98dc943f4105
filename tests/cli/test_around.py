"""thresholds, events: what is watched of a twin, and what happened around it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from circman_redis import StateManager
from circman_redis.cli import around
from circman_redis.twin.constants import ConstantsService
from circman_redis.twin.domain import KINDS, DomainEvents
from circman_redis.twin.threshold_rule import ThresholdRule
from circman_redis.twin.thresholds import Thresholds
from tests.cli.conftest import Run, lines, process, value
from tests.servers import Server, contents

HOT = ThresholdRule(name="hot", pointer="/t", comparison="greater_than", value=80.0, severity="critical")


@pytest.fixture
def twin(environment: None, server: Server, twin_id: str) -> Iterator[StateManager]:
    """By a client of its own, for the commands run in this process and have another manager of the twin."""
    with server.client() as client, StateManager(twin_id, client=client) as manager:
        yield manager


@pytest.fixture
def events(twin: StateManager) -> Iterator[DomainEvents]:
    with DomainEvents(twin) as one:
        yield one


def say(events: DomainEvents, *numbers: int) -> None:
    for number in numbers:
        events.publish("error", {"source": "s", "error": f"no {number}"}, actor="line-1")


# --- events ----------------------------------------------------------------------------------------------------------


def test_each_is_a_line_of_json(run: Run, events: DomainEvents) -> None:
    say(events, 1, 2)
    first, second = lines(run("events"))
    assert first == {
        "event": "error",
        "twin": events.twin,
        "epoch": first["epoch"],
        "version": 1,
        "position": first["position"],
        "actor": "line-1",
        "committed_at": first["committed_at"],
        "data": {"source": "s", "error": "no 1"},
    }
    assert lines(run("events", "--since", first["position"])) == [second]
    assert run("events", "--since", second["position"]).stdout == ""


def test_only_some_kinds(run: Run, events: DomainEvents) -> None:
    say(events, 1)
    events.publish("simulation_result", {"steps": 3, "version": 1})
    assert [one["event"] for one in lines(run("events", "--kind", "simulation_result"))] == ["simulation_result"]
    assert len(lines(run("events", "--kind", "simulation_result", "--kind", "error"))) == 2


def test_what_left_the_log_is_said_only_to_who_asks_for_it(run: Run, events: DomainEvents) -> None:
    events.manager.set_history_length(1)
    say(events, 1, 2, 3, 4)
    assert [one["event"] for one in lines(run("events"))] == ["error", "error"]
    gap, *rest = lines(run("events", "--since", "1"))
    assert (gap["event"], gap["lost"], len(rest)) == ("gap", [2, 2], 2)


def test_on_a_terminal_it_is_in_words(run: Run, events: DomainEvents, terminal: None) -> None:
    events.manager.set_history_length(1)
    say(events, 1, 2, 3, 4)
    said = run("events", "--since", "1")
    assert [line.split("  ", 1)[1] for line in said.stdout.splitlines()] == [
        'line-1  s fails: "no 3"',
        'line-1  s fails: "no 4"',
    ]
    assert said.stderr.startswith("version 2 left the history before they could be read")


def test_following_goes_on(events: DomainEvents) -> None:
    """Until Ctrl-C."""
    say(events, 1)
    with process("events", "--follow") as command:
        assert command.stdout is not None
        for number in (1, 2, 3):
            assert json.loads(command.stdout.readline())["data"]["error"] == f"no {number}"
            say(events, number + 1)
        command.send_signal(signal.SIGINT)
        _, said = command.communicate(timeout=60)
    assert (command.returncode, said) == (130, b"")


def test_following_ends_after_a_silence(run: Run, events: DomainEvents) -> None:
    say(events, 1)
    assert len(lines(run("events", "--follow", "--timeout", "0.2"))) == 1


def test_a_closed_pipe_ends_it(events: DomainEvents) -> None:
    say(events, 1)
    with process("events", "--follow") as command:
        assert command.stdout is not None
        assert command.stderr is not None
        command.stdout.readline()
        command.stdout.close()
        assert command.stderr.read() == b""
    assert command.returncode == 141


@pytest.mark.parametrize(
    "arguments", [["--kind", "nothing"], ["--since", "nix"], ["--timeout", "-1"], ["--twin", "plant@branch"]]
)
def test_what_cannot_be_asked_for_is_wrong_usage(arguments: list[str], run: Run, events: DomainEvents) -> None:
    assert run("events", *arguments, code=2).stdout == ""


def test_the_kinds_are_those_that_there_are() -> None:
    assert around.KINDS == KINDS


def test_to_look_leaves_no_trace(run: Run, server: Server, twin: StateManager, events: DomainEvents) -> None:
    with server.client() as client:
        for _ in range(2):
            before = contents(client)
            for arguments in (["events"], ["events", "--follow", "--timeout", "0"], ["thresholds"]):
                run(*arguments)
            assert contents(client) == before
            Thresholds(twin, events).set(HOT)


# --- thresholds ------------------------------------------------------------------------------------------------------


def test_they_are_listed(run: Run, twin: StateManager, events: DomainEvents) -> None:
    assert run("thresholds").stdout == ""
    Thresholds(twin, events).set(HOT)
    assert value(run("thresholds")) == {
        "name": "hot",
        "pointer": "/t",
        "comparison": "greater_than",
        "value": 80.0,
        "severity": "critical",
        "hysteresis": 0.0,
        "minimum_duration": 0.0,
        "breached": False,
        "epoch": "",
        "version": 0,
        "committed_at": "",
    }


def test_those_of_the_constants_are_published(run: Run, events: DomainEvents, tmp_path: Path) -> None:
    """And replaced, and each can be removed."""
    wanted = sorted(rule.name for rule in ConstantsService().get_thresholds())
    assert [one["name"] for one in lines(run("thresholds", "--publish", "--actor", "ada"))] == wanted
    (only,) = events.manager.get_commits()
    assert only.actor == "ada"
    run("thresholds", "--publish")
    assert events.manager.snapshot().version == 1
    assert wanted[0] not in [one["name"] for one in lines(run("thresholds", "--remove", wanted[0]))]
    said = run("thresholds", "--remove", wanted[0], code=2)
    assert f"has no threshold {wanted[0]!r}" in said.stderr


def test_on_a_terminal_they_are_a_table(run: Run, twin: StateManager, events: DomainEvents, terminal: None) -> None:
    Thresholds(twin, events).set(HOT)
    events.decide(lambda state: {"thresholds": {"hot": {"breached": True, "committed_at": "2026-01-01T00:00:00Z"}}})
    head, _, row = run("thresholds").stdout.splitlines()
    assert head.split() == ["threshold", "rule", "severity", "since"]
    assert row.split() == ["hot", "BREACHED", "/t", ">", "80.0", "critical", "2026-01-01T00:00:00Z"]


def test_a_server_that_is_not_there(run: Run) -> None:
    for command in ("events", "thresholds", "workers"):
        said = run(command, "--url", "redis://localhost:1", code=1)
        assert "redis://localhost:1" in said.stderr
