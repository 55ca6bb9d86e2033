"""Hear where speech starts and ends, by its energy. Pure: samples in, turns out.

A frame of 20 ms is loud when its level passes the threshold, and quiet when it is 6 dB below. Speech starts
with three loud frames among the last four (a click is not speech), and ends with the given silence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

__all__ = ["Detector", "Started", "Stopped", "threshold_level"]

FRAME_MS = 20
_HYSTERESIS_DB = 6.0
_ONSET_WINDOW = 4
_ONSET_LOUD = 3
# What semantic turn detection waits for, in ms: longer than a pause between words, well below the longest
# waits of protocol.md 3.3 (8, 4 and 2 s), which are for sentences that sound unfinished.
_EAGERNESS_MS = {"low": 1600, "medium": 800, "auto": 800, "high": 400}


@attrs.frozen
class Started:
    """Speech was heard; it began *ms* milliseconds after the detector's first sample."""

    ms: int


@attrs.frozen
class Stopped:
    """Speech has ended; the silence that ended it included, *ms* after the detector's first sample."""

    ms: int


def threshold_level(threshold: float) -> float:
    """Map the protocol's threshold to a level: 0 is -60 dBFS, 0.5 is -40 dBFS, 1 is -20 dBFS.

    Speech recorded at -25 dBFS passes the default with room for its quiet syllables; room noise at
    -60 dBFS does not.
    """
    return -60.0 + 40.0 * threshold


class Detector:
    """One stream of samples, cut into frames whatever the sizes of the chunks.

    Attributes:
        speaking: Speech has started and not yet stopped.
        prefix_padding_ms: What a turn includes of the time before its first loud frame.
    """

    def __init__(self, rate: int, turn_detection: Mapping[str, Any]) -> None:
        self.speaking = False
        if turn_detection["type"] == "semantic_vad":
            threshold, self.prefix_padding_ms = 0.5, 300
            silence_ms = _EAGERNESS_MS[turn_detection["eagerness"]]
        else:
            threshold = turn_detection["threshold"]
            self.prefix_padding_ms = turn_detection["prefix_padding_ms"]
            silence_ms = turn_detection["silence_duration_ms"]
        self._start_power = _power(threshold_level(threshold))
        self._stop_power = _power(threshold_level(threshold) - _HYSTERESIS_DB)
        self._silence_frames = max(1, math.ceil(silence_ms / FRAME_MS))
        self._frame = rate * FRAME_MS // 1000
        self._rest: NDArray[np.int16] = np.empty(0, np.int16)
        self._frames = 0  # frames heard so far: the detector's clock
        self._loud: list[bool] = []
        self._quiet = 0

    def feed(self, samples: NDArray[np.int16]) -> Iterator[Started | Stopped]:
        """Hear more samples, and tell what they decide."""
        samples = np.concatenate((self._rest, samples))
        whole = samples.size // self._frame
        self._rest = samples[whole * self._frame :]
        frames = samples[: whole * self._frame].reshape(whole, self._frame).astype(np.float32)
        for power in np.mean(np.square(frames), axis=1):
            self._frames += 1
            found = self._hear_speech(power) if self.speaking else self._hear_silence(power)
            if found is not None:
                yield found

    def _hear_silence(self, power: float) -> Started | None:
        self._loud = [*self._loud[1 - _ONSET_WINDOW :], bool(power >= self._start_power)]
        if sum(self._loud) < _ONSET_LOUD:
            return None
        first = self._frames - len(self._loud) + self._loud.index(True)
        self.speaking, self._loud, self._quiet = True, [], 0
        return Started(first * FRAME_MS)

    def _hear_speech(self, power: float) -> Stopped | None:
        self._quiet = self._quiet + 1 if power < self._stop_power else 0
        if self._quiet < self._silence_frames:
            return None
        self.speaking = False
        return Stopped(self._frames * FRAME_MS)


def _power(level: float) -> float:
    return float(32768.0**2 * 10 ** (level / 10))
