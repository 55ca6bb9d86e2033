"""Recorded speech as text, turn by turn, over a transcription session (protocol.md 3.7)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from . import contents, pcm
from .errors import ConfigurationError, RealtimeError, TimedOut
from .message import RealtimeMessage
from .session import RealtimeSession
from .waiting import Wait

__all__ = ["SpokenTurn", "Transcription", "transcribe", "turn_detection_for"]

# Models that take no turn detection (protocol.md 3.3, D): all of the audio is one turn.
_WITHOUT_TURNS = ("gpt-realtime-whisper", "gpt-live-transcribe")
_SILENCE = {"server_vad": 1.0, "semantic_vad": 9.0}  # seconds behind the audio, so that the last turn is heard to end
_QUIET = 0.5  # seconds without news, after which no further turn is waited for
_SPEECH = "conversation.item.input_audio_transcription."


@attrs.frozen(kw_only=True)
class SpokenTurn:
    """One turn of a recording.

    Attributes:
        text: What was said.
        start: Seconds from the beginning of the recording; voice detection counts a little before the first sound.
        end: Likewise, a little behind the last one.
        item_id: The server's name for it.
        error: Why there is no text, or ``None``.
    """

    text: str
    start: float
    end: float
    item_id: str
    error: RealtimeError | None = None


@attrs.frozen(kw_only=True)
class Transcription:
    """What a recording says: its turns, over which it can be iterated.

    Attributes:
        turns: In their order.
        duration: Seconds of audio.
    """

    turns: tuple[SpokenTurn, ...]
    duration: float

    @property
    def text(self) -> str:
        """All of it, a line for each turn."""
        return str(self)

    def __iter__(self) -> Iterator[SpokenTurn]:
        return iter(self.turns)

    def __len__(self) -> int:
        return len(self.turns)

    def __str__(self) -> str:
        return "\n".join(turn.text for turn in self.turns if turn.text)


@attrs.define
class _Turn:
    start: float
    end: float
    committed: bool = False
    text: str | None = None
    error: RealtimeError | None = None


def turn_detection_for(model: str, wanted: str | Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the turn detection for a transcription model; it never asks for answers."""
    if wanted is None or model in _WITHOUT_TURNS:
        return None
    given = {"type": wanted} if isinstance(wanted, str) else dict(wanted)
    if given.get("type") not in _SILENCE:
        raise ConfigurationError(f'turn_detection must be "server_vad", "semantic_vad" or None, not {wanted!r}')
    return {"create_response": False, "interrupt_response": False, **given}


def transcribe(
    session: RealtimeSession,
    audio: Path | pcm.AudioLike,
    *,
    transcription: Mapping[str, Any],
    turn_detection: dict[str, Any] | None,
    rate: int,
    wait: Wait,
    cancel: threading.Event | None,
) -> Transcription:
    """Have a recording transcribed in a session that nobody else uses.

    Raises:
        TimedOut: Time was up.
        RealtimeError: The server refused something.
    """
    data = contents.wire_audio(audio, rate, "audio/pcm")
    duration = len(data) / (pcm.SAMPLE_RATE * pcm.BYTES_PER_SAMPLE)
    _step(session, wait, transcription=transcription, turn_detection=turn_detection, input_format="pcm")
    session.send_audio(data, timeout=_left(wait))
    if turn_detection is None:
        session.input_audio_buffer.commit(wait=False)
    else:
        session.send_audio(pcm.silence(_silence(turn_detection)), timeout=_left(wait))
    _step(session, wait)  # events are handled in order: when this is answered, all of the audio has been taken in
    scribe = _Scribe(duration, at_least=1 if turn_detection is None else 0)
    while True:
        message = _next(session, wait, cancel)
        if message is not None:
            scribe.take(message)
        elif scribe.complete:
            return Transcription(turns=tuple(scribe.turns()), duration=duration)
        elif wait.left() == 0:
            raise _timed_out(wait)
        elif scribe.speaking and not scribe.cut:  # noise up to the end: nobody hears it stop
            scribe.cut = True
            session.input_audio_buffer.commit(wait=False)


def _next(session: RealtimeSession, wait: Wait, cancel: threading.Event | None) -> RealtimeMessage | None:
    """Return the next message; ``None`` when it is quiet."""
    try:
        return session.receive(timeout=min(_QUIET, wait.left()), cancel=cancel)
    except TimedOut:
        return None


def _timed_out(wait: Wait) -> TimedOut:
    return TimedOut(f"the transcription was not complete within {wait.timeout:g} s")


def _step(session: RealtimeSession, wait: Wait, **settings: Any) -> None:
    try:
        session.update(**settings, timeout=_left(wait))
    except TimedOut:
        raise _timed_out(wait) from None


def _left(wait: Wait) -> float | None:
    return None if wait.timeout is None else wait.left()


def _silence(turn_detection: Mapping[str, Any]) -> float:
    told = turn_detection.get("silence_duration_ms")
    return _SILENCE[turn_detection["type"]] + (told / 1000 if isinstance(told, (int, float)) else 0.0)


class _Scribe:
    """Notes turns and their texts, which may come out of order (protocol.md 4.10).

    Args:
        duration: Seconds of audio.
        at_least: How many turns there must be.
    """

    def __init__(self, duration: float, at_least: int) -> None:
        self._duration = duration
        self._at_least = at_least
        self._turns: dict[str, _Turn] = {}
        self.cut = False  # the last turn was ended by us

    @property
    def speaking(self) -> bool:
        """Whether a turn has begun and not ended."""
        return any(not turn.committed for turn in self._turns.values())

    @property
    def complete(self) -> bool:
        """Whether every turn that is known has its text."""
        texts = [turn.text for turn in self._turns.values()]
        return None not in texts and len(texts) >= self._at_least

    def turns(self) -> Sequence[SpokenTurn]:
        """Return the turns in their order."""
        return [
            SpokenTurn(text=turn.text or "", start=turn.start, end=turn.end, item_id=item_id, error=turn.error)
            for item_id, turn in sorted(self._turns.items(), key=lambda entry: entry[1].start)
        ]

    def take(self, message: RealtimeMessage) -> None:
        """Take in a message."""
        event, kind = message.outline or {}, message.type or ""
        item_id = event.get("item_id")
        if not isinstance(item_id, str):
            return
        if kind == "input_audio_buffer.speech_started":
            self._turn(item_id).start = self._second(event.get("audio_start_ms"), 0.0)
        elif kind == "input_audio_buffer.speech_stopped":
            self._turn(item_id).end = self._second(event.get("audio_end_ms"), self._duration)
        elif kind == "input_audio_buffer.committed":
            self._turn(item_id).committed = True
        elif kind == f"{_SPEECH}completed":
            self._turn(item_id).text = str(event.get("transcript") or "").strip()
        elif kind == f"{_SPEECH}failed":
            turn, told = self._turn(item_id), event.get("error")
            known: Mapping[str, Any] = told if isinstance(told, Mapping) else {}
            turn.text = ""
            turn.error = RealtimeError(known.get("code"), str(known.get("message") or "the transcription failed"))

    def _turn(self, item_id: str) -> _Turn:
        return self._turns.setdefault(item_id, _Turn(0.0, self._duration))

    def _second(self, ms: object, otherwise: float) -> float:
        return min(ms / 1000, self._duration) if isinstance(ms, (int, float)) else otherwise
