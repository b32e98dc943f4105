"""One run of the demo: makes its twin, has the workers work on it, and verifies what they were told."""

from __future__ import annotations

import secrets
import shlex
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from circman_redis.demo import around, factory
from circman_redis.demo.around import Readings, Turn
from circman_redis.demo.crew import Crew
from circman_redis.demo.follow import PATIENCE, Around, Follower
from circman_redis.demo.scene import Scene
from circman_redis.demo.story import OPERATOR, Story
from circman_redis.demo.verify import Acknowledged, Verdict, verify
from circman_redis.demo.view import View, choose, complain, say, watch
from circman_redis.errors import CircmanError, ModelMismatch, StateConflict, UsageError
from circman_redis.manager import StateManager
from circman_redis.models import TwinState
from circman_redis.results import HistoryEntry, Snapshot, position
from circman_redis.settings import Settings
from circman_redis.timestamps import parse_timestamp
from circman_redis.twin.domain import DomainEvents
from circman_redis.twin.presence import workers
from circman_redis.twin.thresholds import ThresholdObserver, Thresholds
from circman_redis.urls import embedded_folder, locate
from circman_redis.view.feed import Feed

ACTOR = "demo"

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""

PAGE = 500
"""Commits read back at once."""

RETRIES = 3
"""The parent only looks: it does not wait for a server as long as the workers do."""

RECENT = 5.0
"""Seconds since a twin's last commit in which it may be that another run is at work on it."""

LOOK = 1.0
"""Seconds in which that other run would commit something."""

SHORT = 0.05
"""Seconds between two looks."""

MANY = 5_000
"""Commits that take more than a moment to read back."""

MOST_PROBLEMS = 10
"""Problems that are shown one by one."""


class TwinTaken(UsageError):
    """The twin is not the demo's to make anew."""


def run(number: int, seconds: float, twin: str, url: str | None, prefix: str | None = None) -> int:
    """Runs the demo.

    Args:
        number: how many processes, at least 1.
        seconds: how long they work, above 0.
        twin: the twin's id; one that the demo made is made anew.
        url: the server; None for what the environment says, else the embedded one.
        prefix: what the twin's keys begin with; None for what the environment says.

    Returns:
        0 where all that is claimed holds, 1 where it does not, 130 where it does and Ctrl-C cut the run short.

    Raises:
        TwinTaken: the twin is somebody else's, or at work in another run.
        CircmanError: the server, or the twin, cannot be had.
    """
    with _open(twin, url, prefix) as manager:
        seen = _check_whose_it_is(manager)
        roles = factory.roles(number, seconds)
        token = secrets.token_hex(3)
        with Crew(roles, {"twin": twin, "url": url, "prefix": prefix}) as crew:
            say(introduction(manager, [role.kind for role in roles], seconds, url))
            view = choose(seconds)
            crew.wait_until_ready()
            first = make_twin(manager, token, seen)
            with (
                manager.subscribe(position(first.epoch, first.version)) as commits,
                DomainEvents(manager) as happenings,
                happenings.subscribe(0) as seen_around,
            ):
                Thresholds(manager, happenings).set(*factory.RULES)
                scene = Scene(
                    manager,
                    crew,
                    Follower(Feed(commits), manager.get_current_state(), first.version),
                    Story(manager, crew, seconds, f"{token}/{OPERATOR}/1"),
                    happenings,
                    Around(seen_around),
                )
                crew.go()
                interrupted = _watch(scene, view, seconds)
                if not _report(scene, view, first):
                    return 1
    return INTERRUPTED if interrupted else 0


# --- the twin ----------------------------------------------------------------------------------------------


def _open(twin: str, url: str | None, prefix: str | None) -> StateManager:
    try:
        return StateManager(
            twin,
            url=url,
            prefix=prefix,
            actor=ACTOR,
            model=TwinState,
            validation=factory.VALIDATION,
            retries=RETRIES,
        )
    except ModelMismatch as error:
        raise TwinTaken(f"{_not_ours(twin)}: {error}") from error


def _not_ours(twin: str) -> str:
    return (
        f"twin {twin!r} was not made by this demo, and is left as it is "
        f"(choose another with --twin, or remove it: circman-redis delete --twin {twin})"
    )


