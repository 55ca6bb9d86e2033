"""The configuration of a session, as the server tells it (protocol.md 3.1)."""

from typing import Literal, TypedDict

from .audio import AudioTranscription, NoiseReduction, RealtimeAudioConfigInput, RealtimeAudioFormat, Voice
from .base import Required
from .sessions import (
    Include,
    MaxOutputTokens,
    Modality,
    RealtimeModel,
    RealtimeReasoning,
    RealtimeSessionCreateRequest,
    RealtimeTracing,
    RealtimeTranscriptionSessionCreateRequest,
    RealtimeTruncation,
    ResponsePrompt,
)
from .tools import RealtimeTool, RealtimeToolChoice

__all__ = [
    "RealtimeSession",
    "RealtimeSessionCreateResponse",
    "RealtimeSessionCreateResponseAudio",
    "RealtimeSessionCreateResponseAudioOutput",
    "RealtimeTranscriptionSession",
    "RealtimeTranscriptionSessionCreateResponse",
    "RealtimeTranscriptionSessionCreateResponseAudio",
    "RealtimeTranscriptionSessionCreateResponseAudioInput",
    "RealtimeTranscriptionSessionTurnDetection",
]


class RealtimeSession(RealtimeSessionCreateRequest, total=False):
    """The effective configuration of a conversation; ``expires_at`` is in Unix seconds."""

    id: str
    object: Literal["realtime.session"]
    expires_at: int


class RealtimeTranscriptionSession(RealtimeTranscriptionSessionCreateRequest, total=False):
    """The effective configuration of a session that only transcribes."""

    id: str
    object: str
    expires_at: int


# -- the same as the HTTP endpoint for client secrets tells it; no event carries it ---


class RealtimeSessionCreateResponseAudioOutput(TypedDict, total=False):
    format: RealtimeAudioFormat | None
    speed: float | None
    voice: Voice | None


class RealtimeSessionCreateResponseAudio(TypedDict, total=False):
    input: RealtimeAudioConfigInput | None
    output: RealtimeSessionCreateResponseAudioOutput | None


class RealtimeSessionCreateResponse(TypedDict, total=False):
    type: Required[Literal["realtime"]]
    id: Required[str]
    object: Required[Literal["realtime.session"]]
    audio: RealtimeSessionCreateResponseAudio | None
    expires_at: int | None
    include: list[Include] | None
    instructions: str | None
    max_output_tokens: MaxOutputTokens | None
    model: RealtimeModel | None
    output_modalities: list[Modality] | None
    prompt: ResponsePrompt | None
    reasoning: RealtimeReasoning | None
    tool_choice: RealtimeToolChoice | None
    tools: list[RealtimeTool] | None
    tracing: RealtimeTracing | None
    truncation: RealtimeTruncation | None


class RealtimeTranscriptionSessionTurnDetection(TypedDict, total=False):
    type: str | None
    prefix_padding_ms: int | None
    silence_duration_ms: int | None
    threshold: float | None


class RealtimeTranscriptionSessionCreateResponseAudioInput(TypedDict, total=False):
    format: RealtimeAudioFormat | None
    noise_reduction: NoiseReduction | None
    transcription: AudioTranscription | None
    turn_detection: RealtimeTranscriptionSessionTurnDetection | None


class RealtimeTranscriptionSessionCreateResponseAudio(TypedDict, total=False):
    input: RealtimeTranscriptionSessionCreateResponseAudioInput | None


class RealtimeTranscriptionSessionCreateResponse(TypedDict, total=False):
    type: Required[Literal["transcription"]]
    id: Required[str]
    object: Required[str]
    audio: RealtimeTranscriptionSessionCreateResponseAudio | None
    expires_at: int | None
    include: list[Include] | None
