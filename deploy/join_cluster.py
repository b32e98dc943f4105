"""Makes one cluster of the nodes in NODES, which run. Run again, it does only what is not done yet."""

import os
import sys
import time
from pathlib import Path

from redis import RedisError

from circman_redis.errors import CircmanError
from circman_redis.local_cluster import BUS_OFFSET, MASTERS, Address, join

PATIENCE = 120.0  # seconds


def answers(node: Address) -> bool:
    """Whether a node has started, and read its data."""
    with node.client() as client:
        try:
            return bool(client.ping())
        except RedisError:
            return False


def main() -> None:
    """Waits for the nodes, and joins them."""
    password = Path(os.environ["OPERATOR_PASSWORD_FILE"]).read_text(encoding="utf-8").strip("\r\n")
    nodes = []
    for one in os.environ["NODES"].split(","):
        host, _, port = one.rpartition(":")
        nodes.append(Address(int(port), int(port) + BUS_OFFSET, host, "operator", password))
    deadline = time.monotonic() + PATIENCE
    while waited_for := [f"{node.host}:{node.port}" for node in nodes if not answers(node)]:
        if time.monotonic() > deadline:
            sys.exit(f"no answer from {', '.join(waited_for)}: look into their logs")
        time.sleep(0.2)
    try:
        join(nodes, MASTERS, timeout=PATIENCE)
    except CircmanError as error:
        sys.exit(str(error))
    print(f"{len(nodes)} nodes are one cluster")  # noqa: T201 - what `docker compose logs` shows


if __name__ == "__main__":
    main()
