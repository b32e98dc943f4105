"""What all commands have in common: help, documentation, a quick start."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from circman_redis import StateManager, __version__
from circman_redis.cli._group import COMMANDS, cli
from tests.cli.conftest import ROOT, process

DOCS = ROOT / "docs" / "cli.md"
HEAVY = ("redis", "pydantic", "pydantic_settings", "orjson", "rich", "asyncio", "numpy", "matplotlib")


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
        """Processor time, to which what else runs on the machine adds little; the least of five runs."""

        def used() -> float:
            usage = resource.getrusage(resource.RUSAGE_CHILDREN)
            return usage.ru_utime + usage.ru_stime

        def once() -> float:
            before = used()
            subprocess.run([sys.executable, *command], capture_output=True, cwd=ROOT, check=True)
            return used() - before

        return min(once() for _ in range(5))

    assert seconds("-m", "circman_redis.cli", "--help") - seconds("-c", "pass") < 0.15


def test_an_unknown_command_is_wrong_usage() -> None:
    said = CliRunner().invoke(cli, ["gte"])
    assert (said.exit_code, said.stdout) == (2, "")
    assert "No such command 'gte'" in said.stderr


def without(package: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a command on a terminal, in a Python that has not that package."""
    script = (
        "import sys\n"
        "class Lacks:\n"
        "    def find_spec(name, *_):\n"
        f"        if name == {package!r}: raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Lacks)\n"
        "sys.stdout.isatty = lambda: True\n"
        "from circman_redis.cli import main\n"
        "sys.exit(main())"
    )
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.parametrize(("package", "arguments"), [("click", ["--help"]), ("rich", ["info"])])
def test_what_is_not_installed_is_said_in_a_line(environment: None, package: str, arguments: list[str]) -> None:
    found = without(package, *arguments)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr == f"circman-redis needs {package}: pip install 'circman-redis[cli]'\n"


def test_a_commit_is_told_without_rich(environment: None, twin: StateManager) -> None:
    assert '\n  "version": 1,\n' in without("rich", "update", '{"a": 1}').stdout


def test_the_version_is_told() -> None:
    with process("--version") as command:
        assert command.communicate()[0].decode().strip().endswith(__version__)
