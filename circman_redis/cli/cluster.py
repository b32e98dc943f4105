"""cluster: six nodes on this machine, to try what runs in a cluster."""

from __future__ import annotations

import signal
import time

import click

from circman_redis.cli._options import example
from circman_redis.cli._output import note
from circman_redis.local_cluster import FIRST_PORT, LocalCluster

_LOOK_AFTER = 1.0  # seconds between two looks at the nodes


@click.command("cluster", epilog=example("circman-redis cluster --port 7000"))
@click.option("--folder", type=click.Path(file_okay=False), help="Where its data is kept; else the user's own.")
@click.option("--port", type=int, default=FIRST_PORT, show_default=True, help="The first of its six ports.")
def cluster_command(folder: str | None, port: int) -> None:
    """Hold a cluster on this machine in the foreground, until Ctrl-C or SIGTERM.

    Three masters with a replica each, on 127.0.0.1, from the bundled server; no password, for programs of this
    machine only. It prints its URL once it serves. All six nodes end with this command; their data stays in the
    folder for the next time.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with LocalCluster(folder, port=port) as cluster:
            click.echo(cluster.url)
            note(f"the demo on it: make demo ARGS='--url {cluster.url}'")
            note(f"its data: {cluster.folder}; Ctrl-C ends it")
            while True:
                time.sleep(_LOOK_AFTER)
                for news in cluster.look_after():
                    note(news)
    except KeyboardInterrupt:
        note("all nodes have ended")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
