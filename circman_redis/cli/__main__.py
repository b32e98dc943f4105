"""``python -m circman_redis.cli`` is ``circman-redis``."""

import sys

from circman_redis.cli import main

sys.exit(main())
