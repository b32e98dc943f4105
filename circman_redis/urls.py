"""Pure: where a server is, and what it is called, by its URL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.connection import parse_url

from circman_redis.errors import UsageError

EMBEDDED = "embedded://"
SENTINEL_PORT, PORT = 26379, 6379

Kind = Literal["embedded", "single", "sentinel", "cluster"]
Address = tuple[str, int]

_KINDS: dict[str, Kind] = {
    "redis": "single",
    "rediss": "single",
    "unix": "single",
    "redis+sentinel": "sentinel",
    "rediss+sentinel": "sentinel",
    "redis+cluster": "cluster",
    "rediss+cluster": "cluster",
}
_KNOWN = (
    "redis://host:6379/0, rediss://... (TLS), unix:///path, embedded:///folder, "
    "redis+sentinel://h1:26379,h2:26379/service or redis+cluster://h1:7000,h2:7000"
)
_ENCODE = "it cannot be read; in a password write / as %2F, # as %23, ? as %3F, @ as %40, [ as %5B"

_STRAY_SECRET = re.compile(r"(password=)[^&]*", re.IGNORECASE)  # of a URL that was written wrongly


@dataclass(frozen=True, slots=True)
class Location:
    """Where a server is.

    Attributes:
        kind: how it is reached.
        name: the URL without its passwords.
        nodes: host and port of each Sentinel, or of each node to begin with.
        service: what the Sentinels call it.
        options: what redis-py's connections take; there may be a password in it.
        sentinel_options: the same, for connections to Sentinels.
    """

    kind: Kind
    name: str
    nodes: tuple[Address, ...] = ()
    service: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    sentinel_options: Mapping[str, Any] = field(default_factory=dict, repr=False)


def locate(url: str | None) -> Location:
    """Where the server of a URL is; None is the embedded one.

    Raises:
        UsageError: for a URL that cannot be read, or whose scheme is not known.
    """
    if url is None or url.startswith(EMBEDDED):
        return Location("embedded", f"embedded server in {embedded_folder(url)}")
    scheme, _, rest = url.partition("://")
    kind = _KINDS.get(scheme)
    if kind is None:
        raise UsageError(f"url {without_password(url)!r}: use {_KNOWN}")
    try:
        if kind == "single":
            return Location(kind, without_password(url), options=_parse(url))
        return _locate_many(kind, url, scheme, rest)
    except ValueError:
        # Without the reason, which shows a part of what stands in the place of the host: maybe of a password.
        raise UsageError(f"url {without_password(url)!r}: {_ENCODE}") from None


def _locate_many(kind: Kind, url: str, scheme: str, rest: str) -> Location:
    rest, _, query = rest.partition("?")
    netloc, _, path = rest.partition("/")
    credentials, at, hosts = netloc.rpartition("@")
    default_port = SENTINEL_PORT if kind == "sentinel" else PORT
    nodes = tuple(_address(one, default_port) for one in hosts.split(","))
    service, _, database = path.partition("/") if kind == "sentinel" else ("", "", path)
    if kind == "sentinel" and not service:
        raise UsageError(f"url {without_password(url)!r}: name the service behind the Sentinels, .../mymaster")
    if kind == "cluster" and database not in {"", "0"}:
        raise UsageError(f"url {without_password(url)!r}: a cluster has one database, 0")
    options = _parse(f"redis://{credentials}{at}host/{database}?{query}")
    if options.pop("host", None) != "host":
        raise ValueError("credentials that end the host's part of a URL")
    if scheme.startswith("rediss"):
        options["ssl"] = True
    sentinel_options = {name.removeprefix("sentinel_"): options.pop(name) for name in [*options] if "sentinel_" in name}
    return Location(kind, without_password(url), nodes, unquote(service), options, sentinel_options)


def _parse(url: str) -> dict[str, Any]:
    options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    return options


def _address(text: str, default_port: int) -> Address:
    parts = urlsplit(f"redis://{text}")
    if not parts.hostname:
        raise ValueError("a host without a name")
    return parts.hostname, parts.port or default_port


def identity(url: str | None) -> str:
    """What makes two URLs the same server, however they are spelled: no password, no defaults left out.

    Raises:
        UsageError: for a URL that cannot be read, or whose scheme is not known.
    """
    if url is None or url.startswith(EMBEDDED):
        return EMBEDDED + str(embedded_folder(url))
    where = locate(url)
    options = {name: value for name, value in parse_qsl(url.partition("?")[2]) if not _is_secret(name)}
    options.pop("db", None)
    if where.kind == "single":
        host, port = where.options.get("host", "localhost"), where.options.get("port", PORT)
        place = where.options.get("path") or f"{host}:{port}"
    else:
        place = ",".join(sorted(f"{host}:{port}" for host, port in where.nodes)) + f"/{where.service}"
    more = "".join(f"&{name}={value}" for name, value in sorted(options.items()))
    user, database = where.options.get("username", ""), where.options.get("db", 0)
    return f"{url.partition('://')[0]}://{user}@{place}?db={database}{more}"


def without_password(url: str) -> str:
    """The URL as it may be shown.

    A password that was not percent-encoded may hold any character: all before the last @ is taken for its.
    """
    scheme, mark, rest = url.partition("://") if "://" in url else ("", "", url)
    if scheme not in {"unix", "embedded"} or not rest.startswith("/"):
        credentials, at, rest = rest.rpartition("@")
        user = credentials.partition(":")[0]
        rest = f"{user}@{rest}" if at and user else rest
    path, question, query = rest.partition("?")
    options = [one for one in query.split("&") if not _is_secret(one.partition("=")[0])]
    text = scheme + mark + path + (question if any(options) else "") + "&".join(options)
    return _STRAY_SECRET.sub(r"\1", text)


def _is_secret(option: str) -> bool:
    return option.lower().endswith("password")


def embedded_folder(url: str | None) -> Path:
    """The real folder of an embedded server."""
    folder = named_folder(url)
    if folder is None:
        from circman_redis._embedded_folder import default_folder  # noqa: PLC0415 - needs what only the extra brings

        folder = default_folder()
    try:
        return folder.resolve()
    except ValueError as error:  # a null byte, or text that no file system holds
        raise UsageError(f"url {without_password(url or EMBEDDED)!r}: no name of a folder: {error}") from error


def named_folder(url: str | None) -> Path | None:
    """The folder that the URL of an embedded server names; None for the user's own."""
    if url is None or url == EMBEDDED:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        raise UsageError(f"url {without_password(url)!r}: {_ENCODE}") from None
    path = unquote(parts.netloc + parts.path)
    if not path.startswith("/"):
        raise UsageError(f"url {without_password(url)!r}: name the folder by its full path, embedded:///some/folder")
    return Path(path)
