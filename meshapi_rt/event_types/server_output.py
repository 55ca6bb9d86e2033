"""Server events about responses and remote tools (protocol.md 2.2, 4.15)."""

from typing import Literal, TypeAlias, TypedDict

from .base import ItemEventBase, NotRequired, ServerEventBase
from .items import ContentPart, ConversationItem
from .responses import RealtimeResponse

__all__ = [
    "McpListToolsCompletedEvent",
    "McpListToolsFailedEvent",
    "McpListToolsInProgressEvent",
    "OutputAudioBufferClearedEvent",
    "OutputAudioBufferStartedEvent",
    "OutputAudioBufferStoppedEvent",
    "RateLimit",
    "RateLimitsUpdatedEvent",
    "ResponseContentPartAddedEvent",
    "ResponseContentPartDoneEvent",
    "ResponseCreatedEvent",
    "ResponseDoneEvent",
    "ResponseEvent",
    "ResponseFunctionCallArgumentsDeltaEvent",
    "ResponseFunctionCallArgumentsDoneEvent",
    "ResponseMcpCallArgumentsDeltaEvent",
    "ResponseMcpCallArgumentsDoneEvent",
    "ResponseMcpCallCompletedEvent",
    "ResponseMcpCallFailedEvent",
    "ResponseMcpCallInProgressEvent",
    "ResponseOutputAudioDeltaEvent",
    "ResponseOutputAudioDoneEvent",
    "ResponseOutputAudioTranscriptDeltaEvent",
    "ResponseOutputAudioTranscriptDoneEvent",
    "ResponseOutputItemAddedEvent",
    "ResponseOutputItemDoneEvent",
    "ResponseOutputTextDeltaEvent",
    "ResponseOutputTextDoneEvent",
]


class _OutputItem(ItemEventBase):
    output_index: int
    response_id: str


class _OutputPart(_OutputItem):
    content_index: int


class ResponseCreatedEvent(ServerEventBase):
    """The first event of a response."""

    type: Literal["response.created"]
    response: RealtimeResponse


class ResponseOutputItemAddedEvent(ServerEventBase):
    """An item of the response begins."""

    type: Literal["response.output_item.added"]
    item: ConversationItem
    output_index: int
    response_id: str


class ResponseContentPartAddedEvent(_OutputPart):
    """A part of a message begins."""

    type: Literal["response.content_part.added"]
    part: ContentPart


class ResponseOutputTextDeltaEvent(_OutputPart):
    type: Literal["response.output_text.delta"]
    delta: str
    obfuscation: NotRequired[str]  # random padding


class ResponseOutputTextDoneEvent(_OutputPart):
    type: Literal["response.output_text.done"]
    text: str


class ResponseOutputAudioDeltaEvent(_OutputPart):
    """Audio as base64; ``RealtimeMessage.audio`` has it decoded."""

    type: Literal["response.output_audio.delta"]
    delta: str


class ResponseOutputAudioDoneEvent(_OutputPart):
    """No more audio of this part; it has none itself."""

    type: Literal["response.output_audio.done"]


class ResponseOutputAudioTranscriptDeltaEvent(_OutputPart):
    """What is being spoken."""

    type: Literal["response.output_audio_transcript.delta"]
    delta: str
    obfuscation: NotRequired[str]  # random padding


class ResponseOutputAudioTranscriptDoneEvent(_OutputPart):
    type: Literal["response.output_audio_transcript.done"]
    transcript: str


class ResponseFunctionCallArgumentsDeltaEvent(_OutputItem):
    type: Literal["response.function_call_arguments.delta"]
    call_id: str
    delta: str


class ResponseFunctionCallArgumentsDoneEvent(_OutputItem):
    """The arguments of a call, whole, as JSON text."""

    type: Literal["response.function_call_arguments.done"]
    arguments: str
    call_id: str
    name: str


class ResponseContentPartDoneEvent(_OutputPart):
    """A part of a message is final; without audio."""

    type: Literal["response.content_part.done"]
    part: ContentPart


class ResponseOutputItemDoneEvent(ServerEventBase):
    """An item of the response is final; without audio."""

    type: Literal["response.output_item.done"]
    item: ConversationItem
    output_index: int
    response_id: str


class ResponseDoneEvent(ServerEventBase):
    """The last event of a response, whatever became of it: see ``response["status"]``."""

    type: Literal["response.done"]
    response: RealtimeResponse


class RateLimit(TypedDict, total=False):
    """``reset_seconds`` is the time until it is whole again."""

    limit: int | None
    name: Literal["requests", "tokens"] | None
    remaining: int | None
    reset_seconds: float | None


class RateLimitsUpdatedEvent(ServerEventBase):
    """Comes once per response."""

    type: Literal["rate_limits.updated"]
    rate_limits: list[RateLimit]


class McpListToolsInProgressEvent(ItemEventBase):
    type: Literal["mcp_list_tools.in_progress"]


class McpListToolsCompletedEvent(ItemEventBase):
    type: Literal["mcp_list_tools.completed"]


class McpListToolsFailedEvent(ItemEventBase):
    type: Literal["mcp_list_tools.failed"]


class ResponseMcpCallArgumentsDeltaEvent(_OutputItem):
    type: Literal["response.mcp_call_arguments.delta"]
    delta: str
    obfuscation: NotRequired[str | None]  # random padding


class ResponseMcpCallArgumentsDoneEvent(_OutputItem):
    type: Literal["response.mcp_call_arguments.done"]
    arguments: str


class ResponseMcpCallInProgressEvent(ItemEventBase):
    type: Literal["response.mcp_call.in_progress"]
    output_index: int


class ResponseMcpCallCompletedEvent(ItemEventBase):
    type: Literal["response.mcp_call.completed"]
    output_index: int


class ResponseMcpCallFailedEvent(ItemEventBase):
    type: Literal["response.mcp_call.failed"]
    output_index: int


class OutputAudioBufferStartedEvent(ServerEventBase):
    """For WebRTC and SIP."""

    type: Literal["output_audio_buffer.started"]
    response_id: str


class OutputAudioBufferStoppedEvent(ServerEventBase):
    """For WebRTC and SIP."""

    type: Literal["output_audio_buffer.stopped"]
    response_id: str


class OutputAudioBufferClearedEvent(ServerEventBase):
    """For WebRTC and SIP."""

    type: Literal["output_audio_buffer.cleared"]
    response_id: str


ResponseEvent: TypeAlias = (
    ResponseCreatedEvent
    | ResponseOutputItemAddedEvent
    | ResponseContentPartAddedEvent
    | ResponseOutputTextDeltaEvent
    | ResponseOutputTextDoneEvent
    | ResponseOutputAudioDeltaEvent
    | ResponseOutputAudioDoneEvent
    | ResponseOutputAudioTranscriptDeltaEvent
    | ResponseOutputAudioTranscriptDoneEvent
    | ResponseFunctionCallArgumentsDeltaEvent
    | ResponseFunctionCallArgumentsDoneEvent
    | ResponseContentPartDoneEvent
    | ResponseOutputItemDoneEvent
    | ResponseDoneEvent
    | RateLimitsUpdatedEvent
    | McpListToolsInProgressEvent
    | McpListToolsCompletedEvent
    | McpListToolsFailedEvent
    | ResponseMcpCallArgumentsDeltaEvent
    | ResponseMcpCallArgumentsDoneEvent
    | ResponseMcpCallInProgressEvent
    | ResponseMcpCallCompletedEvent
    | ResponseMcpCallFailedEvent
    | OutputAudioBufferStartedEvent
    | OutputAudioBufferStoppedEvent
    | OutputAudioBufferClearedEvent
)
