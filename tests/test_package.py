"""What a user gets: the wheel in a clean environment elsewhere, the compose file, the documents."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import yaml

import circman_redis
from circman_redis import StateManager, twin
from tests.servers import Server, wait_until

ROOT = Path(__file__).parent.parent

USE = """
from pathlib import Path
import circman_redis
from circman_redis import StateManager, scripts
from circman_redis.twin.constants import ConstantsService

assert "site-packages" in circman_redis.__file__, circman_redis.__file__
assert scripts.folder().parent == Path(circman_redis.__file__).parent
assert ConstantsService().get_digital_twin_config().name == "default"
with StateManager("wheel", url="embedded://" + str(Path("data").resolve())) as twin:
    twin.update_state({"a": [], "b": 22.0})
    print(twin.snapshot().version, twin.client.get(twin.keys.state).decode()[:17])
"""


@pytest.mark.timeout(300)
def test_the_wheel_works_in_a_clean_environment_elsewhere(tmp_path: Path) -> None:
    """Built, installed with its extras, used away from the checkout: scripts and data travel with it."""
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{wheel}[all]"]
    subprocess.run(install, check=True, capture_output=True)

    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CIRCMAN_"))}
    used = subprocess.run(
        [python, "-W", "error", "-c", USE], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (used.returncode, used.stdout, used.stderr) == (0, '1 {"a":[],"b":22.0,\n', "")
    command = [tmp_path / "venv" / "bin" / "circman-redis", "demo", "--seconds", "1"]
    url = "embedded://" + str(tmp_path / "demo")
    demo = subprocess.run(
        [*command, "--url", url], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert demo.returncode == 0, demo.stderr
    assert re.match(r"verified: (\d+) commits by 6 workers, 0 lost, 0 duplicated", demo.stdout.splitlines()[-1])


def test_the_front_door_has_every_public_name_and_nothing_else() -> None:
    """Each name in __all__ can be had, each home's name is in __all__."""
    for name in circman_redis.__all__:
        assert getattr(circman_redis, name) is not None
    assert set(circman_redis.__all__) == {*circman_redis._HOME_OF, "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        circman_redis.nothing  # noqa: B018 - the access is the test


def test_the_names_around_the_state_are_those_that_there_are() -> None:
    """Each can be had from circman_redis.twin, and none is imported before."""
    for name in twin.__all__:
        assert getattr(twin, name).__module__.startswith("circman_redis.twin.")
    assert set(twin.__all__) == set(twin._HOME_OF)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        twin.nothing  # noqa: B018 - the access is the test
    code = "import sys, circman_redis.twin; print([m for m in ('redis', 'numpy', 'pydantic') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_importing_the_package_imports_nothing_heavy() -> None:
    """`circman-redis --help` does not pay for redis and pydantic."""
    code = "import sys, circman_redis; print([m for m in ('redis', 'pydantic', 'orjson') if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "[]\n"


def test_the_compose_files_workers_work_on_one_twin(server: Server) -> None:
    """Their own command lines, all at once, two of the scaled one: one twin, versions contiguous, several authors."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    environment = {**os.environ, "CIRCMAN_REDIS_URL": server.url}
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "circman_redis.cli", *services[name]["command"]],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("environment", "line", "worker", "worker")
    ]
    try:
        for process in running:  # each is at work, and not still being imported
            assert process.stderr
            assert " works on the twin " in process.stderr.readline()
        with StateManager("demo", url=server.url) as twin:
            wait_until(lambda: len({str(one.actor).partition("-")[0] for one in twin.get_commits()}) == 3)
    finally:
        for process in running:
            process.terminate()  # as `docker compose stop` does
        said = [process.communicate(timeout=30) for process in running]
    assert [process.returncode for process in running] == [0] * 4, said
    made = sum(int(re.search(r": (\d+) commits in", words)[1]) for _, words in said)  # type: ignore[index]
    with StateManager("demo", url=server.url) as twin:
        entries = twin.get_commits()
        assert [entry.version for entry in reversed(entries)] == list(range(1, made + 1))
        assert len({str(entry.actor).partition("-")[0] for entry in entries}) == 3


def test_the_licence_and_the_changelog_are_there() -> None:
    """And the changelog knows this version."""
    assert "MIT License" in (ROOT / "LICENSE").read_text()
    assert f"## {circman_redis.__version__}" in (ROOT / "CHANGELOG.md").read_text()
