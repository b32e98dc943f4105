"""What was measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path

import orjson
import redis

from benchmarks.documents import SIZES, document, size_of, usual
from benchmarks.rivals import HISTORY
from circman_redis import __version__
from tests.servers import version_of

Facts = dict[str, str]


def of_this_machine(servers: Mapping[str, Path]) -> Facts:
    """In words, by what they say.

    Args:
        servers: lane -> binary.
    """
    sizes = (f"{name}: {size_of(document(name)):,} bytes" for name in SIZES)
    patch = usual(document("2 kB"))(1)
    return {
        "machine": f"{os.cpu_count()} cores, {_processor()}, {platform.system()} {platform.machine()}",
        "servers": ", ".join(f"{lane} {version_of(binary)}" for lane, binary in servers.items()),
        "Python": f"{platform.python_version()}, redis-py {redis.__version__}, circman_redis {__version__}",
        "documents": ", ".join(sizes),
        "patch": orjson.dumps(patch).decode(),
        "history": f"{HISTORY} old states",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "unknown processor")
