"""TLS with a CA of the test's own: who is trusted, who is not, and what is said then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from circman_redis import StoreUnavailable, UsageError
from tests.contract.conftest import Managers
from tests.servers import Server, lanes
from tests.topology import Cluster, Node
from tests.topology.nodes import free_port

pytestmark = [
    pytest.mark.skipif("redis" not in lanes(), reason="the bundled Valkey is built without TLS, and there is no other"),
    pytest.mark.xdist_group("tls"),
]

PATIENCE = 30.0
"""Seconds that a call may take: one that ends long before was not tried again and again."""


class Folder:
    """A CA, and what it has issued, in files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cas = {name: trustme.CA() for name in ("ca", "other-ca")}
        for name, ca in self.cas.items():
            ca.cert_pem.write_to_path(str(self[name]))
        self.issue("server", "localhost", "127.0.0.1")
        self.issue("elsewhere", "elsewhere.example")
        self.issue("expired", "localhost", not_before=datetime(2020, 1, 1, tzinfo=UTC), not_after=OVER)
        self.issue("client", "client@example.org")
        self.issue("stranger", "client@example.org", ca="other-ca")

    def __getitem__(self, name: str) -> Path:
        return self.folder / f"{name}.pem"

    def issue(self, name: str, *identities: str, ca: str = "ca", **times: datetime) -> None:
        made = self.cas[ca].issue_cert(*identities, **times)
        self[name].write_bytes(b"".join(one.bytes() for one in made.cert_chain_pems))
        made.private_key_pem.write_to_path(str(self[f"{name}-key"]))

    def options(self, port: int, name: str, clients: str) -> tuple[str, ...]:
        return (
            *("--tls-port", str(port), "--tls-auth-clients", clients, "--tls-ca-cert-file", str(self["ca"])),
            *("--tls-cert-file", str(self[name]), "--tls-key-file", str(self[f"{name}-key"])),
        )


OVER = datetime(2021, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def urls(files: Folder) -> Iterator[dict[str, str]]:
    """A server for each kind of certificate, one that asks for its clients', and the first one's port without TLS."""
    nodes, found = [], {}
    try:
        for name, clients in (("server", "no"), ("elsewhere", "no"), ("expired", "no"), ("strict", "yes")):
            port = free_port()
            certificate = "server" if name == "strict" else name
            nodes.append(Node(lanes()["redis"], files.options(port, certificate, clients)).start())
            found[name] = f"rediss://localhost:{port}"
        found["no TLS"] = f"redis://localhost:{found['server'].rpartition(':')[2]}"
        found["not to TLS"] = f"rediss://localhost:{nodes[0].port}"
        yield found
    finally:
        for node in nodes:
            node.stop()


@pytest.fixture
def client_certificate(files: Folder) -> dict[str, Path]:
    return {"ca_file": files["ca"], "cert_file": files["client"], "key_file": files["client-key"]}


def test_who_has_the_ca_commits_and_follows(
    manager: Managers, urls: dict[str, str], files: Folder, twin_id: str
) -> None:
    with manager(twin_id, url=urls["server"], ca_file=files["ca"]) as twin, twin.subscribe(timeout=30) as events:
        twin.update_state({"n": 1})
        assert next(iter(events)).version == 1
        assert twin.get_current_state()["n"] == 1


def test_a_client_with_a_certificate(
    manager: Managers, urls: dict[str, str], client_certificate: dict[str, Path], twin_id: str
) -> None:
    with manager(twin_id, url=urls["strict"], **client_certificate) as twin:
        assert twin.update_state({"n": 1}).version == 1


def test_the_same_by_the_url(
    manager: Managers, urls: dict[str, str], client_certificate: dict[str, Path], twin_id: str
) -> None:
    names = {"ca_file": "ssl_ca_certs", "cert_file": "ssl_certfile", "key_file": "ssl_keyfile"}
    query = "&".join(f"{names[name]}={path}" for name, path in client_certificate.items())
    with manager(twin_id, url=f"{urls['strict']}?{query}") as twin:
        assert twin.update_state({"n": 1}).version == 1


@pytest.mark.parametrize(
    ("server", "ca", "says"),
    [
        ("server", None, "certificate verify failed.*name theirs: ca_file"),
        ("server", "other-ca", "certificate verify failed.*name theirs: ca_file"),
        ("elsewhere", "ca", "Hostname mismatch.*put the name into the URL"),
        ("expired", "ca", "has expired.*have the server's certificate renewed"),
    ],
)
def test_a_server_that_is_not_trusted(
    manager: Managers, urls: dict[str, str], files: Folder, twin_id: str, server: str, ca: str | None, says: str
) -> None:
    """It is said at once: a certificate does not get better."""
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=says):
        manager(twin_id, url=urls[server], ca_file=files[ca] if ca else None, timeout=PATIENCE)
    assert time.monotonic() - began < PATIENCE / 2


