"""Two processes make up one running twin. One is killed: the other takes its role over, and nothing is undone."""

import itertools
import multiprocessing
import threading

from circman_redis import StateManager
from circman_redis.twin import DigitalTwin, Lease, Presence, TwinConfig, holders, workers

TWIN = "two-workers"
PARTS = {"line": "production_line", "weather": "environment"}  # worker -> the part of the state that its sensor reads
PATIENCE = 3.0  # seconds without a word after which a worker counts as gone, and its role is free
CONFIG = TwinConfig(update_frequency=10, log_level="ERROR")


def work(name: str) -> None:
    """One of the two processes. It opens the twin by itself, and updates its own part ten times a second."""
    readings = itertools.count(1)
    stop = threading.Event()
    with StateManager(TWIN, actor=name) as manager, DigitalTwin(CONFIG, state_manager=manager) as twin:
        twin.register_source("sensor", lambda: {PARTS[name]: {"readings": next(readings)}})
        planner = threading.Thread(target=plan, args=(manager, name, stop), daemon=True)
        with Presence(manager, twin.events, name, ["planner"], ttl=PATIENCE):
            planner.start()
            twin.run(stop)  # until SIGTERM
            planner.join(PATIENCE)


def plan(manager: StateManager, name: str, stop: threading.Event) -> None:
    """What one worker at a time may do. One that was only paused, and lost the role meanwhile, gets LeaseLost."""
    with Lease(manager, "planner", name, ttl=PATIENCE):  # waits here until the role is free
        while not stop.wait(0.1):
            manager.update_state({"plan": {"by": name}})


def main() -> None:
    with StateManager(TWIN, actor="main") as manager, DigitalTwin(CONFIG, state_manager=manager) as twin:
        manager.delete()  # what a run that was cut short may have left
        twin.initialize({part: {"readings": 0} for part in PARTS.values()} | {"plan": {"by": ""}})
        departures = twin.events.subscribe(kinds=["worker_left"], timeout=30)
        commits = manager.subscribe(timeout=30)
        spawn = multiprocessing.get_context("spawn")
        processes = {name: spawn.Process(target=work, args=(name,), daemon=True) for name in PARTS}
        for process in processes.values():
            process.start()

        for commit in commits:  # until each has read its sensor, and one of them plans
            if all(commit.state[part]["readings"] for part in PARTS.values()) and commit.state["plan"]["by"]:
                break
        killed = commit.state["plan"]["by"]
        (other,) = PARTS.keys() - {killed}
        assert {worker.name for worker in workers(manager, twin.events)} == {killed, other}
        assert [(role.role, role.holder) for role in holders(manager)] == [("planner", killed)]
        print(f"both are at work; {killed} plans, and {other} stands by")

        processes[killed].kill()
        print(f"kill -9 {killed}")
        heir = next(commit.actor for commit in commits if commit.state["plan"]["by"] != killed)
        assert heir == other
        print(f"{heir} plans now")
        departure = next(departures)
        assert (departure.data["worker"], departure.data["why"]) == (killed, "vanished")
        print(f"{killed} {departure.data['why']}, says {departure.actor}")

        processes[other].terminate()  # SIGTERM: it ends with the commit that is under way
        processes[other].join()
        assert processes[other].exitcode == 0
        assert workers(manager, twin.events) == []

        states = [*manager.get_history(), manager.get_current_state()]
        for part in PARTS.values():
            readings = [state[part]["readings"] for state in states]
            assert readings == sorted(readings)  # one that was undone would have fallen back
            print(f"{part}: {readings[-1]} readings, none undone")
        assert manager.verify() == []
        print(f"{len(states)} states, and the twin is whole")
        manager.delete()


if __name__ == "__main__":
    main()
