"""circman_redis: validated, lossless, safe to send again."""

from __future__ import annotations

from pydantic import BaseModel

from benchmarks.documents import JSONObject
from benchmarks.rivals import HISTORY
from circman_redis import StateManager
from circman_redis.models import TwinState

NAME = "circman_redis"


class Ours:
    """StateManager.update_state.

    Args:
        url: the server.
        twin: the twin's id.
        model: the model whose rules bind it.
        name: what the tables call it.
    """

    def __init__(self, url: str, twin: str = "ours", model: type[BaseModel] = TwinState, name: str = NAME) -> None:
        self.name = name
        self._url, self._twin, self._model = url, twin, model

    def open(self) -> None:
        """Connects, and publishes the model."""
        self.manager = StateManager(self._twin, url=self._url, model=self._model, history_length=HISTORY)

    def close(self) -> None:
        """Gives back the connections."""
        self.manager.close()

    def put(self, document: JSONObject) -> None:
        """One commit that replaces the state."""
        self.manager.set_state(document)

    def apply(self, patch: JSONObject) -> None:
        """One commit that merges."""
        self.manager.update_state(patch)
