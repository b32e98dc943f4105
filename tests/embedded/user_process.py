"""A process that uses the embedded server of the folder in its first argument, and does what its input says.

``open`` opens the folder and answers with the server's pid, ``fork`` answers with the pid of a child that
waits to be killed, ``ensure`` calls that, ``zombies`` counts its dead children; anything else is a command
for the server, and answers with its reply. At the end of its input it closes the server and ends.
"""

from __future__ import annotations

import os
import signal
import sys

import psutil

from circman_redis.embedded import EmbeddedServer, open_server
from tests.embedded.helpers import command, server_pid


def main(folder: str, *flags: str) -> None:
    if "deaf" in flags:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
    server: EmbeddedServer | None = None
    print("here", flush=True)
    for line in sys.stdin:
        words = line.split()
        if words == ["open"]:
            server = open_server(folder)
        print(answer(server, words), flush=True)
    if server is not None:
        server.close()


def answer(server: EmbeddedServer, words: list[str]) -> object:
    if words == ["open"]:
        return server_pid(server.socket_path)
    if words == ["fork"]:
        return os.fork() or signal.pause()
    if words == ["ensure"]:
        return server.ensure()
    if words == ["zombies"]:
        children = psutil.Process().children()
        return sum(child.status() == psutil.STATUS_ZOMBIE for child in children)
    return command(server.socket_path, *words)


if __name__ == "__main__":
    main(*sys.argv[1:])
