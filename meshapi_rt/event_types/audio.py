"""Audio of a session: formats, transcription, voice detection, voices (protocol.md 3.3, 3.4)."""

from typing import Literal, TypeAlias, TypedDict

from .base import Required

__all__ = [
    "AudioPCM",
    "AudioPCMA",
    "AudioPCMU",
    "AudioTranscription",
    "Effort",
    "NoiseReduction",
    "RealtimeAudioConfig",
    "RealtimeAudioConfigInput",
    "RealtimeAudioConfigOutput",
    "RealtimeAudioFormat",
    "SemanticVad",
    "ServerVad",
    "TranscriptionModel",
    "TurnDetection",
    "Voice",
    "VoiceID",
]

Effort: TypeAlias = Literal["minimal", "low", "medium", "high", "xhigh"]

TranscriptionModel: TypeAlias = (
    str
    | Literal[
        "whisper-1",
        "gpt-transcribe",
        "gpt-live-transcribe",
        "gpt-4o-mini-transcribe",
        "gpt-4o-mini-transcribe-2025-12-15",
        "gpt-4o-transcribe",
        "gpt-4o-transcribe-diarize",
        "gpt-realtime-whisper",
    ]
)

Voice: TypeAlias = (
    str | Literal["alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar"]
)


class AudioPCM(TypedDict, total=False):
    """16 bit, little-endian, mono, 24 kHz."""

    type: Literal["audio/pcm"] | None
    rate: Literal[24000] | None


class AudioPCMU(TypedDict, total=False):
    """G.711 mu-law at 8 kHz."""

    type: Literal["audio/pcmu"] | None


class AudioPCMA(TypedDict, total=False):
    """G.711 A-law at 8 kHz."""

    type: Literal["audio/pcma"] | None


RealtimeAudioFormat: TypeAlias = AudioPCM | AudioPCMU | AudioPCMA


class NoiseReduction(TypedDict, total=False):
    """Applied before voice detection and model."""

    type: Literal["near_field", "far_field"] | None
    strength: float | None


class AudioTranscription(TypedDict, total=False):
    """How the user's audio is transcribed, by a model of its own."""

    delay: Effort | None
    keywords: list[str] | None
    language: str | None
    languages: list[str] | None
    model: TranscriptionModel | None
    prompt: str | None


class ServerVad(TypedDict, total=False):
    """Turns end after a silence; times are in milliseconds, ``threshold`` is 0 to 1."""

    type: Required[Literal["server_vad"]]
    create_response: bool | None
    idle_timeout_ms: int | None
    interrupt_response: bool | None
    prefix_padding_ms: int | None
    silence_duration_ms: int | None
    threshold: float | None


class SemanticVad(TypedDict, total=False):
    """Turns end where the words do; ``eagerness`` bounds the wait to 8, 4 or 2 s."""

    type: Required[Literal["semantic_vad"]]
    create_response: bool | None
    eagerness: Literal["low", "medium", "high", "auto"] | None
    interrupt_response: bool | None


TurnDetection: TypeAlias = ServerVad | SemanticVad


class RealtimeAudioConfigInput(TypedDict, total=False):
    """With a ``turn_detection`` of ``None`` the client says where turns end."""

    format: RealtimeAudioFormat | None
    noise_reduction: NoiseReduction | None
    transcription: AudioTranscription | None
    turn_detection: TurnDetection | None


class VoiceID(TypedDict):
    """A custom voice."""

    id: str


class RealtimeAudioConfigOutput(TypedDict, total=False):
    """The voice is locked once the model has spoken; ``speed`` is 0.25 to 1.5."""

    format: RealtimeAudioFormat | None
    speed: float | None
    voice: Voice | VoiceID | None


class RealtimeAudioConfig(TypedDict, total=False):
    input: RealtimeAudioConfigInput | None
    output: RealtimeAudioConfigOutput | None
