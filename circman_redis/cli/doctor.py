"""doctor: what is wrong with a server, or a twin, in words."""

from __future__ import annotations

import click
import redis

from circman_redis import doctor, doctor_facts
from circman_redis.cli._options import Target, connected, example
from circman_redis.cli._output import console, emit_value, on_terminal
from circman_redis.cli._session import connect, settings_of
from circman_redis.connection import Store
from circman_redis.doctor import Finding, as_json
from circman_redis.errors import EmbeddedUnavailable, StoreError, StoreUnavailable
from circman_redis.keys import TwinKeys
from circman_redis.settings import Settings
from circman_redis.urls import EMBEDDED
from circman_redis.view.words import printable

_MARKS = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "problem": ("PROBLEM", "bold red")}
_PATIENCE = 3.0  # seconds: a doctor's patient either answers or does not


@click.command("doctor", epilog=example("circman-redis doctor --url redis://localhost:6379/0"))
@connected
def doctor_command(target: Target) -> None:
    """Say in words what is wrong with the server or the twin, and what to do.

    Looks at reach, version, persistence, eviction, notifications, rights, clock, and whether the twin's state, meta,
    history and times agree; changes nothing. Exit code 1 where there is a problem. When piped, one JSON object per
    finding.
    """
    findings = _examine(target)
    _print(findings)
    problems = sum(one.level == "problem" for one in findings)
    click.get_current_context().exit(1 if problems else 0)


def _examine(target: Target) -> list[Finding]:

    settings = settings_of(target)
    settings = settings.model_copy(update={"retries": 0, "timeout": min(settings.timeout, _PATIENCE)})
    try:
        store = connect(settings)
    except EmbeddedUnavailable as error:
        return [Finding("problem", "reach", str(error))]
    try:
        return _look(store, settings)
    finally:
        store.close()


def _look(store: Store, settings: Settings) -> list[Finding]:

    keys = TwinKeys(settings.twin, settings.prefix)
    store = store.at(keys.state) if store.at else store
    embedded = (settings.redis_url or EMBEDDED).startswith(EMBEDDED)
    try:
        facts = doctor_facts.read_server(store, keys, embedded=embedded)
    except redis.RedisError as error:
        return [doctor.unreachable(store.name, error)]
    found = doctor.server_findings(facts)
    try:
        return found + doctor.twin_findings(doctor_facts.read_twin(store, keys))
    except (redis.ConnectionError, redis.TimeoutError, StoreUnavailable) as error:
        return [*found, doctor.Finding("problem", "reach", f"no answer any more: {error}", "look again")]
    except (redis.ResponseError, StoreError) as error:
        return [*found, doctor.Finding("warning", "twin", f"could not look: {error}")]


def _print(findings: list[Finding]) -> None:

    if not on_terminal():
        for finding in findings:
            emit_value(as_json(finding))
        return
    from rich.table import Table  # noqa: PLC0415 - only a terminal needs it
    from rich.text import Text  # noqa: PLC0415

    out = console()
    for finding in findings:
        mark, colour = _MARKS[finding.level]
        line = Table.grid(padding=(0, 1))
        line.add_column(width=7, justify="right", style=colour)
        line.add_column(width=13, style="bold")
        line.add_row(mark, finding.about, Text(printable(finding.says)))
        out.print(line)
        if finding.advice:  # as one line, to be copied
            out.print(f"{'':21} -> {printable(finding.advice)}", soft_wrap=True)
