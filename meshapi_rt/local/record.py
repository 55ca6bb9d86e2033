"""What a server remembers and shows: events that went over the wire, and sessions that are open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from .turn import TurnItem

__all__ = ["Record", "SessionInfo"]


@attrs.frozen
class Record:
    """One frame of a recorded server, in the order of the wire.

    Attributes:
        session_id: The session, or ``None`` where it never began.
        sender: ``server`` or ``client``.
        event: The object of a text frame; ``None`` for binary frames and for text that is no JSON object.
        size: The length of the frame: characters of text, bytes of binary.
    """

    session_id: str | None
    sender: str
    event: Mapping[str, Any] | None = attrs.field(repr=False)
    size: int


@attrs.frozen
class SessionInfo:
    """A picture of an open session.

    Attributes:
        id: As in ``session.id``.
        model: The id that the client asked for.
        settings: The effective session object.
        items: The conversation, oldest first.
    """

    id: str
    model: str
    settings: Mapping[str, Any] = attrs.field(repr=False)
    items: Sequence[TurnItem]
