"""``python -m benchmarks``: everything, on every server at hand; see benchmarks/README.md."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import facts, headlines, table
from benchmarks.measure import Line, Report, Scale
from tests.servers import Server, lanes

MODULES = (
    "merging",
    "rivals_side_by_side",
    "calls",
    "writers",
    "mirror",
    "events",
    "history",
    "subscribers",
    "twins",
)
QUICK = Scale(rounds=3, calls=40, seconds=2.0)
HERE = Path(__file__).parent


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints the table, and writes it down; how many modules failed."""
    options = _options(argv)
    servers = {lane: binary for lane, binary in lanes().items() if options.lane in {None, lane}}
    if not servers:
        sys.exit(f"there is no server {options.lane!r} here: {', '.join(lanes())}")
    found = facts.of_this_machine(servers)
    print(table.facts_as_text(found), flush=True)
    report = Report()
    failed = 0
    for lane, binary in servers.items():
        for name in options.only:
            failed += not _measure(name, lane, Server(binary), QUICK if options.quick else Scale(), report)
        print(table.as_text(lane, report.lines), flush=True)
    in_part = bool(options.quick or options.lane or options.only != MODULES or failed)
    table.write(HERE / "out" if in_part else HERE, found, report)
    if not in_part:
        readme = HERE.parent / "README.md"
        readme.write_text(headlines.put_into(readme.read_text(encoding="utf-8"), report.lines), encoding="utf-8")
    return failed


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that it runs, not for the figures")
    parser.add_argument("--only", type=_names, default=MODULES, metavar="NAMES", help=f"some of {','.join(MODULES)}")
    parser.add_argument("--lane", help="one server only, such as valkey")
    return parser.parse_args(argv)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = set(names) - set(MODULES)
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not among {', '.join(MODULES)}")
    return names


def _measure(name: str, lane: str, server: Server, scale: Scale, report: Report) -> bool:
    """One module on a server of its own; what goes wrong in it is a line, and the rest goes on."""
    begun, done = time.monotonic(), False
    try:
        importlib.import_module(f"benchmarks.{name}").run(server.start(), lane, scale, report)
        done = True
    except Exception as error:  # noqa: BLE001 - whatever it is, the other modules have nothing to do with it
        first = next(iter(str(error).splitlines()), "")
        report.lines.append(Line(f"{name} failed", lane, None, note=f"{type(error).__name__}: {first}"))
    finally:
        server.stop()
    print(f"{lane}: {name}, {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    return done


if __name__ == "__main__":
    sys.exit(main())
