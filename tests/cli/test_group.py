"""What all commands have in common: help, documentation, a quick start."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from circman_redis.cli._group import COMMANDS, cli
from tests.cli.conftest import ROOT, process

DOCS = ROOT / "docs" / "cli.md"
HEAVY = ("redis", "pydantic", "pydantic_settings", "orjson", "rich", "asyncio")


def every_command() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {one}", each) for one, each in command.commands.items())


ALL = dict(every_command())


@pytest.mark.parametrize("name", ALL)
def test_a_command_has_help_and_an_example(name: str) -> None:
    said = CliRunner().invoke(cli, [*name.split(), "--help"])
    assert said.exit_code == 0
    assert ALL[name].help
    assert f"Example:\n    circman-redis {name}" in said.stdout


@pytest.mark.parametrize("name", ALL)
def test_an_option_of_a_command_has_help(name: str) -> None:
    options = [one for one in ALL[name].params if isinstance(one, click.Option)]
    assert [one.name for one in options if not one.help] == []


@pytest.mark.parametrize("name", [name for name, one in ALL.items() if not isinstance(one, click.Group)])
def test_a_command_and_its_options_are_documented(name: str) -> None:
    sections = re.split(r"^#+ ", DOCS.read_text(), flags=re.MULTILINE)
    own = [one for one in sections if one.startswith(f"`{name}`\n")]
    assert len(own) == 1
    shared = next(one for one in sections if one.startswith("Options of all commands"))
    for option in ALL[name].params:
        if isinstance(option, click.Option):
            assert any(text in own[0] + shared for text in option.opts), option.opts


def test_the_documentation_names_the_commands_in_the_order_of_help() -> None:
    documented = re.findall(r"^## `([a-z-]+)[` ]", DOCS.read_text(), flags=re.MULTILINE)
    assert list(dict.fromkeys(documented)) == list(COMMANDS)


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    script = (
        "import sys; from circman_redis.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print([one for one in {HEAVY!r} if one in sys.modules], file=sys.stderr)"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, "--help"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert found.stderr.strip() == "[]"
    assert re.findall(r"^  ([a-z][a-z-]*)  ", found.stdout, flags=re.MULTILINE) == list(COMMANDS)


def test_help_is_quick() -> None:
    def seconds(*command: str) -> float:
        def once() -> float:
            before = time.perf_counter()
            subprocess.run([sys.executable, *command], capture_output=True, cwd=ROOT, check=True)
            return time.perf_counter() - before

        return min(once() for _ in range(5))

    # The fastest of five: what else runs on the machine only ever adds to it.
    assert seconds("-m", "circman_redis.cli", "--help") - seconds("-c", "pass") < 0.15


def test_an_unknown_command_is_wrong_usage() -> None:
    said = CliRunner().invoke(cli, ["gte"])
    assert (said.exit_code, said.stdout) == (2, "")
    assert "No such command 'gte'" in said.stderr


@pytest.mark.parametrize("package", ["click", "rich"])
def test_what_is_not_installed_is_said_in_a_line(package: str) -> None:
    script = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from circman_redis.cli import main\n"
        "if sys.argv[1:]: import circman_redis.cli._output as o; o.on_terminal = lambda: True\n"
        "sys.exit(main())"
    )
    arguments = ["info", "--url", "embedded:///nowhere/at/all"] if package == "rich" else []
    found = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, cwd=ROOT)
    if package == "click":
        assert found.returncode == 2
        assert found.stderr == "circman-redis needs click: pip install 'circman-redis[cli]'\n"
    else:  # nothing is coloured before there is something to show
        assert found.returncode == 1


def test_the_version_is_told() -> None:
    from circman_redis import __version__

    with process("--version") as command:
        assert command.communicate()[0].decode().strip().endswith(__version__)


def test_the_documentation_has_no_dead_anchor() -> None:
    text = DOCS.read_text()
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("#")
    }
    assert {target for target in re.findall(r"\]\(#([^)]+)\)", text)} <= headings
    assert all((DOCS.parent / target).exists() for target in re.findall(r"\]\(([\w./-]+\.md)\)", text)), Path
