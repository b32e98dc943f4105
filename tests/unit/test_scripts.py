"""The scripts as they are loaded."""

from __future__ import annotations

import hashlib

from circman_redis import scripts


def test_every_script_has_its_parts_in_place() -> None:
    """Includes are resolved, comments left out, the SHA is that of the text."""
    for name in scripts.NAMES:
        source = scripts.load(name)
        assert "@include" not in source.text
        assert "local function answer(" in source.text
        assert not any(line.lstrip().startswith("--") for line in source.text.splitlines())
        assert source.sha == hashlib.sha1(source.text.encode()).hexdigest()


def test_every_file_is_a_script_that_is_loaded() -> None:
    """None is left over."""
    assert {path.stem for path in scripts.folder().glob("*.lua")} == set(scripts.NAMES)
