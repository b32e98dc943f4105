"""Several processes count on one twin; nothing is lost, nothing is counted twice."""

import multiprocessing

from circman_redis import StateManager

WRITERS, EACH = 4, 100


def count(name: str) -> None:
    """One writer: it opens the twin by itself."""
    with StateManager("several-writers", actor=name) as twin:
        for _ in range(EACH):
            twin.adjust({"/count": 1})


if __name__ == "__main__":
    with StateManager("several-writers", actor="main") as twin:
        twin.set_state({"count": 0})
        first = twin.snapshot().version
        context = multiprocessing.get_context("spawn")
        writers = [context.Process(target=count, args=(f"writer-{n}",)) for n in range(WRITERS)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        count_there, version = twin.get_current_state()["count"], twin.snapshot().version
        print(f"{WRITERS} writers x {EACH}: count {count_there}, {version - first} commits")
