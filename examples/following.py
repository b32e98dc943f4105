"""One process follows what others do: every commit, in order, also when the connection is cut in between."""

import multiprocessing

from circman_redis import HistoryGap, StateEvent, StateManager

COMMITS = 200


def work(name: str) -> None:
    """A worker somewhere else."""
    with StateManager("following", actor=name) as twin:
        for n in range(COMMITS // 2):
            twin.update_state({"line": {name: n}})


if __name__ == "__main__":
    with StateManager("following", actor="main") as twin, twin.subscribe() as events:
        context = multiprocessing.get_context("spawn")
        workers = [context.Process(target=work, args=(f"worker-{n}",)) for n in range(2)]
        for worker in workers:
            worker.start()
        seen: list[int] = []
        for event in events:
            match event:
                case StateEvent():
                    seen.append(event.version)
                case HistoryGap():
                    print(f"versions {event.lost[0]} to {event.lost[-1]} left the history before they could be read")
            if len(seen) == COMMITS // 2:
                twin.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # goes unnoticed
            if len(seen) == COMMITS:
                break
        for worker in workers:
            worker.join()
    print(f"{len(seen)} commits, in order: {seen == list(range(seen[0], seen[0] + COMMITS))}")
