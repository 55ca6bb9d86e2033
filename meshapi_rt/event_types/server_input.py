"""Server events about the session, the conversation, and what the user says (protocol.md 2.2)."""

from typing import Literal, TypeAlias, TypedDict

from .base import ItemEventBase, NotRequired, Required, ServerEventBase
from .items import ConversationItem
from .told import RealtimeSession, RealtimeTranscriptionSession

__all__ = [
    "ConversationCreatedEvent",
    "ConversationCreatedEventConversation",
    "ConversationEvent",
    "ConversationItemAddedEvent",
    "ConversationItemCreatedEvent",
    "ConversationItemDeletedEvent",
    "ConversationItemDoneEvent",
    "ConversationItemInputAudioTranscriptionCompletedEvent",
    "ConversationItemInputAudioTranscriptionDeltaEvent",
    "ConversationItemInputAudioTranscriptionFailedEvent",
    "ConversationItemInputAudioTranscriptionSegmentEvent",
    "ConversationItemRetrievedEvent",
    "ConversationItemTruncatedEvent",
    "InputAudioBufferClearedEvent",
    "InputAudioBufferCommittedEvent",
    "InputAudioBufferDtmfEventReceivedEvent",
    "InputAudioBufferSpeechStartedEvent",
    "InputAudioBufferSpeechStoppedEvent",
    "InputAudioBufferTimeoutTriggeredEvent",
    "LogProbProperties",
    "SessionCreatedEvent",
    "SessionUpdatedEvent",
    "TranscriptTextUsage",
    "TranscriptTextUsageDuration",
    "TranscriptTextUsageInputTokenDetails",
    "TranscriptTextUsageTokens",
    "TranscriptionError",
    "TranscriptionLanguage",
]


class ConversationCreatedEventConversation(TypedDict, total=False):
    id: str | None
    object: Literal["realtime.conversation"] | None


class SessionCreatedEvent(ServerEventBase):
    """The first event of a connection."""

    type: Literal["session.created"]
    session: RealtimeSession | RealtimeTranscriptionSession


class SessionUpdatedEvent(ServerEventBase):
    """The whole configuration after a change."""

    type: Literal["session.updated"]
    session: RealtimeSession | RealtimeTranscriptionSession


class ConversationCreatedEvent(ServerEventBase):
    """Declared, and not seen on a WebSocket."""

    type: Literal["conversation.created"]
    conversation: ConversationCreatedEventConversation


class ConversationItemAddedEvent(ServerEventBase):
    """An item joined the conversation; one that is being made is empty yet."""

    type: Literal["conversation.item.added"]
    item: ConversationItem
    previous_item_id: NotRequired[str | None]


class ConversationItemCreatedEvent(ServerEventBase):
    """Declared, and superseded by ``conversation.item.added`` and ``.done``."""

    type: Literal["conversation.item.created"]
    item: ConversationItem
    previous_item_id: NotRequired[str | None]


class ConversationItemDeletedEvent(ItemEventBase):
    """Answers ``conversation.item.delete``."""

    type: Literal["conversation.item.deleted"]


class ConversationItemDoneEvent(ServerEventBase):
    """An item is final."""

    type: Literal["conversation.item.done"]
    item: ConversationItem
    previous_item_id: NotRequired[str | None]


class ConversationItemRetrievedEvent(ServerEventBase):
    """Answers ``conversation.item.retrieve``; with audio."""

    type: Literal["conversation.item.retrieved"]
    item: ConversationItem


class ConversationItemTruncatedEvent(ItemEventBase):
    """Answers ``conversation.item.truncate``."""

    type: Literal["conversation.item.truncated"]
    audio_end_ms: int
    content_index: int


class InputAudioBufferClearedEvent(ServerEventBase):
    """Answers ``input_audio_buffer.clear``."""

    type: Literal["input_audio_buffer.cleared"]


class InputAudioBufferCommittedEvent(ItemEventBase):
    """The buffer became an item of the user."""

    type: Literal["input_audio_buffer.committed"]
    previous_item_id: NotRequired[str | None]