@pytest.mark.parametrize("client", [None, "stranger"])
def test_a_client_that_is_not_trusted(
    manager: Managers, urls: dict[str, str], files: Folder, twin_id: str, client: str | None
) -> None:
    own = {"cert_file": files[client], "key_file": files[f"{client}-key"]} if client else {}
    with pytest.raises(StoreUnavailable, match=r"where the server asks for a client's certificate|reset by peer"):
        manager(twin_id, url=urls["strict"], ca_file=files["ca"], timeout=4.0, **own)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"ca_file": "missing"}, r"missing\.pem cannot be used: .*No such file"),
        ({"ca_file": "client-key"}, "cannot be used"),
        ({"cert_file": "client", "key_file": "stranger-key"}, "key values mismatch"),
        ({"cert_file": "client"}, "cannot be used"),
        ({"cert_file": "client", "key_file": "missing"}, "No such file"),
    ],
)
def test_files_that_are_none(
    manager: Managers, urls: dict[str, str], files: Folder, twin_id: str, given: dict[str, str], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        manager(twin_id, url=urls["strict"], **{name: files[file] for name, file in given.items()})


def test_one_of_the_two_speaks_no_tls(manager: Managers, urls: dict[str, str], files: Folder, twin_id: str) -> None:
    with pytest.raises(StoreUnavailable, match="redis://localhost"):
        manager(twin_id, url=urls["no TLS"], timeout=1.0)
    with pytest.raises(StoreUnavailable, match="rediss://localhost"):
        manager(twin_id, url=urls["not to TLS"], ca_file=files["ca"], timeout=1.0)


def test_certificates_without_tls_are_refused(manager: Managers, server: Server, files: Folder, twin_id: str) -> None:
    """Whoever names a CA believes that the connection is a safe one."""
    with pytest.raises(UsageError, match="certificates are for rediss://"):
        manager(twin_id, url=server.url, ca_file=files["ca"])


def test_a_cluster_with_tls(manager: Managers, files: Folder, client_certificate: dict[str, Path]) -> None:
    """Its nodes name their ports with TLS to clients that come that way."""
    ports: list[int] = []

    class Secure(Cluster):
        def add(self, *options: str, sentinel: bool = False) -> Node:
            ports.append(free_port())
            tls = (*files.options(ports[-1], "server", "yes"), "--tls-cluster", "yes")
            return super().add(*options, *tls, sentinel=sentinel)

    with Secure(lanes()["redis"], 3, 0):
        url = "rediss+cluster://" + ",".join(f"127.0.0.1:{port}" for port in ports)
        for name in ("a", "b", "c"):
            with manager(name, url=url, **client_certificate) as twin, twin.subscribe(timeout=30) as events:
                twin.update_state({"n": 1})
                assert next(iter(events)).version == 1
        with pytest.raises(StoreUnavailable, match="certificate"):
            manager("d", url=url, timeout=5.0)
