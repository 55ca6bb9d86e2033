"""A reply while it comes: events in, pieces out, and at the end the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import pcm
from .message import RealtimeMessage
from .reply import Reply, Timings
from .resampling import Resampler
from .retired import AUDIO_DELTAS, current_name
from .tools.calls import ToolCall
from .usage import Usage
from .wire_format import FORMATS

__all__ = ["Draft", "Piece", "reply_of"]

Piece: TypeAlias = "str | NDArray[np.int16]"
"""Text as it is written or said, or audio: ``int16`` samples at 24 kHz."""
_Place: TypeAlias = tuple[int, int]  # of a content part: the item's place in the response, its own in the item

_TEXTS = {"response.output_text": "text", "response.output_audio_transcript": "transcript"}


class _Voice:
    """The audio of one content part, as samples at 24 kHz."""

    def __init__(self, wire_format: str) -> None:
        self._format = FORMATS.get(wire_format, FORMATS["audio/pcm"])
        self._joiner = pcm.Joiner()
        self._resampler = Resampler(self._format.rate, pcm.SAMPLE_RATE)
        self.samples: list[NDArray[np.int16]] = []

    def push(self, data: bytes) -> NDArray[np.int16]:
        whole = self._joiner.push(data) if self._format.width == pcm.BYTES_PER_SAMPLE else data
        return self._keep(self._resampler.push(self._format.decode(whole)))

    def flush(self) -> NDArray[np.int16]:
        return self._keep(self._resampler.flush())

    def _keep(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        if samples.size:
            self.samples.append(samples)
        return samples


class Draft:
    """Collects the events of one response.

    Args:
        response_id: Which one.
        wire_format: The session's output format.

    Attributes:
        first_text: When its first text or transcript came, on the monotonic clock.
        first_audio: Likewise.
        ended: When it ended.
    """

    def __init__(self, response_id: str, wire_format: str) -> None:
        self.response_id = response_id
        self._format = wire_format
        self._texts: dict[_Place, str] = {}
        self._transcripts: dict[_Place, str] = {}
        self._voices: dict[_Place, _Voice] = {}
        self.first_text: float | None = None
        self.first_audio: float | None = None
        self._done: Mapping[str, Any] | None = None
        self.ended = 0.0

    @property
    def is_done(self) -> bool:
        """Whether the response has ended."""
        return self._done is not None

    @property
    def seconds(self) -> float:
        """How long its audio plays."""
        return sum(part.size for voice in self._voices.values() for part in voice.samples) / pcm.SAMPLE_RATE

    @property
    def usage(self) -> Usage:
        """What the server counted."""
        return Usage.of_response((self._done or {}).get("usage"))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The functions that the model wants called."""
        return tuple(
            ToolCall(
                call_id=str(item.get("call_id") or ""),
                name=str(item.get("name") or ""),
                arguments=str(item.get("arguments") or ""),
                response_id=self.response_id,
            )
            for item in self._items()
            if item.get("type") == "function_call"
        )

    def take(self, message: RealtimeMessage, at: float) -> list[Piece]:
        """Take in an event of the response; return what is new in it."""
        if self.is_done:
            return []
        if message.audio is not None:
            return self._take_audio(message, at)
        event, kind = message.outline or {}, current_name(message.type or "")
        stem, _, last = kind.rpartition(".")
        if stem in _TEXTS:
            return self._take_text(_TEXTS[stem], last, event, at)
        if kind == "response.created":
            self._format = _format_of(event) or self._format
        elif kind == "response.done":
            self._done, self.ended = _mapping(event, "response"), at
            return [rest for voice in self._voices.values() if (rest := voice.flush()).size]
        return []

    def _take_audio(self, message: RealtimeMessage, at: float) -> list[Piece]:
        assert message.audio is not None
        place = _place(message.outline or {}) if message.type in AUDIO_DELTAS else (0, 0)
        if place not in self._voices:
            self._voices[place] = _Voice(self._format)
        self.first_audio = self.first_audio or at
        samples = self._voices[place].push(message.audio)
        return [samples] if samples.size else []

    def _take_text(self, name: str, last: str, event: Mapping[str, Any], at: float) -> list[Piece]:
        """Take in a delta, or the whole of it at its end, which counts."""
        texts = self._texts if name == "text" else self._transcripts
        place, told = _place(event), event.get("delta" if last == "delta" else name)
        if not isinstance(told, str) or not told:
            return []
        known = texts.get(place, "")
        self.first_text = self.first_text or at
        texts[place] = known + told if last == "delta" else told
        return [told] if last == "delta" else [] if known else [told]

    # -- the end ---

    def reply(self, timings: Timings, calls: tuple[ToolCall, ...], usage: Usage) -> Reply:
        """Return the whole, with what is known of the responses before it."""
        assert self._done is not None
        text, transcript = _joined(self._texts), _joined(self._transcripts)
        if not text and not transcript:
            text, transcript = self._told("text"), self._told("transcript")
        parts = [part for _, voice in sorted(self._voices.items(), key=_by_place) for part in voice.samples]
        audio = np.concatenate(parts) if parts else np.empty(0, np.int16)
        audio.flags.writeable = False
        details = self._done.get("status_details")
        return Reply(
            text=text,
            transcript=transcript,
            audio=audio,
            status=str(self._done.get("status") or "completed"),
            status_details=details if isinstance(details, Mapping) else None,
            tool_calls=calls,
            items=tuple(self._items()),
            usage=usage,
            response_id=self.response_id,
            timings=timings,
        )

    def _items(self) -> Sequence[Mapping[str, Any]]:
        output = (self._done or {}).get("output")
        return [item for item in output if isinstance(item, Mapping)] if isinstance(output, list) else []

    def _told(self, name: str) -> str:
        """Return what the items say, where no event before the end said it."""
        contents = [item.get("content") for item in self._items()]
        parts = [part for content in contents if isinstance(content, list) for part in content]
        return "\n".join(str(part[name]) for part in parts if isinstance(part, Mapping) and part.get(name))