class InputAudioBufferDtmfEventReceivedEvent(TypedDict):
    """For SIP; ``received_at`` is in Unix seconds."""

    type: Literal["input_audio_buffer.dtmf_event_received"]
    event: str
    received_at: int


class InputAudioBufferSpeechStartedEvent(ItemEventBase):
    """Speech began, prefix padding included; milliseconds of all audio ever appended."""

    type: Literal["input_audio_buffer.speech_started"]
    audio_start_ms: int


class InputAudioBufferSpeechStoppedEvent(ItemEventBase):
    """Speech ended, silence included; the item of the same id follows."""

    type: Literal["input_audio_buffer.speech_stopped"]
    audio_end_ms: int


class InputAudioBufferTimeoutTriggeredEvent(ItemEventBase):
    """Nobody spoke for ``idle_timeout_ms``; a commit and a response follow."""

    type: Literal["input_audio_buffer.timeout_triggered"]
    audio_end_ms: int
    audio_start_ms: int


class LogProbProperties(TypedDict):
    """``bytes`` is the token in UTF-8."""

    token: str
    bytes: list[int]
    logprob: float


class TranscriptionLanguage(TypedDict):
    code: str


class TranscriptTextUsageInputTokenDetails(TypedDict, total=False):
    audio_tokens: int | None
    text_tokens: int | None


class TranscriptTextUsageTokens(TypedDict):
    """Of models that are billed by tokens."""

    type: Literal["tokens"]
    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_token_details: NotRequired[TranscriptTextUsageInputTokenDetails | None]


class TranscriptTextUsageDuration(TypedDict):
    """Of models that are billed by time."""

    type: Literal["duration"]
    seconds: float


TranscriptTextUsage: TypeAlias = TranscriptTextUsageTokens | TranscriptTextUsageDuration


class TranscriptionError(TypedDict, total=False):
    type: str | None
    code: str | None
    message: str | None
    param: str | None


class ConversationItemInputAudioTranscriptionCompletedEvent(ItemEventBase):
    """What the user said; may come after the answer to it."""

    type: Literal["conversation.item.input_audio_transcription.completed"]
    content_index: int
    transcript: str
    usage: TranscriptTextUsage
    languages: NotRequired[list[TranscriptionLanguage] | None]
    logprobs: NotRequired[list[LogProbProperties] | None]


class ConversationItemInputAudioTranscriptionDeltaEvent(ItemEventBase, total=False):
    type: Required[Literal["conversation.item.input_audio_transcription.delta"]]
    content_index: int | None
    delta: str | None
    logprobs: list[LogProbProperties] | None
    obfuscation: str  # random padding


class ConversationItemInputAudioTranscriptionFailedEvent(ItemEventBase):
    type: Literal["conversation.item.input_audio_transcription.failed"]
    content_index: int
    error: TranscriptionError


class ConversationItemInputAudioTranscriptionSegmentEvent(ItemEventBase):
    """From a model that tells speakers apart; ``start`` and ``end`` are in seconds."""

    type: Literal["conversation.item.input_audio_transcription.segment"]
    id: str
    content_index: int
    end: float
    speaker: str
    start: float
    text: str


ConversationEvent: TypeAlias = (
    SessionCreatedEvent
    | SessionUpdatedEvent
    | ConversationCreatedEvent
    | ConversationItemAddedEvent
    | ConversationItemCreatedEvent
    | ConversationItemDeletedEvent
    | ConversationItemDoneEvent
    | ConversationItemRetrievedEvent
    | ConversationItemTruncatedEvent
    | InputAudioBufferClearedEvent
    | InputAudioBufferCommittedEvent
    | InputAudioBufferDtmfEventReceivedEvent
    | InputAudioBufferSpeechStartedEvent
    | InputAudioBufferSpeechStoppedEvent
    | InputAudioBufferTimeoutTriggeredEvent
    | ConversationItemInputAudioTranscriptionCompletedEvent
    | ConversationItemInputAudioTranscriptionDeltaEvent
    | ConversationItemInputAudioTranscriptionFailedEvent
    | ConversationItemInputAudioTranscriptionSegmentEvent
)
