"""Which ``response.create`` a response came from, so that its follow-up can be asked for in the same way. Pure."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import attrs

__all__ = ["Origins", "is_inside"]

_MOST = 64  # remembered of each kind; older ones were never answered


@attrs.frozen
class _Asked:
    event_id: str
    wanted: Mapping[str, Any]  # the response object of the event

    @property
    def inside(self) -> bool:
        return self.wanted.get("conversation") != "none"


def is_inside(response: Mapping[str, Any]) -> bool:
    """Tell whether a response writes to the conversation; the server says null for one that does not."""
    return response.get("conversation_id", "") is not None


class Origins:
    """Matches responses to what asked for them: by their metadata, and where those are not echoed by the order.

    A response that nobody asked for (voice detection did) has no origin.

    Threads:
        Any thread sends, the reader tells what the server says, any thread asks.
    """

    def __init__(self) -> None:
        # Guards everything here. Held for bookkeeping only.
        self._lock = threading.Lock()
        self._asked: list[_Asked] = []  # and not answered, in their order
        self._found: dict[str, _Asked | None] = {}  # by response id; None: nobody asked
        self._echoed = False  # the server does echo metadata

    def sent(self, wire: Mapping[str, Any]) -> None:
        """Note a ``response.create`` that goes out."""
        wanted = wire.get("response")
        with self._lock:
            self._asked.append(_Asked(str(wire.get("event_id")), wanted if isinstance(wanted, Mapping) else {}))
            del self._asked[:-_MOST]

    def created(self, response: Mapping[str, Any]) -> None:
        """Note a response that began; again does nothing."""
        response_id, metadata = str(response.get("id")), response.get("metadata") or {}
        with self._lock:
            if response_id in self._found:
                return
            self._echoed = self._echoed or bool(metadata)
            mine = [asked for asked in self._asked if asked.inside == is_inside(response)]
            same = [asked for asked in mine if (asked.wanted.get("metadata") or {}) == metadata]
            found = same or ([] if self._echoed else mine)
            if found:
                self._asked.remove(found[0])
            self._found[response_id] = found[0] if found else None
            while len(self._found) > _MOST:
                del self._found[next(iter(self._found))]

    def refused(self, event_id: str | None) -> None:
        """Note an error about a client event: a response that was taken for its answer is somebody else's."""
        with self._lock:
            self._asked = [asked for asked in self._asked if asked.event_id != event_id]
            for response_id, asked in self._found.items():
                if asked is not None and asked.event_id == event_id:
                    self._found[response_id] = None

    def of(self, response_id: str) -> Mapping[str, Any] | None:
        """Return the ``response`` object that asked for a response; ``None`` where none is known."""
        with self._lock:
            found = self._found.get(response_id)
        return None if found is None else found.wanted

    def forget_connection(self) -> None:
        """Expect no answers to what went out before."""
        with self._lock:
            self._asked.clear()
