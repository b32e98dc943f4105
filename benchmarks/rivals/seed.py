"""The seed's own way: everything in one process, which is the only one that sees it."""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Callable

from benchmarks.documents import JSONObject
from benchmarks.rivals import HISTORY, merged


class InProcess:
    """A dict behind a lock, copied deeply on every set and get; the past in a deque; listeners are called."""

    name = "in-process, one process"

    def open(self) -> None:
        """Starts with an empty state, and one listener."""
        self._lock = threading.RLock()
        self._state: JSONObject = {}
        self._history: deque[JSONObject] = deque(maxlen=HISTORY)
        self._listeners: list[Callable[[JSONObject], object]] = [len]

    def close(self) -> None:
        """Nothing is held."""

    def get_current_state(self) -> JSONObject:
        """The caller's own copy."""
        with self._lock:
            return copy.deepcopy(self._state)

    def put(self, document: JSONObject) -> None:
        """Replaces the state by a copy, keeps the old one, tells the listeners."""
        with self._lock:
            self._history.append(self._state)
            self._state = copy.deepcopy(document)
            for listener in self._listeners:
                listener(document)

    def apply(self, patch: JSONObject) -> None:
        """Gets the state, merges, sets it."""
        with self._lock:
            self.put(merged(self.get_current_state(), patch))
