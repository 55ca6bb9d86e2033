"""What a response is asked for with, and what the server tells about it (protocol.md 2.1, 2.5, 4.13)."""

from typing import Literal, TypedDict

from .audio import RealtimeAudioFormat, Voice, VoiceID
from .items import ConversationItem, ResponseItemReference
from .sessions import MaxOutputTokens, Modality, RealtimeReasoning, ResponsePrompt
from .tools import RealtimeTool, RealtimeToolChoice

__all__ = [
    "RealtimeResponse",
    "RealtimeResponseAudio",
    "RealtimeResponseAudioOutput",
    "RealtimeResponseCreateAudioOutput",
    "RealtimeResponseCreateAudioOutputOutput",
    "RealtimeResponseCreateParams",
    "RealtimeResponseStatus",
    "RealtimeResponseStatusError",
    "RealtimeResponseUsage",
    "RealtimeResponseUsageInputTokenDetails",
    "RealtimeResponseUsageInputTokenDetailsCachedTokensDetails",
    "RealtimeResponseUsageOutputTokenDetails",
]


class RealtimeResponseCreateAudioOutputOutput(TypedDict, total=False):
    format: RealtimeAudioFormat | None
    voice: Voice | VoiceID | None


class RealtimeResponseCreateAudioOutput(TypedDict, total=False):
    output: RealtimeResponseCreateAudioOutputOutput | None


class RealtimeResponseCreateParams(TypedDict, total=False):
    """Overrides the session for one response; ``input`` replaces the conversation, ``instructions`` the session's."""

    audio: RealtimeResponseCreateAudioOutput | None
    conversation: str | Literal["auto", "none"] | None
    input: list[ConversationItem | ResponseItemReference] | None
    instructions: str | None
    max_output_tokens: MaxOutputTokens | None
    metadata: dict[str, str] | None
    output_modalities: list[Modality] | None
    parallel_tool_calls: bool | None
    prompt: ResponsePrompt | None
    reasoning: RealtimeReasoning | None
    tool_choice: RealtimeToolChoice | None
    tools: list[RealtimeTool] | None


class RealtimeResponseStatusError(TypedDict, total=False):
    type: str | None
    code: str | None
    message: str | None


class RealtimeResponseStatus(TypedDict, total=False):
    """Why a response did not complete."""

    type: Literal["completed", "cancelled", "incomplete", "failed"] | None
    error: RealtimeResponseStatusError | None
    reason: Literal["turn_detected", "client_cancelled", "max_output_tokens", "content_filter"] | None


class RealtimeResponseUsageInputTokenDetailsCachedTokensDetails(TypedDict, total=False):
    audio_tokens: int | None
    image_tokens: int | None
    text_tokens: int | None


class RealtimeResponseUsageInputTokenDetails(TypedDict, total=False):
    audio_tokens: int | None
    cached_tokens: int | None
    cached_tokens_details: RealtimeResponseUsageInputTokenDetailsCachedTokensDetails | None
    image_tokens: int | None
    text_tokens: int | None


class RealtimeResponseUsageOutputTokenDetails(TypedDict, total=False):
    audio_tokens: int | None
    text_tokens: int | None


class RealtimeResponseUsage(TypedDict, total=False):
    """Tokens of one response; cached ones are part of the input."""

    input_token_details: RealtimeResponseUsageInputTokenDetails | None
    input_tokens: int | None
    output_token_details: RealtimeResponseUsageOutputTokenDetails | None
    output_tokens: int | None
    total_tokens: int | None


class RealtimeResponseAudioOutput(TypedDict, total=False):
    format: RealtimeAudioFormat | None
    voice: Voice | None


class RealtimeResponseAudio(TypedDict, total=False):
    output: RealtimeResponseAudioOutput | None


class RealtimeResponse(TypedDict, total=False):
    """``conversation_id`` is ``None`` out of band; ``output`` has no audio bytes."""

    id: str | None
    audio: RealtimeResponseAudio | None
    conversation_id: str | None
    max_output_tokens: MaxOutputTokens | None
    metadata: dict[str, str] | None
    object: Literal["realtime.response"] | None
    output: list[ConversationItem] | None
    output_modalities: list[Modality] | None
    status: Literal["completed", "cancelled", "failed", "incomplete", "in_progress"] | None
    status_details: RealtimeResponseStatus | None
    usage: RealtimeResponseUsage | None
