"""PostgreSQL jsonb: one UPDATE ... ||, the old state into a capped table, NOTIFY; one statement, one transaction."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from benchmarks.documents import JSONObject
from benchmarks.rivals import HISTORY, NotInstalledError
from benchmarks.rivals.processes import Process

_TABLES = """
CREATE TABLE twin (id text PRIMARY KEY, version bigint NOT NULL, state jsonb NOT NULL);
CREATE TABLE history (
  id text, version bigint, at timestamptz DEFAULT clock_timestamp(), state jsonb, PRIMARY KEY (id, version)
);
INSERT INTO twin VALUES ('twin', 1, '{}');
LISTEN events;
"""

_PUT = "UPDATE twin SET version = version + 1, state = %s::jsonb WHERE id = 'twin'"

_APPLY = f"""
WITH old AS (SELECT * FROM twin WHERE id = 'twin' FOR UPDATE),
  kept AS (INSERT INTO history (id, version, state) SELECT id, version, state FROM old),
  dropped AS (DELETE FROM history USING old WHERE history.id = old.id AND history.version <= old.version - {HISTORY}),
  new AS (
    UPDATE twin SET version = twin.version + 1, state = {{merged}} FROM old WHERE twin.id = old.id
    RETURNING twin.version
  )
SELECT version, pg_notify('events', %s) FROM new
"""

_MOST_NOTIFIED = 7_999
"""Bytes of a notification; a longer patch is not told."""

# As little durability as Redis has without a file: nothing is waited for that goes to the disk.
_OPTIONS = (
    "listen_addresses=",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "shared_buffers=256MB",
    "autovacuum_naptime=5s",
)


class Postgres:
    """A server on a unix socket that writes to the disk when it likes."""

    name = "PostgreSQL jsonb"

    def __init__(self) -> None:
        self._process: Process | None = None
        self._connection: Any = None

    def open(self) -> None:
        """Starts a server with a fresh database."""
        programs = _programs()
        try:
            import psycopg  # noqa: PLC0415 - may be missing
        except ImportError:
            raise NotInstalledError("psycopg is missing: pip install 'psycopg[binary]'") from None
        try:
            self._process = Process(user="postgres")
        except LookupError:
            raise NotInstalledError("postgres refuses to be run by root, and there is no user postgres") from None
        folder = self._process.folder
        data = folder / "data"
        self._process.run([programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"])
        options = [word for option in (*_OPTIONS, f"unix_socket_directories={folder}") for word in ("-c", option)]

        def connects() -> bool:
            try:
                self._connection = psycopg.connect(host=str(folder), user="postgres", autocommit=True)
            except psycopg.OperationalError:
                return False
            return True

        self._process.start([programs / "postgres", "-D", data, *options], connects)
        self._connection.execute(_TABLES)

    def close(self) -> None:
        """Ends the server."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.stop()

    def put(self, document: JSONObject) -> None:
        """Sets the state."""
        self._connection.execute(_PUT, [_json(document)])

    def apply(self, patch: JSONObject) -> None:
        """One statement, so one round trip; psycopg has it prepared, as its text is the same for the same shape."""
        places, values = _merged("old.state", patch)
        text = _json(patch)
        told = text if len(text) <= _MOST_NOTIFIED else ""
        self._connection.execute(_APPLY.format(merged=places), [*values, told])


def _merged(place: str, patch: JSONObject) -> tuple[str, list[str]]:
    """The expression that merges a patch into what stands at ``place``, and its parameters.

    ``||`` is shallow: what an object has besides would be lost. So there is one for each object of the patch.
    """
    flat = {name: value for name, value in patch.items() if value is not None and not isinstance(value, dict)}
    removed = [name for name, value in patch.items() if value is None]
    expression, values = f"({place}{' - %s::text' * len(removed)} || %s::jsonb", [*removed, _json(flat)]
    for name, (inner, inner_values) in _inner(place, patch):
        expression = f"{expression} || jsonb_build_object(%s::text, {inner})"
        values += [name, *inner_values]
    return f"{expression})", values


def _inner(place: str, patch: JSONObject) -> Iterator[tuple[str, tuple[str, list[str]]]]:
    for name, value in patch.items():
        if isinstance(value, dict):
            literal = name.replace("'", "''").replace("%", "%%")
            yield name, _merged(f"coalesce({place}->'{literal}', '{{}}')", value)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _programs() -> Path:
    """Where its programs are; Debian does not put them on the PATH."""
    on_path = shutil.which("postgres")
    if on_path:
        return Path(on_path).parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        raise NotInstalledError("postgres is neither on the PATH nor under /usr/lib/postgresql")
    return found[-1].parent
