"""The embedded server under asyncio: to start it, and to bring it back, holds up no other task."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NoReturn

import psutil
import pytest

from circman_redis import AsyncStateManager, EmbeddedUnavailable
from circman_redis.embedded import EmbeddedServer
from tests.embedded.helpers import ended, living, server_pid, wait_until


def kill_server(folder: Path) -> None:
    with EmbeddedServer(folder) as server:
        process = psutil.Process(server_pid(server.socket_path))
        process.kill()
        wait_until(lambda: ended(process))


def test_it_is_started_and_brought_back_and_ends(folder: Path) -> None:
    """As for threads: what was committed is there again, and the server ends with its last user."""

    async def main() -> None:
        async with AsyncStateManager("x", url=f"embedded://{folder}") as twin:
            await asyncio.gather(*(twin.update_state({f"key-{i}": i}) for i in range(50)))
            kill_server(folder)
            commits = await asyncio.gather(*(twin.update_state({"n": i}) for i in range(50)))
            assert max(commit.version for commit in commits) == 100
            assert str(folder) in repr(twin)

    for _ in range(2):
        asyncio.run(main())
        wait_until(lambda: not living(folder))
        asyncio.run(AsyncStateManager("x", url=f"embedded://{folder}").delete())


def test_other_tasks_go_on_meanwhile(folder: Path) -> None:
    """The loop turns while a process is started."""

    async def main() -> int:
        turns = 0
        opening = asyncio.create_task(AsyncStateManager("x", url=f"embedded://{folder}").snapshot())
        while not opening.done():
            await asyncio.sleep(0)
            turns += 1
        await opening
        return turns

    assert asyncio.run(main()) > 100


def test_why_it_cannot_be_brought_back_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, and not as if a connection had been lost."""
    tries: list[EmbeddedServer] = []

    def ready(server: EmbeddedServer) -> NoReturn:
        tries.append(server)
        raise EmbeddedUnavailable("there is no server for you")

    async def main() -> None:
        async with AsyncStateManager("x", url=f"embedded://{folder}") as twin:
            await twin.set_state({"a": 1})
            kill_server(folder)
            monkeypatch.setattr(EmbeddedServer, "ready", ready)
            with pytest.raises(EmbeddedUnavailable, match="no server for you"):
                await twin.get_current_state()
        assert len(tries) == 1

    asyncio.run(main())
