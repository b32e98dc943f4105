"""The same twins as the tests of the scripts have."""

from tests.lua.conftest import bytes_client, raw, stamped

__all__ = ["bytes_client", "raw", "stamped"]
