"""Names of the retired beta protocol and what they are called now (protocol.md 2.3 and 3.8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

__all__ = ["AUDIO_DELTAS", "beta_fields", "current_name", "with_retired_names"]

T = TypeVar("T")

# Server events that carry output audio: the GA name, and the retired one that some servers still send.
AUDIO_DELTAS = frozenset({"response.output_audio.delta", "response.audio.delta"})

_EVENTS = {
    "response.text.delta": "response.output_text.delta",
    "response.text.done": "response.output_text.done",
    "response.audio.delta": "response.output_audio.delta",
    "response.audio.done": "response.output_audio.done",
    "response.audio_transcript.delta": "response.output_audio_transcript.delta",
    "response.audio_transcript.done": "response.output_audio_transcript.done",
    "conversation.item.created": "conversation.item.added",
    "transcription_session.updated": "session.updated",
}

_SESSION_FIELDS = {
    "modalities": "output_modalities",
    "voice": "audio.output.voice",
    "speed": "audio.output.speed",
    "input_audio_format": "audio.input.format",
    "output_audio_format": "audio.output.format",
    "input_audio_transcription": "audio.input.transcription",
    "input_audio_noise_reduction": "audio.input.noise_reduction",
    "turn_detection": "audio.input.turn_detection",
    "max_response_output_tokens": "max_output_tokens",
    "temperature": "nothing: it is gone",
    "client_secret": "nothing: it is gone",
}


def current_name(kind: str) -> str:
    """Return the GA name of a server event that may have a retired one."""
    return _EVENTS.get(kind, kind)


def with_retired_names(table: Mapping[str, T]) -> dict[str, T]:
    """Return a table by event types with its entries under the retired names, too."""
    return {**table, **{old: table[new] for old, new in _EVENTS.items() if new in table}}


def beta_fields(event: Mapping[str, Any]) -> str | None:
    """Describe what of a ``session.update`` is in the retired shape, with the GA spelling; ``None`` if nothing is."""
    session = event.get("session")
    if event.get("type") != "session.update" or not isinstance(session, Mapping):
        return None
    told = [f"{old!r} is now {new}" for old, new in _SESSION_FIELDS.items() if old in session]
    if "type" not in session:
        told.insert(0, '"type": "realtime" is required')
    return "; ".join(told) or None
