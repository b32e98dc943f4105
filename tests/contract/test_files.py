"""Export and import, on each server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import redis

from circman_redis import InvalidJSON, JSONText, NoState, StateManager, StateTooLarge, StateValidationError
from tests.contract.conftest import Managers
from tests.servers import Server

TEXT = b'{"timestamp":"2025-02-24T14:20:07.123456","a":[],"b":22.50,"c":12345678901234567890,"d":"{\\"\xc3\xa9"}'


def test_export_is_pretty_and_keeps_every_digit(twin: StateManager, tmp_path: Path) -> None:
    """UTF-8, with the timestamp; strings in their ordinary form."""
    twin.set_state(JSONText(TEXT))
    assert twin.export_state(tmp_path / "out.json") is True
    assert (tmp_path / "out.json").read_text(encoding="utf-8") == (
        '{\n  "timestamp": "2025-02-24T14:20:07.123456",\n  "a": [],\n  "b": 22.50,\n'
        '  "c": 12345678901234567890,\n  "d": "{\\"é"\n}\n'
    )


def test_import_brings_it_back_to_the_byte(twin: StateManager, raw: redis.Redis, tmp_path: Path) -> None:
    """Validated like any commit, and recorded as an import."""
    twin.set_state(JSONText(TEXT))
    stored = raw.get(twin.keys.state)
    twin.export_state(tmp_path / "out.json")
    twin.update_state({"a": 1})
    assert twin.import_state(tmp_path / "out.json") is True
    assert raw.get(twin.keys.state) == stored
    assert twin.snapshot().op == "import"


def test_exports_without_a_path_never_overwrite(twin: StateManager, tmp_path: Path) -> None:
    """Time-stamped files in the results folder."""
    twin.set_state({"a": 1})
    for _ in range(3):
        twin.export_state()
    names = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert len(names) == 3
    assert all(re.fullmatch(r"state_\d{8}_\d{6}(_\d+)?\.json", name) for name in names)


def test_a_relative_import_is_looked_for_in_the_results_folder(twin: StateManager, tmp_path: Path) -> None:
    """Where it is not in the working directory."""
    twin.set_state({"a": 1})
    twin.export_state()
    name = next((tmp_path / "results").iterdir()).name
    twin.delete()
    assert twin.import_state(name)
    assert twin.get_current_state()["a"] == 1
    with pytest.raises(FileNotFoundError, match="results"):
        twin.import_state("nowhere.json")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"environment": {"humidity": 101}}', StateValidationError),
        ('{"a": 1, "a": 2}', InvalidJSON),
        ('{"a": NaN}', InvalidJSON),
        ("[1]", InvalidJSON),
        ("", InvalidJSON),
        ('{"a": "' + "x" * 1_100_000 + '"}', StateTooLarge),
    ],
)
def test_a_bad_file_changes_nothing(twin: StateManager, tmp_path: Path, text: str, error: type[Exception]) -> None:
    """It is refused like any other commit."""
    twin.set_state({"a": 1})
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(error):
        twin.import_state(tmp_path / "bad.json")
    assert twin.snapshot().version == 1


def test_what_was_exported_can_be_imported_however_large(twin: StateManager, tmp_path: Path) -> None:
    """The limit is on the state, not on its indentation."""
    twin.set_state({"deep": [[[[[[[[n]]]]]]] for n in range(20_000)]})
    twin.export_state(tmp_path / "out.json")
    assert (tmp_path / "out.json").stat().st_size > 2_000_000
    assert twin.import_state(tmp_path / "out.json")


def test_nothing_to_export(twin: StateManager, tmp_path: Path) -> None:
    """A twin with no state is said to have none, and no file is made."""
    with pytest.raises(NoState):
        twin.export_state(tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


def test_a_host_application_brings_its_own_folder(manager: Managers, server: Server, tmp_path: Path) -> None:
    """Anything with a folder() will do."""

    class Host:
        def folder(self) -> Path:
            return tmp_path / "host"

    with manager("hosted", url=server.url, results=Host()) as hosted:
        hosted.set_state({"a": 1})
        hosted.export_state()
    assert len(list((tmp_path / "host").iterdir())) == 1
