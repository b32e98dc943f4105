"""The calls of a twin, in the order one meets them. Run it twice: the state is still there."""

from circman_redis import StateConflict, StateManager, StateValidationError

with StateManager("quickstart", actor="quickstart") as twin:
    print("before:", twin.snapshot().version, twin.get_current_state())

    # A merge patch (RFC 7396): what it names changes, and not one other byte.
    commit = twin.update_state(
        {
            "system_status": "running",
            "production_line": {"temperature": 22.5},
            "materials": {"silicon_wafer": {"inventory": 1000, "quality": 0.95}},
        }
    )
    print("committed version", commit.version, "at", commit.committed_at)

    # Atomic arithmetic: any number of processes may do this at once.
    twin.adjust({"/materials/silicon_wafer/inventory": -5})

    # Rules are checked inside the commit, for every writer.
    try:
        twin.adjust({"/materials/silicon_wafer/inventory": -5000})
    except StateValidationError as error:
        print("refused:", error.violations[0])

    # Optimistic concurrency: only on top of the version that was seen.
    try:
        twin.update_state({"system_status": "idle"}, expected_version=commit.version)
    except StateConflict as error:
        print("conflict:", error)

    for change in twin.diff(commit.version):
        print("changed:", change.pointer, change.before, "->", change.after)
    print("past states:", len(twin.state_history))
