"""Pure: which of our errors one of redis-py is, and whether the server will answer otherwise in a while."""

from __future__ import annotations

import re
import ssl

import redis.exceptions as theirs

from circman_redis.errors import (
    NotPermitted,
    ReadOnlyReplica,
    ScriptBusy,
    StoreError,
    StoreFull,
    StoreUnavailable,
    WritesRefused,
)

OURS: dict[type[Exception], type[StoreError]] = {
    # No answer, or not from the right server.
    theirs.ConnectionError: StoreUnavailable,
    theirs.TimeoutError: StoreUnavailable,
    theirs.BusyLoadingError: StoreUnavailable,
    theirs.MaxConnectionsError: StoreUnavailable,
    theirs.InvalidResponse: StoreUnavailable,
    theirs.ClusterError: StoreUnavailable,
    theirs.ClusterDownError: StoreUnavailable,
    theirs.MasterDownError: StoreUnavailable,
    theirs.TryAgainError: StoreUnavailable,
    theirs.AskError: StoreUnavailable,
    theirs.MovedError: StoreUnavailable,
    theirs.RedisClusterException: StoreUnavailable,
    theirs.SlotNotCoveredError: StoreUnavailable,
    # Not this user.
    theirs.AuthenticationError: NotPermitted,
    theirs.AuthorizationError: NotPermitted,
    theirs.AuthenticationWrongNumberOfArgsError: NotPermitted,
    theirs.ExternalAuthProviderError: NotPermitted,
    theirs.NoPermissionError: NotPermitted,
    # No writes.
    theirs.ReadOnlyError: ReadOnlyReplica,
    theirs.OutOfMemoryError: StoreFull,
    # What we never ask for, and whatever else a server says.
    theirs.RedisError: StoreError,
    theirs.ResponseError: StoreError,
    theirs.NoScriptError: StoreError,
    theirs.ExecAbortError: StoreError,
    theirs.ModuleError: StoreError,
    theirs.NoSuchFieldsetError: StoreError,
    theirs.ClusterCrossSlotError: StoreError,
    theirs.CrossSlotTransactionError: StoreError,
    theirs.InvalidPipelineStack: StoreError,
    theirs.DataError: StoreError,
    theirs.PubSubError: StoreError,
    theirs.WatchError: StoreError,
    theirs.LockError: StoreError,
    theirs.LockNotOwnedError: StoreError,
    theirs.ChildDeadlockedError: StoreError,
    theirs.IncorrectPolicyType: StoreError,
}
"""Each exception of redis-py by the class that it is nearest to."""

CODES: dict[str, type[StoreError]] = {
    "BUSY": ScriptBusy,
    "UNKILLABLE": ScriptBusy,
    "MISCONF": WritesRefused,
    "NOREPLICAS": WritesRefused,
    "NOPERM": NotPermitted,
    "NOAUTH": NotPermitted,
    "WRONGPASS": NotPermitted,
    "OOM": StoreFull,
    "READONLY": ReadOnlyReplica,
}
"""The first word of an error reply for which redis-py has no class, or which a script passed on."""

_PASSING_CODES = {
    "BUSY",
    "UNKILLABLE",
    "LOADING",
    "READONLY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "NOREPLICAS",
    "UNBLOCKED",  # a WAIT, as its server became a replica
    "MOVED",
    "ASK",
}
_CLIENT = re.compile(r"<redis\.[\w.]+\(<.*?\bhost=([^,)]+),port=(\d+).*?\)>\)>\)>")
"""A client with all its settings, of which the address is worth reading."""
_NOT_THIS_USER = (theirs.AuthenticationError, theirs.AuthorizationError)
_PASSING = (
    theirs.ConnectionError,
    theirs.TimeoutError,
    theirs.ClusterError,
    theirs.TryAgainError,
    theirs.ReadOnlyError,
    theirs.AskError,
)


def kind_of(error: BaseException) -> type[StoreError]:
    """Which of our errors it is."""
    if is_refused(error):
        return NotPermitted
    if isinstance(error, theirs.ResponseError) and _code(error) in CODES:
        return CODES[_code(error)]
    return next(OURS[kind] for kind in type(error).__mro__ if kind in OURS)


def is_lost(error: BaseException) -> bool:
    """Whether a call may have been carried out without an answer."""
    no_answer = (theirs.ConnectionError, theirs.TimeoutError, theirs.InvalidResponse)
    return isinstance(error, no_answer) and not _is_in(error, (*_NOT_THIS_USER, theirs.BusyLoadingError))


def is_refused(error: BaseException) -> bool:
    """Whether the server does not want this user, which does not get better.

    Where it connects to a unix socket for asyncio, or to a cluster, redis-py wraps that in another error.
    """
    return _is_in(error, _NOT_THIS_USER)


def is_passing(error: BaseException | None) -> bool:
    """Whether the same call is worth another try: nobody answered, or the server will answer otherwise in a while."""
    if isinstance(error, theirs.ResponseError) and _code(error) in _PASSING_CODES:
        return True
    return isinstance(error, _PASSING) and not is_refused(error) and not _is_untrusted(error)


def said(error: BaseException) -> str:
    """What the error says, in few words, and what to do about it, where TLS did not come about."""
    return _CLIENT.sub(r"\1:\2", str(error)) + _advice_on(error)


def _advice_on(error: BaseException) -> str:
    found = _tls_error(error)
    if isinstance(found, ssl.SSLCertVerificationError):
        said = found.verify_message.lower()
        if "mismatch" in said:
            return "; put the name into the URL that the server's certificate is for"
        if "expired" in said:
            return "; have the server's certificate renewed"
        return "; where you trust who issued the server's certificate, name theirs: ca_file, --ca-file, CIRCMAN_CA_FILE"
    if found is not None:
        return "; where the server asks for a client's certificate, give one that it trusts: cert_file and key_file"
    return ""


def ours(error: Exception, place: str) -> StoreError:
    """Our error, where nothing but the server is concerned; to be raised from the other.

    Args:
        error: what redis-py raised.
        place: the server, for the message.
    """
    return kind_of(error)(f"{place}: {said(error)}")


def _is_untrusted(error: BaseException | None) -> bool:
    """Whether the two do not trust each other, which does not get better; a handshake that was cut may."""
    found = _tls_error(error)
    return found is not None and not isinstance(found, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError)


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__  # redis-py raises its own without a cause
    return None


def _code(error: theirs.ResponseError) -> str:
    # redis-py takes the code off where it has a class for it.
    return str(error).partition(" ")[0]


def _is_in(error: BaseException | None, kinds: tuple[type[Exception], ...]) -> bool:
    """Whether it is one of these, or came of one."""
    while error is not None and not isinstance(error, kinds):
        error = error.__cause__
    return error is not None
