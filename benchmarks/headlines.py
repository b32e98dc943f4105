"""The lines of the table that the project's README shows, on every server."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.measure import Line
from benchmarks.table import number, put_between

BEGIN, END = "<!-- headlines: begin -->", "<!-- headlines: end -->"

_SHOWN = {
    "update_state end to end over a bare redis-py EVALSHA of the same script and arguments, 2 kB": (
        "`update_state`, validated and safe to send again, over a bare redis-py EVALSHA of the same script"
    ),
    "get_current_state over a bare GET and orjson.loads, 2 kB": (
        "`get_current_state` over a bare GET and `orjson.loads`"
    ),
    "update_state end to end over WATCH / MULTI / EXEC, 2 kB": "`update_state`, end to end, over WATCH / MULTI / EXEC",
    "update_state end to end over NATS JetStream KV, 2 kB": "over NATS JetStream KV",
    "update_state end to end over PostgreSQL jsonb, 2 kB": "over PostgreSQL jsonb",
    "8 processes on one twin, throughput over WATCH / MULTI / EXEC, 2 kB": (
        "8 processes on one twin, throughput over WATCH / MULTI / EXEC"
    ),
    "async throughput of update_state, 100 tasks in one process, over one at a time, 2 kB": (
        "100 tasks of one process, throughput over one at a time"
    ),
    "throughput of update_many of 100, per update, over single calls, one process, 2 kB": (
        "`update_many` of 100, throughput over single calls"
    ),
    "mirror read of one value over the seed's deepcopy, 2 kB": "a value from a mirror over a `deepcopy` of the state",
    "commit to handler (on_change), p50, over a bare redis-py publish and listen": (
        "from a commit to its handler over a bare publish and listen, which commits nothing"
    ),
    "look-up by time at 10,000 entries over 100, end to end": "a look-up by time at 10,000 entries over 100",
    "server time of a commit over cjson merge, 0.5 kB": (
        "server time of a commit over a cjson merge, which loses data and checks nothing, 0.5 kB"
    ),
    "server time of a commit over cjson merge, 10 kB": "the same, 10 kB",
    "server time of a commit over cjson merge, 100 kB": "the same, 100 kB",
}
"""A line's words -> those of the README."""


def as_markdown(lines: Iterable[Line]) -> str:
    """A row per line that is shown, a column per server."""
    lines = list(lines)
    lanes = list(dict.fromkeys(line.lane for line in lines))
    found = {(line.what, line.lane): line.ratio for line in lines}
    rows = [("ratio, states of 2 kB unless it says otherwise", *lanes), ("---",) * (1 + len(lanes))]
    for what, words in _SHOWN.items():
        ratios = [found.get((what, lane)) for lane in lanes]
        rows.append((words, *("-" if ratio is None else number(ratio) for ratio in ratios)))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def put_into(text: str, lines: Iterable[Line]) -> str:
    """The README's text, with the headlines between their marks."""
    return put_between(text, BEGIN, END, as_markdown(lines))