def _check_whose_it_is(manager: StateManager) -> Snapshot:
    before = manager.snapshot()
    if not before.version:
        if manager.client.exists(manager.keys.state):
            raise TwinTaken(f"{_not_ours(manager.twin)}: something else wrote its state")
        return before
    if not factory.is_demo(before.state):
        last = f"it is at version {before.version}, written by {before.actor!r}"
        raise TwinTaken(f"{_not_ours(manager.twin)}: {last}")
    if _is_at_work(manager, before):
        raise TwinTaken(f"another run of the demo is at work on twin {manager.twin!r}: choose another with --twin")
    return before


def _is_at_work(manager: StateManager, before: Snapshot) -> bool:
    """Whether somebody commits to the twin at this moment."""
    committed = parse_timestamp(before.committed_at or "").timestamp()
    now, _ = manager.client.time()
    deadline = time.monotonic() + (LOOK if now - committed < RECENT else 0.0)
    while time.monotonic() < deadline:
        time.sleep(SHORT)
        if manager.snapshot().version != before.version:
            return True
    return False


def make_twin(manager: StateManager, token: str, seen: Snapshot) -> Acknowledged:
    """Makes the twin anew, with its model, at version 1.

    Args:
        manager: the twin's.
        token: what tells this run from others.
        seen: the twin as it was found; of several runs that found it so, one gets it.

    Raises:
        TwinTaken: another one did.
    """
    commit_id = f"{token}/{ACTOR}/1"
    try:
        if seen.version:
            manager.update_state({"demo": {"run": token}}, expected_version=seen.version)
            manager.delete()
        manager.publish_model(TwinState, validation=factory.VALIDATION)
        manager.history_length = factory.HISTORY_LENGTH
        made = manager.set_state(factory.initial_state(token), expected_version=0, commit_id=commit_id)
    except StateConflict as error:
        raise TwinTaken(f"another run of the demo made twin {manager.twin!r} at this moment") from error
    return Acknowledged(made.version, made.epoch, commit_id, ACTOR)


# --- while it runs -----------------------------------------------------------------------------------------


def introduction(manager: StateManager, kinds: Sequence[str], seconds: float, url: str | None) -> str:
    """What is about to happen, where, and how to look at it meanwhile."""
    server, options = _server(url)
    processes = "1 process works" if len(kinds) == 1 else f"{len(kinds)} processes work"
    who = ", ".join(f"{number} {kind}" for kind, number in Counter(kinds).items())
    return (
        f"{processes} on the twin {manager.twin!r} for {seconds:g} s: {who}.\n"
        f"Server: {server}. The state meanwhile, from another terminal:\n"
        f"redis-cli {options} GET {shlex.quote(manager.keys.state)}"
    )


def _server(url: str | None) -> tuple[str, str]:
    """The server's name, without its password, and the options that lead redis-cli there."""
    whole = Settings.from_arguments(redis_url=url).redis_url
    where = locate(whole)
    if whole is None or where.kind == "embedded":
        from circman_redis._embedded_folder import socket_path  # noqa: PLC0415 - needs what only the extra brings

        folder = embedded_folder(whole)
        return f"embedded, in {folder}", f"-s {shlex.quote(str(socket_path(folder)))}"
    name = where.name
    if where.kind == "sentinel":
        host, port = where.nodes[0]
        return name, f"-h MASTER  # redis-cli -h {host} -p {port} SENTINEL GET-MASTER-ADDR-BY-NAME {where.service}"
    if where.kind == "cluster":
        host, port = where.nodes[0]
        return name, f"-c -h {host} -p {port}"
    way = f"-s {shlex.quote(urlsplit(name).path)}" if name.startswith("unix:") else f"-u {shlex.quote(name)}"
    return name, way if name == whole else f"{way} --askpass"


def _watch(scene: Scene, view: View, seconds: float) -> bool:
    """Shows the run; whether Ctrl-C ended it."""
    try:
        watch(scene, view, seconds)
    except KeyboardInterrupt:
        complain("interrupted: the workers end, and what was done until now is verified")
        scene.crew.finish()
        return True
    return False


# --- afterwards --------------------------------------------------------------------------------------------


def read_back(manager: StateManager) -> Iterator[HistoryEntry]:
    """Every commit that Redis has, newest first, a page at a time."""
    page = manager.get_commits(limit=PAGE)
    while page:
        yield from page
        page = manager.get_commits(limit=PAGE, before=page[-1].version)


