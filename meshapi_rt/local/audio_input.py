"""The input audio buffer: bytes, the audio clock, and the turns heard in it (protocol.md 4.2, 4.3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from .failures import Refusal
from .formats import WireFormat
from .ids import new_id
from .items import Sound
from .vad import Detector, Started

__all__ = ["InputBuffer", "SpeechStarted", "SpeechStopped"]

_TICKS_PER_MS = 48  # divisible by the bytes per ms of every format
_SHORTEST_MS = 100  # protocol.md 1.5
# 33 minutes of PCM, more than a session lives in real time; the live service's own bound is not known.
_LONGEST_BYTES = 96 * 1024 * 1024
# What is kept of a quiet line while turn detection is on, beyond the padding: nobody can ask for it.
_QUIET_KEPT_MS = 30_000


@attrs.frozen
class SpeechStarted:
    """A turn began at *audio_start_ms* of the audio clock; *item_id* is the item that it will be."""

    audio_start_ms: int
    item_id: str


@attrs.frozen
class SpeechStopped:
    """The turn ended at *audio_end_ms* of the audio clock."""

    audio_end_ms: int
    item_id: str
    sound: Sound


class InputBuffer:
    """What the client appended and has not committed.

    Times count all audio ever appended in the session, whatever became of it (protocol.md, section 5).

    Attributes:
        announced: The id of the item that speech under way will be, else ``None``.
    """

    def __init__(self, fmt: WireFormat, turn_detection: Mapping[str, Any] | None) -> None:
        self.announced: str | None = None
        self._format = fmt
        self._data = bytearray()
        self._ticks = 0  # the clock at the buffer's last byte, exact whatever the formats were
        self._turn_detection = turn_detection
        self._detector: Detector | None = None
        self._detector_ticks = 0  # the clock at the detector's first sample
        self._odd = b""  # the first byte of a sample whose second has not come yet
        self._restart_detector()

    @property
    def clock_ms(self) -> int:
        """Milliseconds of audio appended so far."""
        return self._ticks // _TICKS_PER_MS

    @property
    def start_ms(self) -> int:
        """The time of the buffer's first byte."""
        return self._start_ticks // _TICKS_PER_MS

    @property
    def _ticks_per_byte(self) -> int:
        return _TICKS_PER_MS // self._format.bytes_per_ms

    @property
    def _start_ticks(self) -> int:
        return self._ticks - len(self._data) * self._ticks_per_byte

    def configure(self, fmt: WireFormat, turn_detection: Mapping[str, Any] | None) -> None:
        """Take new settings. Audio of another format is dropped; new turn detection starts listening anew."""
        if fmt != self._format:
            self._data.clear()
        elif turn_detection == self._turn_detection:
            return
        self._format, self._turn_detection = fmt, turn_detection
        self._restart_detector()

    def append(self, data: bytes) -> Iterator[SpeechStarted | SpeechStopped]:
        """Add audio in the session's format, and tell which turns start and end in it.

        Raises:
            Refusal: The buffer is full. Nothing was added.
        """
        if len(self._data) + len(data) > _LONGEST_BYTES:
            raise Refusal.invalid("audio", "the input audio buffer is full: commit or clear it")
        self._data += data
        self._ticks += len(data) * self._ticks_per_byte
        if self._detector is None:
            return iter(())
        heard = self._odd + data
        whole = len(heard) - len(heard) % self._format.width
        self._odd = heard[whole:]
        return self._listen(heard[:whole])

    def _listen(self, data: bytes) -> Iterator[SpeechStarted | SpeechStopped]:
        detector = self._detector
        assert detector is not None
        origin = self._detector_ticks
        for found in detector.feed(self._format.decode(data)):
            at = origin + found.ms * _TICKS_PER_MS
            if isinstance(found, Started):
                self._drop_before(at - detector.prefix_padding_ms * _TICKS_PER_MS)
                self.announced = new_id("item")
                yield SpeechStarted(self.start_ms, self.announced)
            else:
                item_id, self.announced = self.announced or new_id("item"), None
                yield SpeechStopped(at // _TICKS_PER_MS, item_id, self._take_until(at))
            if self._detector is not detector:
                return
        if not detector.speaking:
            kept_ms = detector.prefix_padding_ms + _QUIET_KEPT_MS
            self._drop_before(self._ticks - kept_ms * _TICKS_PER_MS)

    def commit(self) -> tuple[str, Sound]:
        """Take everything out as one item; returns the item's id and its audio.

        Raises:
            Refusal: Under 100 ms; what there is stays in the buffer.
        """
        ms = len(self._data) / self._format.bytes_per_ms
        if ms < _SHORTEST_MS:
            raise Refusal(
                "input_audio_buffer_commit_empty",
                "Error committing input audio buffer: buffer too small. Expected at least "
                f"{_SHORTEST_MS}ms of audio, but buffer only has {ms:.2f}ms of audio.",
            )
        return self.take()

    def take(self) -> tuple[str, Sound]:
        """Take everything out as one item, however short it is."""
        item_id = self.announced or new_id("item")
        sound = Sound(self._format, bytes(self._data))
        self.clear()
        return item_id, sound

    def clear(self) -> None:
        """Drop everything; speech under way is forgotten, the clock is not."""
        self._data.clear()
        self._restart_detector()

    def _restart_detector(self) -> None:
        self.announced = None
        self._odd = b""
        self._detector_ticks = self._ticks
        self._detector = Detector(self._format.rate, self._turn_detection) if self._turn_detection else None

    def _offset(self, ticks: int) -> int:
        # Whole samples, so that what stays is aligned as it came.
        offset = (ticks - self._start_ticks) // self._ticks_per_byte
        return min(len(self._data), max(0, offset - offset % self._format.width))

    def _drop_before(self, ticks: int) -> None:
        del self._data[: self._offset(ticks)]

    def _take_until(self, ticks: int) -> Sound:
        end = self._offset(ticks)
        sound = Sound(self._format, bytes(self._data[:end]))
        del self._data[:end]
        return sound
