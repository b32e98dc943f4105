"""The benchmarks run on the code of today: each claim in the README has its command."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import main


def test_they_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Those that are quick, quickly; what failed in one would stand in the table."""
    assert main(["--quick", "--lane", "valkey", "--only", "merging,calls,mirror,events,history"]) == 0
    assert " failed " not in capsys.readouterr().out
