"""fork, merge-back: what-if branches from the command line."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Run, value
from tests.servers import Server, contents


@pytest.fixture
def plant(environment: None, server: Server, run: Run) -> None:
    run("set", "-", "--twin", "plant", stdin='{"line": {"rate": 100, "status": "running"}}')


def test_forked_changed_and_merged_back(plant: None, run: Run) -> None:
    """With the branch gone afterwards, if so asked."""
    run("adjust", "/line/rate", "1", "--twin", "plant")
    made = value(run("fork", "hotter", "--version", "1", "--twin", "plant"))
    assert (made["branch"], made["origin"]["version"]) == ("plant@hotter", 1)
    run("update", '{"line": {"status": "idle"}}', "--twin", "plant@hotter")
    changes = value(run("merge-back", "hotter", "--twin", "plant", "--dry-run"))
    assert changes == [{"pointer": "/line/status", "before": "running", "after": "idle"}]
    commit = value(run("merge-back", "hotter", "--twin", "plant", "--delete", "--actor", "ada"))
    assert commit["version"] == 3
    newest = json.loads(run("history", "--twin", "plant", "--limit", "1").stdout)
    assert (newest["actor"], newest["patch"]["line"]) == ("ada", {"status": "idle"})
    assert "no branch" in run("merge-back", "hotter", "--twin", "plant", code=1).stderr


def test_what_changed_in_the_same_place_is_named(plant: None, run: Run) -> None:
    """And nothing is changed; a branch that changed nothing has nothing to say."""
    run("fork", "hotter", "--twin", "plant")
    assert run("merge-back", "hotter", "--twin", "plant").stdout == ""
    for twin in ("plant", "plant@hotter"):
        run("update", json.dumps({"line": {"rate": 200 if twin == "plant" else 300}}), "--twin", twin)
    assert "/line/rate" in run("merge-back", "hotter", "--twin", "plant", code=1).stderr
    assert value(run("get", "/line/rate", "--twin", "plant")) == 200


def test_a_look_changes_nothing(plant: None, run: Run, server: Server) -> None:
    run("fork", "hotter", "--twin", "plant")
    with server.client() as client:
        before = contents(client)
        run("merge-back", "hotter", "--twin", "plant", "--dry-run")
        assert contents(client) == before


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["fork", "a b", "--twin", "plant"], 2),
        (["fork", "domain", "--twin", "plant"], 2),
        (["fork", "c", "--version", "7", "--twin", "plant"], 1),
        (["fork", "c", "--twin", "plant@b"], 2),
        (["merge-back", "none", "--twin", "plant"], 1),
        (["merge-back", "none", "--dry-run", "--delete", "--twin", "plant"], 2),
    ],
)
def test_what_cannot_be_done(plant: None, run: Run, arguments: list[str], code: int) -> None:
    assert run(*arguments, code=code).stderr
