"""audit: whether a twin's history is what its clients were told."""

from __future__ import annotations

from dataclasses import asdict

import click

from circman_redis.audit import audit, read_logs
from circman_redis.cli._options import Target, connected, example
from circman_redis.cli._output import console, emit_facts, emit_value, on_terminal
from circman_redis.results import AuditReport
from circman_redis.view.words import printable

_MEANINGS = {
    "found": "there once, as told",
    "lost": "not there, and should be",
    "doubled": "there more than once",
    "differing": "there otherwise than told",
    "beyond": "older than the history: cannot be told",
    "made": "unacknowledged, and there",
    "not_made": "unacknowledged, and not there",
    "untold": "unacknowledged, and not there, or older than the history",
    "unlogged": "there, and in no log",
    "torn": "lines of the logs that were not written to their end",
}


@click.command("audit", epilog=example("circman-redis audit --log client.log --twin plant"))
@click.option("--log", "logs", type=click.Path(), multiple=True, help="What a client logged; may be repeated.")
@connected
def audit_command(target: Target, logs: tuple[str, ...]) -> None:
    """Prove the history, and what clients were told of their commits.

    Versions without a gap, each state its predecessor with its patch applied, no commit id twice; with --log, each
    acknowledged commit there once, each refused one not at all. Changes nothing. Exit code 1 where it does not hold.
    When piped, one JSON object.
    """
    log = read_logs(logs)  # first: whatever it says was made by then
    with target.session() as session:
        report = session.ask(audit(session.keys, log))
        twin = session.keys.twin
    if on_terminal():
        _print(twin, report, logged=bool(logs))
    else:
        emit_value({"twin": twin, "ok": report.ok, **asdict(report)})
    click.get_current_context().exit(0 if report.ok else 1)


def _print(twin: str, report: AuditReport, *, logged: bool) -> None:

    emit_facts(f"twin {printable(twin)}", dict(_facts(report, logged=logged)))
    out = console()
    for finding in report.findings:
        out.print(f"  PROBLEM  {printable(str(finding))}", style="bold red", soft_wrap=True)
    out.print("all holds" if report.ok else f"findings: {len(report.findings)}", style="bold")


def _facts(report: AuditReport, *, logged: bool) -> list[tuple[str, object]]:

    facts: list[tuple[str, object]] = [
        ("epoch", report.epoch or None),
        ("versions", f"{report.first:,} to {report.last:,}"),
        ("commits", f"{report.commits:,}, with {report.ids:,} ids"),
    ]
    if logged:
        facts.append(("acknowledged", f"{report.acknowledged:,}"))
        counts = {name: getattr(report, name) for name in _MEANINGS}
        facts += [(name, f"{count:,}  {_MEANINGS[name]}") for name, count in counts.items() if count]
        facts.append(("refused", f"{report.refused:,}"))
    return facts
