"""The tools of one live session: what the server is told of them, beside what a user tells it, and their calls."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from ..engine import Engine
from ..message import RealtimeMessage
from .box import Toolbox
from .runs import ToolRunner
from .tool import Approve
from .turn import ToolTurn
from .turns import ToolTurns

__all__ = ["ToolDesk"]


class ToolDesk:
    """Follows a session from its first tool to its end.

    ``tools`` of a session is replaced as a whole (protocol.md 3.6), so every ``session.update`` that brings some gets
    the definitions of the box added on its way out, and one that tells of a change of the box repeats what the user
    gave before. A name that both have is the box's.

    Args:
        engine: The session.
        approve: Decides on calls; see :class:`Tool`.
        timeout: Seconds for a call; see :class:`Tool`.
        rounds: Follow-ups in a row.
    """

    def __init__(self, engine: Engine, *, approve: Approve | None, timeout: float | None, rounds: int) -> None:
        self._engine = engine
        # Guards the rest. Held for looking and changing only.
        self._lock = threading.Lock()
        self._theirs: list[Any] | None = None  # raw tools that the user last sent; None: none yet
        self._before: list[Any] | None = None  # the ones before that
        self._sent_by: str | None = None  # the event id of that update
        self.box = Toolbox(changed=self._tell)
        self.turns = ToolTurns(
            ToolRunner(self.box, timeout=timeout, approve=approve, redact=engine.redact),
            lambda event, line: engine.sender.send(event, 30.0, only=line),
            line=lambda: engine.sender.connection,
            foreign=self._is_theirs,
            settings=lambda: engine.history.settings,
            context=self._context,
            rounds=rounds,
        )
        engine.follower = self

    # -- what the server is told ---

    def _tell(self) -> None:
        self._engine.sender.send(self._update(), 30.0)

    def _update(self) -> dict[str, Any]:
        """Return an update with the user's tools; ours join on the way out."""
        session = {"type": self._engine.history.session_type, "tools": self._raw()}
        return {"type": "session.update", "session": session}

    def _raw(self) -> list[Any]:
        with self._lock:
            given = self._theirs
        return list(self._engine.history.settings.get("tools") or ()) if given is None else given

    def _is_theirs(self, name: str) -> bool:
        return name not in self.box and any(_name(tool) == name for tool in self._raw())

    def _context(self) -> Sequence[Mapping[str, Any]]:
        return [{"type": "item_reference", "id": item.id} for item in self._engine.history.items]

    # -- the session's side: Follower ---

    def sends(self, wire: dict[str, Any]) -> None:
        """Add the definitions to an update that replaces them."""
        session = wire.get("session")
        if attrs.has(type(session)):
            session = attrs.asdict(session, recurse=False)  # type: ignore[arg-type]
        if wire["type"] != "session.update" or not isinstance(session, Mapping):
            self.turns.sent(wire)
        elif isinstance(session.get("tools"), (list, tuple)):
            ours = self.box.definitions()
            names = {tool["name"] for tool in ours}
            theirs = [tool for tool in session["tools"] if _name(tool) not in names]
            with self._lock:
                self._before, self._theirs, self._sent_by = self._theirs, theirs, wire["event_id"]
            wire["session"] = {**session, "tools": [*theirs, *ours]}

    def observe(self, message: RealtimeMessage) -> bool:
        """Take in a message; tell whether it is nobody else's business."""
        if message.error is not None and message.error.event_id is not None:
            with self._lock:
                if message.error.event_id == self._sent_by:
                    self._theirs = self._before
        return self.turns.observe(message)

    def turn_of(self, response_id: str) -> ToolTurn | None:
        """Return what becomes of the calls of a response; ``None`` where none run here."""
        return self.turns.turn_of(response_id)

    def lost(self) -> None:
        """Note that the connection is gone."""
        self.turns.lost()

    def reconnected(self, restored: Sequence[str], line: object) -> None:
        """Go on; tools that the server did not know yet when the connection broke are told again."""
        known = {_name(tool) for tool in self._engine.history.settings.get("tools") or ()}
        self.turns.reconnected(restored, line)
        if any(tool.name not in known for tool in self.box):
            self.turns.post(self._update)

    def close(self) -> None:
        """Note that the session is over."""
        self.turns.close()

    def join(self, timeout: float) -> None:
        """Wait for the thread to end."""
        self.turns.join(timeout)


def _name(tool: object) -> object:
    return tool.get("name") if isinstance(tool, Mapping) and tool.get("type") == "function" else None
