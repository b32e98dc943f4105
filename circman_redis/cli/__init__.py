"""The command line. Nothing heavy is imported until a command needs it: ``--help`` has to be quick."""

from __future__ import annotations

import os
import sys

EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 and the signal, as shells have it
EXIT_PIPE_CLOSED = 141


def main() -> int:
    """Runs ``circman-redis`` with the arguments of the process.

    Returns:
        The exit code, where the command line did not exit by itself.
    """
    if sys.stdout is None:  # started with it closed (>&-): nobody reads, which is no mishap
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - to the end of the process
    try:
        from circman_redis.cli._group import cli  # noqa: PLC0415 - so that a missing click can be explained

        cli(prog_name="circman-redis")
    except ModuleNotFoundError as error:
        if error.name not in {"click", "rich"}:
            raise
        sys.stderr.write(f"circman-redis needs {error.name}: pip install 'circman-redis[cli]'\n")
        return EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0
