"""Every event that comes: the server's, its errors, and the one that the SDK adds."""

from typing import Literal, TypeAlias, TypedDict

from .base import Required
from .server_input import ConversationEvent
from .server_output import ResponseEvent

__all__ = [
    "ErrorEvent",
    "RealtimeErrorObject",
    "ReconnectedEvent",
    "ReconnectedEventRestored",
    "ServerEvent",
]


class RealtimeErrorObject(TypedDict, total=False):
    """What the exception ``RealtimeError`` is made from; its ``event_id`` is the client's."""

    type: str | None
    event_id: str | None
    message: Required[str]
    code: str | None
    param: str | None


class ErrorEvent(TypedDict, total=False):
    """Of the model's server, or of the gateway: that one has a ``request_id``, less else, and ends the session."""

    type: Required[Literal["error"]]
    event_id: str
    error: Required[RealtimeErrorObject]
    request_id: str


class ReconnectedEventRestored(TypedDict):
    """What the new connection was told; ``items`` are ids."""

    configuration: bool
    items: list[str]


class ReconnectedEvent(TypedDict):
    """The session goes on over another connection. Made by the SDK; no server sends it.

    ``lost`` has a clause for each thing that is gone, ``seconds`` is the gap, ``dropped_sends`` counts what was
    sent in it and made no sense later, ``planned`` says whether the old connection was merely near its end.
    """

    type: Literal["meshapi.reconnected"]
    source: Literal["meshapi_rt"]
    reason: str
    planned: bool
    seconds: float
    attempts: int
    session_id: str | None
    restored: ReconnectedEventRestored
    lost: list[str]
    dropped_sends: int


ServerEvent: TypeAlias = ConversationEvent | ResponseEvent | ErrorEvent | ReconnectedEvent
