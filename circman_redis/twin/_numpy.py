"""numpy (extra ``twin``), or an error that says how to get it."""

from circman_redis.errors import UsageError

try:
    import numpy as np
except ImportError as error:
    raise UsageError(f"numpy is needed: pip install 'circman-redis[twin]' ({error})") from error

__all__ = ["np"]
