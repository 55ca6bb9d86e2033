"""What may go along with a session: told of what comes and goes, and of the life of its connection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .message import RealtimeMessage

if TYPE_CHECKING:
    from .tools.calls import ToolCall

__all__ = ["Follower", "Turn"]


class Turn(Protocol):
    """A response with calls that are answered here."""

    @property
    def calls(self) -> Sequence[ToolCall]:
        """The calls that have ended so far."""

    @property
    def follow_up(self) -> str | None:
        """The id of the response that answers with the outputs, if one does; settled when the turn is over."""

    def when_over(self, tell: Callable[[Any], object]) -> None:
        """Have *tell* called once it is over; it must not block."""


class Follower(Protocol):
    """Follows one session. None of these may block but :meth:`join`."""

    def sends(self, wire: dict[str, Any]) -> None:
        """Look at an event before it goes out, and change it where need be; any thread."""

    def observe(self, message: RealtimeMessage) -> bool:
        """Take in a message of the server; the reader. Tell whether consumers are not to see it."""

    def turn_of(self, response_id: str) -> Turn | None:
        """Return what becomes of the calls of a response that was observed to its end; any thread."""

    def lost(self) -> None:
        """Note that the connection is gone and another one is looked for; the reader."""

    def reconnected(self, restored: Sequence[str], line: object) -> None:
        """Note that the session goes on with these items on this connection, before messages of it; the reader."""

    def close(self) -> None:
        """Note that the session is over; any thread, any number of times."""

    def join(self, timeout: float) -> None:
        """Wait until nothing is left of it."""
