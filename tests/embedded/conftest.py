from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.embedded.helpers import User, living, wait_until


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place for a server's folder, with a short path, where no process may be left at the end."""
    place = Path(tempfile.mkdtemp(prefix="circman-")).resolve()
    yield place / "server"
    try:
        wait_until(lambda: not living(place))
    finally:
        for process in living(place):  # keeps a failure from leaving something behind
            with suppress(psutil.Error):
                process.kill()
        shutil.rmtree(place)


@pytest.fixture
def user(folder: Path) -> Iterator[Callable[..., User]]:
    """Start a process that is to use the server of ``folder``."""
    users: list[User] = []

    def start(*flags: str, env: dict[str, str] | None = None, where: Path | None = None) -> User:
        users.append(User(where or folder, *flags, env=env))
        return users[-1]

    yield start
    for each in users:
        each.kill()
