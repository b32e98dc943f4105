"""Everything that a run has to do with."""

from __future__ import annotations

from dataclasses import dataclass

from circman_redis.demo.crew import Crew
from circman_redis.demo.follow import Around, Follower
from circman_redis.demo.story import Story
from circman_redis.manager import StateManager
from circman_redis.twin.domain import DomainEvents


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that a run has to do with.

    Attributes:
        manager: the twin's.
        crew: the workers.
        follower: what was seen of the twin.
        story: what the run does itself.
        happenings: the domain events.
        around: what was seen of those.
    """

    manager: StateManager
    crew: Crew
    follower: Follower
    story: Story
    happenings: DomainEvents
    around: Around
