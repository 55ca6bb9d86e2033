"""The user's speech: buffer, turns, transcription, idle timeout (protocol.md 4.2, 4.10, 4.14)."""

from __future__ import annotations

import re
from typing import Any

from .. import pcm
from .audio_input import InputBuffer, SpeechStarted, SpeechStopped
from .conversation import Conversation
from .failures import Refusal, error_event
from .host import Host, Timer, TranscriptionJob
from .ids import new_id
from .items import Item, Sound
from .settings import SessionSettings
from .speaking import Speaking
from .usage import HEARD_MS_PER_TOKEN, count_text

__all__ = ["Listening"]

# These are billed by time, the others by tokens: protocol.md 4.10.
_BILLED_BY_TIME = ("whisper-1", "gpt-transcribe", "gpt-live-transcribe", "gpt-realtime-whisper")


class Listening:
    """Turns appended audio into user items. Everything is called on the loop's thread."""

    def __init__(self, host: Host, settings: SessionSettings, conversation: Conversation, speaking: Speaking) -> None:
        self._host = host
        self._settings = settings
        self._conversation = conversation
        self._speaking = speaking
        self._buffer = InputBuffer(settings.input_format, settings.turn_detection)
        self._idle: Timer | None = None

    def reconfigure(self) -> None:
        """Follow the session's settings."""
        self._buffer.configure(self._settings.input_format, self._settings.turn_detection)
        self._stop_idle()

    def append(self, data: bytes) -> None:
        """Take audio, and act on the turns in it.

        Raises:
            Refusal: The buffer is full.
        """
        for found in self._buffer.append(data):
            if isinstance(found, SpeechStarted):
                self._speech_started(found)
            else:
                self._speech_stopped(found)

    def commit(self) -> None:
        """Make everything in the buffer one user item. No response follows.

        Raises:
            Refusal: There is less than 100 ms.
        """
        item_id, sound = self._buffer.commit()
        self._add_item(item_id, sound)

    def clear(self) -> None:
        """Drop what is in the buffer."""
        self._buffer.clear()
        self._host.send({"type": "input_audio_buffer.cleared"})

    def response_done(self, audio_ms: float) -> None:
        """Start to wait for the user, after the answer has been played (protocol.md 3.3)."""
        detection = self._settings.turn_detection
        timeout = None if detection is None else detection.get("idle_timeout_ms")
        self._stop_idle()
        if timeout is not None and self._buffer.announced is None:
            self._idle = self._host.call_later((audio_ms + timeout) / 1000, self._user_is_idle)

    def close(self) -> None:
        """Wait for nothing more."""
        self._stop_idle()

    # -- turns -------------------------------------------------------------------------------------------

    def _speech_started(self, found: SpeechStarted) -> None:
        self._stop_idle()
        self._host.send(
            {
                "type": "input_audio_buffer.speech_started",
                "audio_start_ms": found.audio_start_ms,
                "item_id": found.item_id,
            }
        )
        detection = self._settings.turn_detection
        if detection is not None and detection["interrupt_response"]:
            self._speaking.interrupt()

    def _speech_stopped(self, found: SpeechStopped) -> None:
        self._host.send(
            {
                "type": "input_audio_buffer.speech_stopped",
                "audio_end_ms": found.audio_end_ms,
                "item_id": found.item_id,
            }
        )
        self._add_item(found.item_id, found.sound)
        detection = self._settings.turn_detection
        if self._settings.type == "realtime" and detection is not None and detection["create_response"]:
            self._respond()

    def _respond(self) -> None:
        try:
            self._speaking.create({})
        except Refusal as refusal:  # a response that is not interrupted still runs: protocol.md 3.3
            self._host.send(error_event(refusal, None))

    def _add_item(self, item_id: str, sound: Sound) -> None:
        self._stop_idle()
        before = self._conversation.tail
        item = Item.from_speech(item_id, sound)
        self._conversation.append(item)
        committed = {"item_id": item.id, "previous_item_id": before}
        self._host.send({"type": "input_audio_buffer.committed", **committed})
        for event_type in ("conversation.item.added", "conversation.item.done"):
            self._host.send({"type": event_type, "previous_item_id": before, "item": item.wire()})
        transcription = self._settings.transcription
        if transcription is not None:
            model = transcription.get("model", "")
            self._host.transcribe(TranscriptionJob(item.id, sound.pcm(), model, self._settings.wants_logprobs))

    def _user_is_idle(self) -> None:
        start, end = self._buffer.start_ms, self._buffer.clock_ms
        item_id, sound = self._buffer.take()
        times = {"audio_start_ms": start, "audio_end_ms": end}
        self._host.send({"type": "input_audio_buffer.timeout_triggered", **times, "item_id": item_id})
        self._add_item(item_id, sound)
        self._respond()

    def _stop_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    # -- transcription -----------------------------------------------------------------------------------

    def transcribed(self, job: TranscriptionJob, transcript: str | None, failure: str | None) -> None:
        """Tell what speech says, or why nobody knows."""
        ids = {"item_id": job.item_id, "content_index": 0}
        kind = "conversation.item.input_audio_transcription"
        if transcript is None:
            error = {
                "type": "transcription_error",
                "code": "transcription_failed",
                "message": failure,
                "param": None,
            }
            self._host.send({"type": f"{kind}.failed", **ids, "error": error})
            return
        item = self._conversation.find(job.item_id)
        if item is not None:
            item.parts[0].fields["transcript"] = transcript
        words = re.findall(r"\s*\S+|\s+$", transcript)
        for word in words:
            logprobs = {"logprobs": [_logprob(word)]} if job.logprobs else {}
            self._host.send({"type": f"{kind}.delta", **ids, "delta": word, **logprobs})
        if job.model.endswith("-diarize"):
            times = {"start": 0.0, "end": pcm.duration(job.samples)}
            segment = {"id": new_id("seg"), "text": transcript, "speaker": "A", **times}
            self._host.send({"type": f"{kind}.segment", **ids, **segment})
        whole = {"logprobs": [_logprob(word) for word in words]} if job.logprobs else {}
        usage = _transcription_usage(job, transcript)
        self._host.send({"type": f"{kind}.completed", **ids, "transcript": transcript, "usage": usage, **whole})


def _logprob(token: str) -> dict[str, Any]:
    return {"token": token, "bytes": list(token.encode("utf-8", "replace")), "logprob": 0.0}


def _transcription_usage(job: TranscriptionJob, transcript: str) -> dict[str, Any]:
    if job.model in _BILLED_BY_TIME:
        return {"type": "duration", "seconds": pcm.duration(job.samples)}
    heard = -(-round(pcm.duration(job.samples) * 1000) // HEARD_MS_PER_TOKEN)
    written = count_text(transcript)
    return {
        "type": "tokens",
        "total_tokens": heard + written,
        "input_tokens": heard,
        "output_tokens": written,
        "input_token_details": {"text_tokens": 0, "audio_tokens": heard},
    }