def _report(scene: Scene, view: View, first: Acknowledged) -> bool:
    """Reads everything back, and says what was found; whether all of it holds."""
    manager, crew, story = scene.manager, scene.crew, scene.story
    told = [first, *crew.acknowledged, *([story.merged] if story.merged else [])]
    if len(told) > MANY:
        say(f"reading {len(told)} commits back from Redis ...")
    try:
        there = manager.snapshot()
        readings = Readings(factory.RULES, there.epoch)
        verdict = verify(readings.of(read_back(manager)), told, factory.MATERIALS, there.epoch, _killed(crew))
        happened, astray = _of_what_happened(scene, readings, there.version)
    except CircmanError as error:
        complain(str(error))
        view.conclude("NOT verified: what stands in Redis could not be read back", good=False)
        return False
    say("material balance (start - consumed + restocked = what there should be):")
    for balance in verdict.balances:
        say(f"  {balance}")
    for text in happened:
        say(text)
    stream, missed = _of_the_stream(scene.follower, first.version + 1, there.version)
    say(stream)
    # How workers failed was said as it was seen.
    found = [*verdict.problems, *astray, *missed]
    _complain_of([*crew.new_failures(), *found])
    problems = [*crew.failures, *story.failures, *found]
    view.conclude(conclusion(verdict, len(crew.workers), problems), good=not problems)
    return not problems


def _of_what_happened(scene: Scene, readings: Readings, newest: int) -> tuple[list[str], list[str]]:
    """What there is to say of the thresholds, the line's movers, the branch and the workers; and what is wrong."""
    expected = readings.expected()
    _judge_the_rest(scene, expected)
    scene.around.catch_up(scene.happenings.manager.snapshot().position)
    turns = around.said(scene.around.seen)
    names, killed = [worker.role.name for worker in scene.crew.workers], _killed(scene.crew)
    counts, wrong = around.of_workers(scene.around.seen, names)
    present = [one.name for one in workers(scene.manager, scene.happenings) if one.present]
    of_thresholds = around.of_thresholds(factory.RULES, turns)
    movers = [f"{name} from version {begin} to {end}" for name, begin, end in readings.movers()]
    lines = [
        f"thresholds, as a look at all {newest} commits has them: {'; '.join(of_thresholds)}",
        *([f"the line was moved by {', then by '.join(movers)}"] if movers else []),
        *([scene.story.told] if scene.story.told else []),
        f"workers: {', '.join(f'{number} {word}' for word, number in counts.items())}",
    ]
    still = [f"{name} ended, and counts as present" for name in present if name not in killed]
    return lines, [*around.compare(expected, turns), *wrong, *still]


def _killed(crew: Crew) -> set[str]:
    return {worker.role.name for worker in crew.workers if worker.killed}


def _judge_the_rest(scene: Scene, expected: list[Turn]) -> None:
    """Judges the last commits, which came when the monitors had ended: any observer may."""
    give_up = time.monotonic() + PATIENCE
    with ThresholdObserver(scene.manager, scene.happenings, actor=ACTOR):
        while time.monotonic() < give_up and len(around.said(scene.around.seen)) < len(expected):
            scene.around.take()
            time.sleep(SHORT)


def _of_the_stream(follower: Follower, first: int, newest: int) -> tuple[str, list[str]]:
    """What there is to say of the event stream, and what did not come as it should."""
    try:
        follower.catch_up(newest)
    except CircmanError as error:
        return f"event stream: {error}", [str(error)]
    problems = follower.tape.check(newest)
    return follower.tape.conclusion(first, newest), problems


def _complain_of(problems: Sequence[str]) -> None:
    for problem in problems[:MOST_PROBLEMS]:
        complain(problem)
    if len(problems) > MOST_PROBLEMS:
        complain(f"... and {len(problems) - MOST_PROBLEMS} more")


def conclusion(verdict: Verdict, workers: int, problems: Sequence[str]) -> str:
    """The last line of a run."""
    counts = f"{verdict.commits} commits by {workers} workers, {verdict.lost} lost, {verdict.duplicated} duplicated"
    if problems:
        return f"NOT verified: {counts}; {problems[0]}"
    return f"verified: {counts}, versions 1..{verdict.commits} contiguous"
