"""What the documents show is run: Python blocks, command lines, examples."""

from __future__ import annotations

import ast
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import headlines
from benchmarks.measure import Line
from circman_redis import ModelMismatch, StateManager, StateValidationError

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
LEAVE_THEIR_TWIN = {"quickstart.py", "several_writers.py", "following.py"}
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "lua").glob("*.md")])

# For machines without a redis-cli: the same commands, over redis-py.
REDIS_CLI = """#!{python}
import sys, redis
client = redis.Redis(unix_socket_path=sys.argv[2], decode_responses=True)
reply = client.execute_command(*sys.argv[3:])
print(*(reply if isinstance(reply, list) else [reply]), sep="\\n")
"""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's machine: an embedded server of its own, the commands on the PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {
        "redis-cli": REDIS_CLI.format(python=sys.executable),
        "python": f"#!/bin/sh\nexec '{sys.executable}' \"$@\"\n",
        "circman-redis": f"#!/bin/sh\nexec '{sys.executable}' -m circman_redis.cli \"$@\"\n",
    }.items():
        (programs / name).write_text(text)
        (programs / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_python_blocks_run(page: Path, somewhere: Path) -> None:
    """In order, as one program; docs/rules.md shows what its own prints."""
    program = "\n".join(blocks(page, "python"))
    run = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    if page.name == "rules.md":
        assert f"```\n{run.stdout}```" in page.read_text()


def test_command_lines_run(somewhere: Path) -> None:
    """The shell blocks of the pages that a newcomer reads, in order, while a server is held as they say."""
    holder = subprocess.Popen(["circman-redis", "server"], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        for page in (
            ROOT / "README.md",
            ROOT / "docs" / "embedded.md",
            ROOT / "docs" / "backup.md",
            ROOT / "lua" / "README.md",
        ):
            lines = [line for line in "".join(blocks(page, "sh")).splitlines() if not line.startswith("make ")]
            run = subprocess.run(["sh", "-exc", "\n".join(lines)], capture_output=True, text=True, check=False)
            assert run.returncode == 0, run.stderr
    finally:
        holder.terminate()
        holder.communicate()
    assert "redis.call('LPUSH'" in (somewhere / "commit.lua").read_text()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_run(example: Path, somewhere: Path) -> None:
    """Twice: the second time they meet what the first one left, where they leave anything."""
    for _ in range(2):
        run = subprocess.run([sys.executable, "-W", "error", example], capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        assert run.stdout
    with StateManager("nobody") as manager:
        twins = {key.decode().split("}")[0].removeprefix("circman:{") for key in manager.client.scan_iter()}
    assert twins == ({example.stem.replace("_", "-")} if example.name in LEAVE_THEIR_TWIN else set())


def test_the_readme_lists_the_examples() -> None:
    """Each once, with what it shows."""
    listed = re.findall(r"^- \[`(\w+\.py)`\]\(examples/\1\): ", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == [example.name for example in EXAMPLES]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file that is there."""
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def floors() -> dict[Path, int]:
    """The files of the package, with the row that docs/architecture.md has them in."""
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    found = {}
    for number, row in enumerate(rows):
        for name in re.findall(r"`([^`]+)`", row):
            for path in (ROOT / "circman_redis").glob(f"{name}*.py" if name.endswith("/") else name):
                found[path] = number
    return found


def imported_by(path: Path) -> Iterator[Path]:
    """The files of the package that a file imports, whenever it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("circman_redis"):
            module = ROOT / str(node.module).replace(".", "/")
            for name in [module, *(module / alias.name for alias in node.names)]:
                yield from filter(Path.exists, (name.with_suffix(".py"), name / "__init__.py"))


def test_imports_go_down_the_table() -> None:
    """Every file is in it, and imports nothing from a row below its own."""
    known = floors()
    files = set((ROOT / "circman_redis").rglob("*.py"))
    apart = {ROOT / "circman_redis" / name for name in ("__init__.py", "_version.py", "twin/__init__.py")}
    assert files - known.keys() == apart
    for path in files - apart:
        for other in set(imported_by(path)) - apart:
            assert known[other] <= known[path], f"{path.name} imports {other.name}"


def test_every_error_is_documented() -> None:
    """Each error that a script returns is in docs/wire.md and in lua/README.md."""
    from circman_redis.refusals import ERRORS

    wire, scripts = (ROOT / "docs" / "wire.md").read_text(), (ROOT / "lua" / "README.md").read_text()
    for name in ERRORS:
        assert f"`{name}`" in wire
        assert f"`{name.removeprefix('CIRCMAN_')}`" in scripts
    assert issubclass(StateValidationError, ValueError)
    assert not issubclass(ModelMismatch, ValueError)


def test_the_headline_figures_are_those_that_were_measured() -> None:
    """The README's table comes from benchmarks/results.json, and each of its rows from a line there."""
    text = (ROOT / "benchmarks" / "results.json").read_text(encoding="utf-8")
    lines = [
        Line(**{name: value for name, value in line.items() if name != "reached"}) for line in json.loads(text)["lines"]
    ]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert headlines.put_into(readme, lines) == readme
    assert "| - |" not in headlines.as_markdown(lines)


def test_every_fault_names_its_tests() -> None:
    """The table of docs/faults.md: each row has tests, and they are there."""
    rows = [line for line in (ROOT / "docs/faults.md").read_text().splitlines() if line.startswith("| ")][2:]
    assert len(rows) == 18
    for row in rows:
        named = re.findall(r"`((?:faults|contract|fuzz)/[^`]*)`", row)
        assert named, row
        for one in named:
            path, _, function = one.partition("::")
            where = ROOT / "tests" / path
            assert where.exists(), one
            assert not function or f"def {function}(" in where.read_text(), one
