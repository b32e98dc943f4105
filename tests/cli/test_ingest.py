"""ingest: files into commits."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from circman_redis import StateManager, StoreUnavailable
from circman_redis.cli import ingest as command
from circman_redis.driver import Driver
from tests.cli.conftest import ROOT, Run, process, value
from tests.servers import Server, wait_until

WEATHER = """723170,"GREENSBORO PIEDMONT TRIAD INT",NC,-5.0,36.100,-79.950,273
Date (MM/DD/YYYY),Time (HH:MM),GHI (W/m^2),Dry-bulb (C),RHum (%)
01/01/1988,01:00,0,10.0,77
01/01/1988,02:00,0,10.50,80
01/01/1988,03:00,0,,83
"""
MAPS = ("--map", "Dry-bulb (C)=/environment/temperature", "--map", "RHum (%)=/environment/humidity")
MEASURED = ROOT.parent / "shared" / "data" / "tmy3_723170_greensboro.csv"


@pytest.fixture
def weather(tmp_path: Path) -> str:
    (tmp_path / "weather.csv").write_text(WEATHER)
    return "weather.csv"


@pytest.fixture
def long(tmp_path: Path) -> str:
    (tmp_path / "long.jsonl").write_text("".join(f'{{"n": {n}}}\n' for n in range(1, 301)))
    return "long.jsonl"


def test_csv_rows_become_commits_with_their_digits(run: Run, twin: StateManager, weather: str) -> None:
    assert value(run("ingest", weather, "--skip-lines", "1", *MAPS, "--actor", "me")) == {
        "rows": 3,
        "committed": 3,
        "skipped": 0,
        "first_version": 1,
        "last_version": 3,
    }
    assert run("get", "/environment").stdout == '{"temperature":10.50,"humidity":83}\n'
    assert [one.actor for one in twin.get_commits()] == ["me"] * 3
    assert twin.get_commits(1)[0].patch["environment"] == {"humidity": 83}


@pytest.mark.skipif(not MEASURED.exists(), reason="the measured weather is not at hand")
def test_a_year_of_measured_weather(run: Run) -> None:
    said = value(run("ingest", str(MEASURED), "--skip-lines", "1", *MAPS))
    assert (said["rows"], said["committed"], said["last_version"]) == (8760, 8760, 8760)


def test_json_lines_from_stdin(run: Run) -> None:
    said = value(run("ingest", "-", "--limit", "2", "--batch", "1", stdin='{"a": 1.50}\n{"b": 2}\n{"c": 3}\n'))
    assert (said["rows"], said["last_version"]) == (2, 2)
    assert run("get", "/a").stdout == "1.50\n"
    run("get", "/c", code=1)


@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("a.tsv", "x\ty\n1\t2\n", []),
        ("a.txt", "x;y\n1;2\n", ["--delimiter", ";"]),
        ("a.txt", "x\ty\n1\t2\n", ["--delimiter", "tab", "--format", "csv"]),
    ],
)
def test_other_separators(run: Run, tmp_path: Path, name: str, text: str, options: list[str]) -> None:
    (tmp_path / name).write_text(text)
    run("ingest", name, "--map", "y=/v", *options)
    assert run("get", "/v").stdout == "2\n"


@pytest.mark.parametrize(
    "options",
    [
        ["--map", "x=/v", "--format", "jsonl"],
        ["--map", "nothing=/v"],
        [],
        ["--map", "Dry-bulb (C)=/v", "--delimiter", ";;"],
        ["--batch", "1001"],
        ["--resume", "never-was", *MAPS, "--skip-lines", "1"],
    ],
)
def test_wrong_usage(run: Run, weather: str, options: list[str]) -> None:
    run("ingest", weather, *options, code=2)


def test_a_missing_column_is_said_with_those_there_are(run: Run, weather: str) -> None:
    said = run("ingest", weather, "--skip-lines", "1", "--map", "Temp=/v", code=2).stderr
    assert "there is no column 'Temp'; the columns are 'Date (MM/DD/YYYY)'," in said


def test_the_first_bad_row_ends_the_run(run: Run, twin: StateManager, weather: str, tmp_path: Path) -> None:
    (tmp_path / weather).write_text(WEATHER + "01/01/1988,04:00,0,9.0,101\n01/01/1988,05:00,0,8.0,70\n")
    said = run("ingest", weather, "--skip-lines", "1", *MAPS, code=1)
    assert (value(said)["committed"], value(said)["last_version"]) == (3, 3)
    assert said.stderr.splitlines()[0] == "error: line 6: /environment/humidity: 101 breaks maximum 100"


def test_a_run_goes_on_where_it_ended(run: Run, twin: StateManager, weather: str, tmp_path: Path) -> None:
    last = "01/01/1988,05:00,0,8.0,70\n"
    (tmp_path / weather).write_text(WEATHER + "01/01/1988,04:00,0,9.0,101\n" + last)
    ingest = ["ingest", weather, "--skip-lines", "1", *MAPS]
    hint = run(*ingest, code=1).stderr.splitlines()[1]
    assert "--resume ingest-" in hint
    (tmp_path / weather).write_text(WEATHER + "01/01/1988,04:00,0,9.0,100\n" + last)
    assert value(run(*ingest, "--resume", hint.split()[-1]))["committed"] == 2
    assert twin.snapshot().version == 5


def test_bad_rows_are_skipped_and_counted(run: Run, twin: StateManager, tmp_path: Path) -> None:
    rows = ['{"n": 1}', "x", '{"environment": {"humidity": 101}}', '{"n": 2}', *["x"] * 30, '{"n": 3}']
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    said = run("ingest", "rows.jsonl", "--on-error", "skip", "--batch", "3")
    assert (value(said)["rows"], value(said)["committed"], value(said)["skipped"]) == (35, 3, 32)
    notes = said.stderr.splitlines()
    assert len(notes) == 21
    assert notes[-1] == "and 12 more"
    assert "skipped line 3: /environment/humidity: 101 breaks maximum 100" in notes
    assert [one["n"] for one in [*twin.get_history(), twin.current_state]] == [1, 2, 3]


def test_when_the_connection_fails_the_run_can_go_on(
    run: Run, twin: StateManager, long: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, sent = Driver._send, []

    def lost(driver: Driver, call: object, *attempts: object) -> object:
        """The answer of the second commit never comes."""
        reply = send(driver, call, *attempts)
        if getattr(call, "commit_id", None):
            sent.append(call)
            if len(sent) == 2:
                raise StoreUnavailable("server: gone; whether it was committed is not known")
        return reply

    with monkeypatch.context() as patch:
        patch.setattr(Driver, "_send", lost)
        said = run("ingest", long, code=1)
    assert value(said)["committed"] == 100
    assert "error: server: gone\n" in said.stderr
    run_id = said.stderr.split()[-1]
    assert value(run("ingest", long, "--resume", run_id))["committed"] == 100
    assert [one["n"] for one in [*twin.get_history(), twin.current_state]] == list(range(1, 301))


def test_what_is_not_a_rows_fault_ends_the_run_with_its_reason(run: Run, twin: StateManager, long: str) -> None:
    twin.set_state({"n": 0})
    twin.client.set(twin.keys.history, "not a list")
    said = run("ingest", long, "--on-error", "skip", code=1)
    assert "holds a string, not a list" in said.stderr


def test_what_is_interrupted_goes_on_where_it_was(run: Run, twin: StateManager, tmp_path: Path) -> None:
    path = tmp_path / "endless.jsonl"
    path.write_text("".join(f'{{"n": {n}}}\n' for n in range(1, 100_001)))
    with process("ingest", str(path), "--batch", "1") as ingest:
        wait_until(lambda: twin.snapshot().version > 10)
        ingest.send_signal(signal.SIGINT)
        _, said = ingest.communicate(timeout=60)
    assert ingest.returncode == 130
    assert b"interrupted" in said
    assert b"Traceback" not in said
    run("ingest", str(path), "--limit", "5", "--resume", said.split()[-1].decode())
    states = [*twin.get_history(), twin.current_state]
    assert [one["n"] for one in states] == list(range(states[0]["n"], states[0]["n"] + len(states)))
    assert states[-1]["n"] == twin.snapshot().version


def test_the_bar_counts_bytes_on_a_terminal(
    run: Run, server: Server, weather: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    from rich.console import Console
    from rich.progress import Progress

    screen = io.StringIO()
    with (Path(weather)).open("rb") as source, Progress(console=Console(file=screen)) as progress:
        bar = command._Bar(source, progress)
        source.read()
        bar.show(command.Tally(rows=3))
        bar.say("a word\x1b")
        task = progress.tasks[0]
        assert (task.completed, task.total, task.fields["rows"]) == (len(WEATHER), len(WEATHER), "3")
    assert "a word\\u001b" in screen.getvalue()
