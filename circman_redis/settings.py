"""Settings: from arguments, then the environment (``CIRCMAN_...``), then the defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from circman_redis.errors import UsageError
from circman_redis.keys import DEFAULT_PREFIX, DEFAULT_TWIN

LONGEST_HISTORY = 10**15 - 1
"""What Lua and Redis both count exactly."""

LARGEST_STATE = 512 * 2**20
"""The longest string that Redis holds (proto-max-bulk-len)."""

LONGEST_NAME = 128
"""Bytes of a commit id or an actor."""

ARGUMENTS = {"redis_url": "url", "results_dir": "results"}
"""What StateManager calls a setting, where it is not its own name."""

Validation = Literal["none", "standard", "strict"]
History = Literal["full", "compact"]


class Settings(BaseSettings):
    """What a manager needs to know. Each field is read from ``CIRCMAN_<NAME>`` where no argument gives it.

    Attributes:
        redis_url: where the server is; None for the embedded one.
        twin: the twin's id.
        prefix: what its keys begin with.
        history_length: how many superseded commits to keep; None for the twin's own (1,000 to begin with).
        history: how they are kept, full or compact; None for the twin's own (full to begin with).
        validation: the level that the rules are checked at; None for the twin's own (standard to begin with).
        max_bytes: how large a state may be; None for the twin's own (1 MiB to begin with).
        auto_timestamp: whether the server stamps what has no timestamp; None for the twin's own (yes).
        actor: who commits; None for host name and process id.
        results_dir: where exports go.
        timeout: seconds to wait for one answer of the server.
        retries: how often a call is sent again when the connection fails.
    """

    model_config = SettingsConfigDict(env_prefix="CIRCMAN_", frozen=True, extra="forbid")

    redis_url: str | None = Field(default=None, repr=False)  # there may be a password in it
    twin: str = DEFAULT_TWIN
    prefix: str = DEFAULT_PREFIX
    history_length: int | None = Field(default=None, ge=1, le=LONGEST_HISTORY)
    history: History | None = None
    validation: Validation | None = None
    max_bytes: int | None = Field(default=None, ge=2, le=LARGEST_STATE)
    auto_timestamp: bool | None = None
    actor: str | None = Field(default=None, min_length=1)
    results_dir: Path = Path("results/digital_twin")
    timeout: float = Field(default=10.0, gt=0, le=1e6)
    retries: int = Field(default=8, ge=0)

    @field_validator("actor")
    @classmethod
    def _fits(cls, actor: str | None) -> str | None:
        if actor is not None and len(actor.encode()) > LONGEST_NAME:
            raise ValueError(f"at most {LONGEST_NAME} bytes")
        return actor

    @classmethod
    def from_arguments(cls, **arguments: Any) -> Settings:
        """The settings, given the arguments that are not None.

        Raises:
            UsageError: for a value that is not allowed, naming it and where it may have come from.
        """
        given = {name: value for name, value in arguments.items() if value is not None}
        try:
            return cls(**given)
        except ValidationError as error:
            problems = [f"{_source(one['loc'], given)}: {one['msg']}" for one in error.errors()]
            raise UsageError("; ".join(problems)) from error


def _source(location: tuple[int | str, ...], given: dict[str, Any]) -> str:
    name = str(location[0]) if location else "settings"
    if name not in given:
        return f"CIRCMAN_{name.upper()}"
    return f"{ARGUMENTS.get(name, name)}={given[name]!r}"