def reply_of(drafts: Sequence[Draft], ran: Mapping[str, ToolCall], *, called: float, asked: float) -> Reply:
    """Return the last of several responses as the reply to one question.

    Args:
        drafts: All of them, each at its end.
        ran: The calls that were answered on the way, by their ids.
        called: When the question was put, on the monotonic clock.
        asked: When it had been sent.
    """
    last = drafts[-1]
    texts = [draft.first_text for draft in drafts if draft.first_text is not None]
    voices = [draft.first_audio for draft in drafts if draft.first_audio is not None]
    timings = Timings(
        waited=asked - called,
        first_text=min(texts) - asked if texts else None,
        first_audio=min(voices) - asked if voices else None,
        total=last.ended - asked,
    )
    calls = tuple(ran.get(call.call_id, call) for draft in drafts for call in draft.tool_calls)
    return last.reply(timings, calls, sum((draft.usage for draft in drafts), Usage()))


def _by_place(entry: tuple[_Place, _Voice]) -> _Place:
    return entry[0]


def _joined(texts: Mapping[_Place, str]) -> str:
    return "\n".join(text for _, text in sorted(texts.items()))


def _place(event: Mapping[str, Any]) -> _Place:
    item, part = event.get("output_index"), event.get("content_index")
    return (item if isinstance(item, int) else 0, part if isinstance(part, int) else 0)


def _mapping(source: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = source.get(key)
    return value if isinstance(value, Mapping) else {}


def _format_of(event: Mapping[str, Any]) -> str | None:
    output = _mapping(_mapping(_mapping(event, "response"), "audio"), "output")
    kind = _mapping(output, "format").get("type")
    return kind if isinstance(kind, str) else None
