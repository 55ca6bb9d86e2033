"""The configuration of a session, as it is sent (protocol.md 3.2, 3.7)."""

from typing import Literal, TypeAlias, TypedDict

from .audio import AudioTranscription, Effort, NoiseReduction, RealtimeAudioConfig, RealtimeAudioFormat, TurnDetection
from .base import NotRequired, Required
from .tools import RealtimeTool, RealtimeToolChoice

__all__ = [
    "Include",
    "MaxOutputTokens",
    "Modality",
    "PromptCacheBreakpoint",
    "RealtimeModel",
    "RealtimeReasoning",
    "RealtimeSessionCreateRequest",
    "RealtimeTracing",
    "RealtimeTranscriptionSessionAudio",
    "RealtimeTranscriptionSessionAudioInput",
    "RealtimeTranscriptionSessionCreateRequest",
    "RealtimeTruncation",
    "RealtimeTruncationRetentionRatio",
    "RealtimeTruncationRetentionRatioTokenLimits",
    "ResponseInputFile",
    "ResponseInputImage",
    "ResponseInputText",
    "ResponsePrompt",
    "SessionRequest",
    "TracingConfiguration",
]

RealtimeModel: TypeAlias = (
    str
    | Literal[
        "gpt-realtime",
        "gpt-realtime-1.5",
        "gpt-realtime-2",
        "gpt-realtime-2.1",
        "gpt-realtime-2.1-mini",
        "gpt-realtime-2025-08-28",
        "gpt-4o-realtime-preview",
        "gpt-4o-realtime-preview-2024-10-01",
        "gpt-4o-realtime-preview-2024-12-17",
        "gpt-4o-realtime-preview-2025-06-03",
        "gpt-4o-mini-realtime-preview",
        "gpt-4o-mini-realtime-preview-2024-12-17",
        "gpt-realtime-mini",
        "gpt-realtime-mini-2025-10-06",
        "gpt-realtime-mini-2025-12-15",
        "gpt-audio-1.5",
        "gpt-audio-mini",
        "gpt-audio-mini-2025-10-06",
        "gpt-audio-mini-2025-12-15",
    ]
)

Modality: TypeAlias = Literal["text", "audio"]

Include: TypeAlias = Literal["item.input_audio_transcription.logprobs"]

MaxOutputTokens: TypeAlias = int | Literal["inf"]


class PromptCacheBreakpoint(TypedDict):
    mode: Literal["explicit"]
    ttl: NotRequired[Literal["30m", "12h"] | None]


class ResponseInputText(TypedDict):
    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: NotRequired[PromptCacheBreakpoint | None]


class ResponseInputImage(TypedDict, total=False):
    type: Required[Literal["input_image"]]
    detail: Required[Literal["low", "high", "auto", "original"]]
    file_id: str | None
    image_url: str | None
    prompt_cache_breakpoint: PromptCacheBreakpoint | None


class ResponseInputFile(TypedDict, total=False):
    type: Required[Literal["input_file"]]
    detail: Literal["auto", "low", "high"] | None
    file_data: str | None
    file_id: str | None
    file_url: str | None
    filename: str | None
    prompt_cache_breakpoint: PromptCacheBreakpoint | None


class ResponsePrompt(TypedDict, total=False):
    """A prompt that is stored on the server."""

    id: Required[str]
    variables: dict[str, str | ResponseInputText | ResponseInputImage | ResponseInputFile] | None
    version: str | None


class RealtimeReasoning(TypedDict, total=False):
    """For reasoning models only."""

    effort: Effort | None


class TracingConfiguration(TypedDict, total=False):
    group_id: str | None
    metadata: object | None
    workflow_name: str | None


RealtimeTracing: TypeAlias = Literal["auto"] | TracingConfiguration


class RealtimeTruncationRetentionRatioTokenLimits(TypedDict, total=False):
    post_instructions: int | None


class RealtimeTruncationRetentionRatio(TypedDict):
    """How much of an overlong conversation is kept, 0 to 1."""

    type: Literal["retention_ratio"]
    retention_ratio: float
    token_limits: NotRequired[RealtimeTruncationRetentionRatioTokenLimits | None]


RealtimeTruncation: TypeAlias = Literal["auto", "disabled"] | RealtimeTruncationRetentionRatio


class RealtimeSessionCreateRequest(TypedDict, total=False):
    """What a conversation is set to. Fields that are left out keep their values; ``type`` is always needed."""

    type: Required[Literal["realtime"]]
    audio: RealtimeAudioConfig | None
    include: list[Include] | None
    instructions: str | None
    max_output_tokens: MaxOutputTokens | None
    model: RealtimeModel | None
    output_modalities: list[Modality] | None
    parallel_tool_calls: bool | None
    prompt: ResponsePrompt | None
    reasoning: RealtimeReasoning | None
    tool_choice: RealtimeToolChoice | None
    tools: list[RealtimeTool] | None
    tracing: RealtimeTracing | None
    truncation: RealtimeTruncation | None


class RealtimeTranscriptionSessionAudioInput(TypedDict, total=False):
    format: RealtimeAudioFormat | None
    noise_reduction: NoiseReduction | None
    transcription: AudioTranscription | None
    turn_detection: TurnDetection | None


class RealtimeTranscriptionSessionAudio(TypedDict, total=False):
    input: RealtimeTranscriptionSessionAudioInput | None


class RealtimeTranscriptionSessionCreateRequest(TypedDict, total=False):
    """What a session that only transcribes is set to."""

    type: Required[Literal["transcription"]]
    audio: RealtimeTranscriptionSessionAudio | None
    include: list[Include] | None


SessionRequest: TypeAlias = RealtimeSessionCreateRequest | RealtimeTranscriptionSessionCreateRequest
