"""Settings: from arguments, then the environment (``CIRCMAN_...``), then the defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from circman_redis.durability import Durability
from circman_redis.errors import UsageError
from circman_redis.keys import DEFAULT_PREFIX, DEFAULT_TWIN
from circman_redis.shown import shown
from circman_redis.urls import Location

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
ReadFrom = Literal["master", "replica"]


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
        timeout: seconds that a call may take, all in all.
        retries: how often a call is sent again at most; None for as often as there is time.
        durability: what a commit waits for: none, replicas:N or fsync.
        read_from: who answers calls that read: master or replica.
        allow_eviction: whether to use a server that may evict the state.
        username: the user, where the URL names none.
        password: its password, where the URL has none.
        password_file: a file with nothing but that password in it.
        ca_file: the certificates (PEM) that the server's is checked against; None for the system's.
        cert_file: the client's own certificate (PEM).
        key_file: its private key (PEM).
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
    retries: int | None = Field(default=None, ge=0)
    durability: str = "none"
    read_from: ReadFrom = "master"
    allow_eviction: bool = False
    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @field_validator("actor")
    @classmethod
    def _fits(cls, actor: str | None) -> str | None:
        if actor is not None and len(actor.encode()) > LONGEST_NAME:
            raise ValueError(f"at most {LONGEST_NAME} bytes")
        return actor

    @field_validator("durability")
    @classmethod
    def _is_known(cls, durability: str) -> str:
        Durability.of(durability)
        return durability

    @property
    def credentials(self) -> dict[str, str]:
        """User and password for redis-py, where they are known.

        Raises:
            UsageError: the file with the password cannot be read.
        """
        password = self.password.get_secret_value() if self.password else None
        if self.password_file and password is None:
            password = read_password(self.password_file, "password_file")
        known = {"username": self.username, "password": password}
        return {name: text for name, text in known.items() if text is not None}

    def certificates(self, where: Location) -> dict[str, str]:
        """The files for TLS, as redis-py calls them.

        Raises:
            UsageError: the URL is not one with TLS.
        """
        files = {"ssl_ca_certs": self.ca_file, "ssl_certfile": self.cert_file, "ssl_keyfile": self.key_file}
        given = {name: str(path) for name, path in files.items() if path is not None}
        if given and not where.name.startswith("rediss"):
            raise UsageError(
                f"url {where.name!r}: certificates are for rediss://, rediss+sentinel:// or rediss+cluster://"
            )
        return given

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


def read_password(file: Path | str, name: str) -> str:
    """The password in a file, but for the end of its line.

    Args:
        file: has nothing else in it.
        name: what the argument is called, for the message.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        # Without the reason, which has the password in it.
        raise UsageError(f"{name}={str(file)!r}: it is no text in UTF-8") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{name}={str(file)!r}: {error}") from error


def _source(location: tuple[int | str, ...], given: dict[str, Any]) -> str:
    name = str(location[0]) if location else "settings"
    if name not in given:
        return f"CIRCMAN_{name.upper()}"
    if name in {"password", "redis_url"}:  # there may be a password in it
        return ARGUMENTS.get(name, name)
    return f"{ARGUMENTS.get(name, name)}={shown(given[name])}"
