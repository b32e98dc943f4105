"""What if the line ran cooler? A branch tries it out, and is merged back; a second one meets a conflict."""

from circman_redis import BranchConflict, StateManager
from circman_redis.twin import DigitalTwin, SimulationEngine

STEPS, RUNS, SEED = 240, 50, 7  # four hours in steps of a minute; one seed, so the two differ by what is changed alone
DEFECTS, RATE = "/production_line/defect_rate", "/production_line/production_rate"


def forecast(manager: StateManager) -> dict[str, float]:
    """Where a twin, or a branch of one, is after the steps: means of many runs. The state itself is not touched."""
    parameters = manager.get_current_state()["parameters"]
    future = SimulationEngine(manager).run_ensemble(RUNS, STEPS, parameters=parameters, seed=SEED)
    for pointer in (DEFECTS, RATE):
        low, mean, high = (band[pointer][-1] for band in (future.low, future.mean, future.high))
        print(f"  {manager.twin:<15} {pointer:<32} {mean:8.3f}   (90 % of the runs: {low:.3f} to {high:.3f})")
    return {pointer: future.mean[pointer][-1] for pointer in (DEFECTS, RATE)}


with StateManager("what-if", actor="shift-leader") as manager, DigitalTwin(state_manager=manager) as twin:
    manager.delete()  # what a run that was cut short may have left
    twin.initialize(
        {
            "production_line": {"status": "running", "temperature": 27, "production_rate": 100, "defect_rate": 0.03},
            "materials": {"glass": {"inventory": 4000, "quality": 0.95}},
            "parameters": {"temperature_target": 27},
        }
    )

    # A branch is a twin of its own, in the same hash slot. It may be changed, simulated, or thrown away.
    cooler = twin.fork("cooler")
    cooler.manager.update_state({"parameters": {"temperature_target": 22.5}})
    for change in cooler.diff_to_origin():
        print(f"what if {change.pointer} were {change.after} and not {change.before}? In {STEPS} minutes:")
    before = manager.snapshot()
    as_it_is, as_it_might_be = forecast(manager), forecast(cooler.manager)
    assert as_it_might_be[DEFECTS] < as_it_is[DEFECTS]
    assert as_it_might_be[RATE] > as_it_is[RATE]
    assert manager.snapshot() == before  # a simulation writes nothing

    # The factory did not wait. What it changed elsewhere is no conflict: only what the branch changed is merged.
    twin.update({"materials": {"glass": {"inventory": 3950}}})
    commit = cooler.merge_back(actor="planner")
    assert commit is not None  # which would mean that the branch changed nothing
    state = twin.get_current_state()
    assert state["parameters"]["temperature_target"] == 22.5
    assert state["materials"]["glass"]["inventory"] == 3950
    print(f"merged back as version {commit.version}, with the glass that was used meanwhile")

    # The same place, changed on both sides: nobody is overruled. The conflict says where, and nothing is changed.
    warmer = twin.fork("warmer")
    warmer.manager.update_state({"parameters": {"temperature_target": 24.0}, "system_status": "trial"})
    twin.update({"parameters": {"temperature_target": 21.0}})
    try:
        warmer.merge_back(actor="planner")
    except BranchConflict as conflict:
        assert conflict.pointers == ("/parameters/temperature_target",)
        print("not merged:", conflict)
    else:
        raise AssertionError("a conflict is expected")
    assert twin.get_current_state()["parameters"]["temperature_target"] == 21.0
    assert "system_status" not in twin.get_current_state()

    assert manager.verify() == []
    manager.delete()  # with its branches
