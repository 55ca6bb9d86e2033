"""The session object: its defaults, and how an update is checked and merged (protocol.md, section 3)."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

from .failures import Refusal
from .formats import WireFormat, format_of
from .ids import new_id
from .rules import one_of
from .schema import SESSION

__all__ = ["SessionSettings", "is_reasoning_model", "is_transcription_model", "upstream_name"]

_INSTRUCTIONS = "You are a friendly parrot: you repeat what you hear, and you say so when asked."
_SERVER_VAD: dict[str, Any] = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 200,  # 500 is documented, 200 is what every captured session has
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
_SEMANTIC_VAD: dict[str, Any] = {
    "type": "semantic_vad",
    "eagerness": "auto",
    "create_response": True,
    "interrupt_response": True,
}
# Objects that are merged; all others are replaced as a whole (protocol.md 3.6).
_MERGED = {"audio", "audio.input", "audio.output", "audio.input.noise_reduction"}
_LIVE_MODELS = ("gpt-realtime-whisper", "gpt-live-transcribe")


def upstream_name(model: str) -> str:
    """Drop the provider from a gateway id, as ``session.model`` shows it (protocol.md 1.4)."""
    return model.rsplit("/", 1)[-1]


def is_reasoning_model(model: str) -> bool:
    """Tell whether the id names the family that takes ``reasoning``: ``gpt-realtime-2`` and its minors."""
    return re.fullmatch(r"gpt-realtime-2(\.\d+)?(-mini)?", upstream_name(model)) is not None


def is_transcription_model(model: str) -> bool:
    """Tell whether the id names a model that only writes down what it hears."""
    return upstream_name(model) in _LIVE_MODELS


class SessionSettings:
    """The effective configuration of one session.

    Attributes:
        type: ``realtime`` or ``transcription``, for the whole session.
        id: The session's id.
        model: The upstream name of the model.
        voice_locked: The model has spoken: another voice is refused from now on.
    """

    def __init__(self, session_type: str, model: str, expires_at: int) -> None:
        self.type = session_type
        self.id = new_id("sess")
        self.model = upstream_name(model)
        self.reasoning = is_reasoning_model(model)
        self.voice_locked = False
        make = _default_realtime if session_type == "realtime" else _default_transcription
        self._session = make(self.id, self.model, expires_at)
        if session_type == "realtime" and self.reasoning:
            self._session["reasoning"] = {"effort": "low"}  # protocol.md 3.2

    def __getitem__(self, name: str) -> Any:
        return self._session[name]

    def wire(self) -> dict[str, Any]:
        """Show the full effective session."""
        return copy.deepcopy(self._session)

    @property
    def turn_detection(self) -> Mapping[str, Any] | None:
        """The turn detection, or ``None`` for manual turns."""
        found: Mapping[str, Any] | None = self._session["audio"]["input"]["turn_detection"]
        return found

    @property
    def transcription(self) -> Mapping[str, Any] | None:
        """What writes down the user's speech, or ``None``."""
        found: Mapping[str, Any] | None = self._session["audio"]["input"]["transcription"]
        return found

    @property
    def input_format(self) -> WireFormat:
        """The format of the user's audio."""
        return format_of(self._session["audio"]["input"]["format"])

    @property
    def voice(self) -> Any:
        """The voice: a name, or an object with an id."""
        return self._session["audio"]["output"]["voice"]

    @property
    def wants_logprobs(self) -> bool:
        """Whether transcription events carry log probabilities."""
        return bool(self._session["include"])

    def update(self, session: Mapping[str, Any], *, speaking: bool) -> None:
        """Check an update whole, then merge it: all or nothing.

        Args:
            session: The object of ``session.update``.
            speaking: A response of the default conversation is running.

        Raises:
            Refusal: Nothing was changed.
        """
        self._check_type(session)
        SESSION[self.type](session, "session")
        changes = {name: value for name, value in session.items() if name not in ("type", "model")}
        if self.type == "realtime":
            self._check_fixed(changes, speaking=speaking)
        merged = _merge(self._session, changes, "")
        _complete_input(merged["audio"]["input"], session.get("audio", {}).get("input", {}))
        self._session = merged

    def _check_type(self, session: Mapping[str, Any]) -> None:
        if "type" not in session:
            raise Refusal.missing("session.type")
        one_of("realtime", "transcription")(session["type"], "session.type")
        if session["type"] != self.type:
            raise Refusal.invalid("session.type", f"a {self.type} session cannot become a {session['type']} session")

    def _check_fixed(self, changes: Mapping[str, Any], *, speaking: bool) -> None:
        output = changes.get("audio", {}).get("output", {})
        self.check_voice(output.get("voice"), "session.audio.output.voice")
        if (
            speaking
            and output.get("speed", self._session["audio"]["output"]["speed"])
            != (self._session["audio"]["output"]["speed"])
        ):
            raise Refusal.invalid("session.audio.output.speed", "it changes between turns only")
        if changes.get("reasoning") is not None and not self.reasoning:
            raise Refusal.invalid("session.reasoning", f"the model '{self.model}' does not reason")
        tracing = self._session["tracing"]
        if tracing is not None and changes.get("tracing", tracing) not in (tracing, None):
            raise Refusal.invalid("session.tracing", "its configuration is fixed once it is on")

    def check_voice(self, voice: Any, path: str) -> None:
        """Refuse another voice once the model has spoken; the current one is accepted (protocol.md 3.6).

        Raises:
            Refusal: The voice is locked.
        """
        if self.voice_locked and voice is not None and voice != self.voice:
            raise Refusal(
                "cannot_update_voice",
                "Cannot update a conversation's voice if assistant audio is present.",
                path,
            )


