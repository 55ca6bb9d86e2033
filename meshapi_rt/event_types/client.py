"""Events that a client sends (protocol.md 2.1)."""

from typing import Literal, TypeAlias, TypedDict

from .base import NotRequired
from .items import ConversationItem
from .responses import RealtimeResponseCreateParams
from .sessions import SessionRequest

__all__ = [
    "ClientEvent",
    "ConversationItemCreateEvent",
    "ConversationItemDeleteEvent",
    "ConversationItemRetrieveEvent",
    "ConversationItemTruncateEvent",
    "InputAudioBufferAppendEvent",
    "InputAudioBufferClearEvent",
    "InputAudioBufferCommitEvent",
    "OutputAudioBufferClearEvent",
    "ResponseCancelEvent",
    "ResponseCreateEvent",
    "SessionUpdateEvent",
]


class _ClientEvent(TypedDict):
    event_id: NotRequired[str | None]


class ConversationItemCreateEvent(_ClientEvent):
    """Add an item; answered by ``conversation.item.added`` and ``.done``. ``previous_item_id`` may be ``"root"``."""

    type: Literal["conversation.item.create"]
    item: ConversationItem
    previous_item_id: NotRequired[str | None]


class ConversationItemDeleteEvent(_ClientEvent):
    """Answered by ``conversation.item.deleted``."""

    type: Literal["conversation.item.delete"]
    item_id: str


class ConversationItemRetrieveEvent(_ClientEvent):
    """Answered by ``conversation.item.retrieved``, with the audio."""

    type: Literal["conversation.item.retrieve"]
    item_id: str


class ConversationItemTruncateEvent(_ClientEvent):
    """Say how much of a spoken item was heard; answered by ``conversation.item.truncated``."""

    type: Literal["conversation.item.truncate"]
    audio_end_ms: int
    content_index: int
    item_id: str


class InputAudioBufferAppendEvent(_ClientEvent):
    """Audio as base64 in the session's input format; not answered."""

    type: Literal["input_audio_buffer.append"]
    audio: str


class InputAudioBufferClearEvent(_ClientEvent):
    """Answered by ``input_audio_buffer.cleared``."""

    type: Literal["input_audio_buffer.clear"]


class InputAudioBufferCommitEvent(_ClientEvent):
    """End the user's turn: the buffer becomes an item. It asks for no response."""

    type: Literal["input_audio_buffer.commit"]


class OutputAudioBufferClearEvent(_ClientEvent):
    """For WebRTC and SIP; refused on a WebSocket."""

    type: Literal["output_audio_buffer.clear"]


class ResponseCancelEvent(_ClientEvent):
    """Without an id the running response; answered by ``response.done``."""

    type: Literal["response.cancel"]
    response_id: NotRequired[str | None]


class ResponseCreateEvent(_ClientEvent):
    """Ask for a response; answered by ``response.created``, at the end ``response.done``."""

    type: Literal["response.create"]
    response: NotRequired[RealtimeResponseCreateParams | None]


class SessionUpdateEvent(_ClientEvent):
    """Change the configuration, all or nothing; answered by ``session.updated``."""

    type: Literal["session.update"]
    session: SessionRequest


ClientEvent: TypeAlias = (
    ConversationItemCreateEvent
    | ConversationItemDeleteEvent
    | ConversationItemRetrieveEvent
    | ConversationItemTruncateEvent
    | InputAudioBufferAppendEvent
    | InputAudioBufferClearEvent
    | InputAudioBufferCommitEvent
    | OutputAudioBufferClearEvent
    | ResponseCancelEvent
    | ResponseCreateEvent
    | SessionUpdateEvent
)
