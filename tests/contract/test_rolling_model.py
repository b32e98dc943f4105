"""A twin's model is replaced while workers run: widen, deploy, narrow. As docs/deployment.md tells it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from circman_redis import StateManager
from tests.servers import Server, wait_until

ROOT = Path(__file__).parent.parent.parent

# Three releases of one model: the second allows more, the third less again.
MODELS = """
from pydantic import BaseModel, Field

class First(BaseModel):
    level: int = Field(ge=0, le=10)

class Wide(BaseModel):
    level: int = Field(ge=0, le=100)
    unit: str | None = Field(default=None, max_length=8)

class Narrow(BaseModel):
    level: int = Field(ge=0, le=100)
    unit: str | None = Field(default=None, max_length=2)
"""

# Says each outcome; a refusal does not end it.
WORKER = """
import json, sys
import models
from circman_redis import CircmanError, StateManager

url, twin, actor, model, patch = sys.argv[1:]
named = {"model": getattr(models, model)} if model else {}
with StateManager(twin, url=url, actor=actor, **named) as manager:
    while True:
        try:
            said = {"version": manager.update_state(json.loads(patch)).version}
        except CircmanError as error:
            said = {"refused": type(error).__name__, "why": str(error)}
        print(json.dumps(said), flush=True)
"""


class Worker:
    """A process that commits one patch again and again; what it says goes to a file."""

    def __init__(
        self, server: Server, twin: str, folder: Path, *, actor: str, patch: dict[str, Any], model: str
    ) -> None:
        self.log = folder / f"{actor}.jsonl"
        self.err = folder / f"{actor}.err"
        with self.log.open("wb") as log, self.err.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", WORKER, server.url, twin, actor, model, json.dumps(patch)],
                env=surroundings(folder),
                stdout=log,
                stderr=errors,
            )

    @property
    def said(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.endswith("}")]

    @property
    def errors(self) -> str:
        return self.err.read_text()

    @property
    def versions(self) -> list[int]:
        return [one["version"] for one in self.said if "version" in one]

    @property
    def refusals(self) -> list[str]:
        return [one["refused"] for one in self.said if "refused" in one]

    def works(self) -> None:
        """Waits until it has committed some more, and was refused nothing meanwhile."""
        before, refused = len(self.versions), len(self.refusals)
        wait_until(lambda: len(self.versions) > before + 20)
        assert len(self.refusals) == refused

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


def surroundings(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}


@pytest.fixture
def start(server: Server, twin_id: str, tmp_path: Path) -> Iterator[Any]:
    """Starts workers, by name, patch and the model that they name, if any."""
    with ExitStack() as stack:

        def one(actor: str, patch: dict[str, Any], model: str = "") -> Worker:
            worker = Worker(server, twin_id, tmp_path, actor=actor, patch=patch, model=model)
            stack.callback(worker.stop)
            return worker

        yield one


@pytest.fixture
def publish(server: Server, twin_id: str, tmp_path: Path) -> Any:
    """`circman-redis schema publish`, in a process of its own."""
    (tmp_path / "models.py").write_text(MODELS)

    def one(name: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "circman_redis.cli", "schema", "publish", f"models:{name}"]
        options = ["--url", server.url, "--twin", twin_id]
        return subprocess.run(
            [*command, *options], env=surroundings(tmp_path), cwd=tmp_path, capture_output=True, text=True, check=False
        )

    return one


def test_widen_deploy_narrow(server: Server, twin_id: str, start: Any, publish: Any) -> None:
    """Workers that name no model work through all of it; one that names the old one is told, and writes nothing."""
    with StateManager(twin_id, url=server.url) as twin:
        twin.set_state({"level": 1})
        assert publish("First").returncode == 0
        old = start("old", {"level": 5})
        named = start("named", {"level": 6}, "First")
        old.works()
        named.works()

        # Widen: everything that was valid stays so.
        assert publish("Wide").returncode == 0
        wait_until(lambda: named.refusals)
        assert set(named.refusals) == {"ModelMismatch"}
        assert "Wide" in named.said[-1]["why"]
        old.works()
        widened = len(named.versions)

        # Deploy: both generations at once. What the old one does not know, it does not touch.
        new = start("new", {"level": 50, "unit": "cm"}, "Wide")
        new.works()
        old.works()
        assert twin.get_current_state()["unit"] == "cm"
        assert len(named.versions) == widened

        # Narrow: refused while the state does not fit; then it binds those who are left of the old ones.
        new.stop()
        twin.update_state({"unit": "inch"})
        refused = publish("Narrow")
        assert refused.returncode == 1
        assert "/unit" in refused.stderr
        assert twin.config.model == "Wide"
        twin.update_state({"unit": "mm"})
        assert publish("Narrow").returncode == 0
        old.works()
        late = start("late", {"unit": "inch"})
        wait_until(lambda: late.refusals)
        assert set(late.refusals) == {"StateValidationError"}
        old.works()
        assert twin.get_current_state()["unit"] == "mm"

        for one in (old, named, new, late):
            one.stop()
        assert old.refusals == []
        check(twin, [old, named, new])


def check(twin: StateManager, workers: list[Worker]) -> None:
    """Each commit that was told is there, as its author's; nothing is missing in between."""
    commits = list(reversed(twin.get_commits()))
    assert [one.version for one in commits] == list(range(commits[0].version, twin.snapshot().version + 1))
    authors = {one.version: one.actor for one in commits}
    for worker in workers:
        for version in worker.versions:
            assert version < commits[0].version or authors[version] == worker.log.stem


def test_who_names_the_new_model_too_early_is_told(server: Server, twin_id: str, start: Any, publish: Any) -> None:
    """Deployed before it was published, it does not start; so it is started again until it does."""
    with StateManager(twin_id, url=server.url) as twin:
        twin.set_state({"level": 1})
        assert publish("First").returncode == 0
        early = start("early", {"level": 50}, "Wide")
        assert early.process.wait(60) == 1
        assert "ModelMismatch" in early.errors
        assert not early.said
        assert publish("Wide").returncode == 0
        start("again", {"level": 50}, "Wide").works()
        assert twin.get_current_state()["level"] == 50
