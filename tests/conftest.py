"""The servers and twins that the tests work on."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import redis

from circman_redis import StateManager
from tests.servers import Server, lanes, version_of
from tests.topology import Cluster

# No deadline: the machine may be busy. The same examples in every run of CI: what fails there can be repeated.
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")

_numbers = itertools.count()

SEVERAL_SERVERS = {"topology", "clusters", "sentinels"}
"""The groups of tests that start replica sets and clusters, and wait for failovers."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="the slow half too: clusters and failovers on each lane")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without --thorough, what takes several servers runs on the bundled one only."""
    if config.getoption("--thorough"):
        return
    slow = [item for item in items if _is_slow(item)]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if not _is_slow(item)]


def _is_slow(item: pytest.Item) -> bool:
    if item.get_closest_marker("thorough"):
        return True
    lane = getattr(item, "callspec", None) and item.callspec.params.get("lane")  # type: ignore[attr-defined]
    if lane == "redis" and item.get_closest_marker("bundled_first"):
        return True
    group = item.get_closest_marker("xdist_group")
    return group is not None and group.args[0] in SEVERAL_SERVERS and lane == "redis"


def pytest_report_header() -> list[str]:
    found = [f"{lane} {version_of(binary)}" for lane, binary in lanes().items()]
    missing = [] if "redis" in lanes() else ["no redis-server on the PATH: its lane does not run"]
    return [f"servers: {', '.join(found + missing)}"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(pytest_report_header()[0])


@pytest.fixture(scope="session")
def servers() -> Iterator[dict[str, Server]]:
    """One running server per lane, for this worker of the test run."""
    running: dict[str, Server] = {}
    try:
        for lane, binary in lanes().items():
            running[lane] = Server(binary, ("--notify-keyspace-events", "K$lhg")).start()
        yield running
    finally:
        for server in running.values():
            server.stop()


class _Clusters(dict[str, Cluster]):
    def __missing__(self, lane: str) -> Cluster:
        self[lane] = Cluster(lanes()[lane], options=("--notify-keyspace-events", "K$lhg")).start()
        return self[lane]


@pytest.fixture(scope="session")
def clusters() -> Iterator[dict[str, Cluster]]:
    """One running cluster per lane, from when it is asked for on; for tests that break nothing."""
    running = _Clusters()
    try:
        yield running
    finally:
        for one in running.values():
            one.stop()


@pytest.fixture(params=list(lanes()))
def lane(request: pytest.FixtureRequest) -> str:
    """Which server the test runs on; a test that asks for it runs on each."""
    return str(request.param)


@pytest.fixture
def server(servers: dict[str, Server], lane: str) -> Server:
    """A running server, empty."""
    with servers[lane].client() as client:
        client.flushall()
    return servers[lane]


@pytest.fixture
def own_server(lane: str) -> Iterator[Server]:
    """A server for this test alone, with an append-only file, to be killed and restarted."""
    # Not everysec: there a slow fsync puts writes off that were answered already.
    one = Server(lanes()[lane], ("--appendonly", "yes", "--appendfsync", "always"))
    try:
        yield one.start()
    finally:
        one.stop()


@pytest.fixture
def client(server: Server) -> Iterator[redis.Redis]:
    """A bare client of redis-py."""
    with server.client(decode_responses=True) as one:
        yield one


@pytest.fixture
def twin_id() -> str:
    return f"twin-{next(_numbers)}"


@pytest.fixture
def twin(server: Server, twin_id: str, tmp_path: Path) -> Iterator[StateManager]:
    """A manager of a new twin."""
    with StateManager(twin_id, url=server.url, results=tmp_path / "results") as manager:
        yield manager