def _merge(old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> dict[str, Any]:
    merged = dict(old)
    for name, value in new.items():
        inner = f"{path}.{name}" if path else name
        before = merged.get(name)
        if inner in _MERGED and isinstance(before, dict) and isinstance(value, dict):
            merged[name] = _merge(before, value, inner)
        elif inner == "audio.input.turn_detection" and isinstance(value, dict):
            merged[name] = _merge_turn_detection(before, value)
        elif inner == "audio.input.transcription" and isinstance(value, dict):
            merged[name] = _merge_transcription(before, value)
        else:
            merged[name] = copy.deepcopy(value)
    return merged


def _merge_turn_detection(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> dict[str, Any]:
    # Merge or reset is not known (protocol.md 7.10): the same type keeps its values, another one starts anew.
    defaults = _SERVER_VAD if new["type"] == "server_vad" else _SEMANTIC_VAD
    same = old is not None and old["type"] == new["type"]
    return {**defaults, **(old if old is not None and same else {}), **new}


def _merge_transcription(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> dict[str, Any]:
    # The fields depend on the model, so a new model starts anew.
    same = old is not None and new.get("model", old.get("model")) == old.get("model")
    return {**(old if old is not None and same else {}), **copy.deepcopy(dict(new))}


def _complete_input(merged: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Check what depends on two fields, after the merge and before it takes effect."""
    reduction = merged["noise_reduction"]
    if reduction is not None:
        if "type" not in reduction:
            raise Refusal.missing("session.audio.input.noise_reduction.type")
        merged["noise_reduction"] = {"strength": 1.0, **reduction}
    transcription = merged["transcription"]
    if transcription is None:
        return
    _check_transcription(transcription, "session.audio.input.transcription")
    if transcription.get("model") in _LIVE_MODELS:
        if given.get("turn_detection") is not None:
            raise Refusal.invalid(
                "session.audio.input.turn_detection", f"{transcription['model']} takes no turn detection"
            )
        merged["turn_detection"] = None


def _check_transcription(transcription: Mapping[str, Any], path: str) -> None:
    model = transcription.get("model", "")
    if "language" in transcription and "languages" in transcription:
        raise Refusal.invalid(f"{path}.languages", "it does not go together with 'language'")
    for name in ("languages", "keywords"):
        if name in transcription and model not in ("gpt-transcribe", "gpt-live-transcribe"):
            raise Refusal.invalid(f"{path}.{name}", f"the model '{model}' does not take it")
    if "delay" in transcription and model != "gpt-realtime-whisper":
        raise Refusal.invalid(f"{path}.delay", f"the model '{model}' does not take it")
    if "prompt" in transcription and (model == "gpt-realtime-whisper" or model.endswith("-diarize")):
        raise Refusal.invalid(f"{path}.prompt", f"the model '{model}' does not take it")


def _default_input() -> dict[str, Any]:
    return {
        "format": {"type": "audio/pcm", "rate": 24000},
        "noise_reduction": None,
        "transcription": None,
        "turn_detection": dict(_SERVER_VAD),
    }


def _default_realtime(session_id: str, model: str, expires_at: int) -> dict[str, Any]:
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": session_id,
        "model": model,
        "expires_at": expires_at,
        "output_modalities": ["audio"],
        "instructions": _INSTRUCTIONS,
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "truncation": "auto",
        "tracing": None,
        "prompt": None,
        "include": None,
        "audio": {
            "input": _default_input(),
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy", "speed": 1.0},
        },
    }


def _default_transcription(session_id: str, model: str, expires_at: int) -> dict[str, Any]:
    audio_input = _default_input()
    if model in _LIVE_MODELS:
        audio_input.update(transcription={"model": model}, turn_detection=None)
    return {
        "type": "transcription",
        "object": "realtime.transcription_session",
        "id": session_id,
        "expires_at": expires_at,
        "include": None,
        "audio": {"input": audio_input},
    }
