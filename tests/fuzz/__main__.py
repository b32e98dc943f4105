"""Round after round of this folder, with other examples in each, until the minutes are over or something fails."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
parser.add_argument("--minutes", type=float, default=10)
parser.add_argument("--examples", type=int, default=10, help="times as many in each round as a usual run has")
known, more = parser.parse_known_args()

until = time.monotonic() + 60 * known.minutes
failed = 0
while not failed and time.monotonic() < until:
    command = [sys.executable, "-m", "pytest", "tests/fuzz", "-q", "--timeout=0", *more]
    environment = os.environ | {"CIRCMAN_FUZZ_EXAMPLES": str(known.examples)}
    failed = subprocess.run(command, env=environment, check=False).returncode
sys.exit(failed)
