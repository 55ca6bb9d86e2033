"""Streams of audio from one sample rate to another, piece by piece, with next to no delay.

For whole recordings there is :func:`.pcm.resample`. A stream of soxr's holds back 36 to 170 ms (measured, 1.1): it
works in large blocks. What waits for an answer cannot spend that, so this is a plain polyphase filter.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["Resampler"]

_ZEROS = 32  # zero crossings of the sinc on either side: the delay, in samples of the lower rate
_BETA = 8.0  # of the Kaiser window: 80 dB down
_CUTOFF = 0.92  # of half the lower rate, so that the filter is down where the spectrum folds
_SLICE = 2_048  # outputs computed at a time, which keeps the temporaries small


@functools.lru_cache(maxsize=8)
def _table(up: int, down: int) -> NDArray[np.float32]:
    """Return the filter for each of *up* positions between two inputs: shape ``(up, taps)``, rows of sum 1."""
    scale = min(1.0, up / down)
    half = math.ceil(_ZEROS / scale)
    at = (np.arange(1 - half, half + 1) - np.arange(up)[:, None] / up) * scale
    window = np.i0(_BETA * np.sqrt(np.maximum(0.0, 1 - (at / _ZEROS) ** 2)))
    taps = np.sinc(at * _CUTOFF) * window
    table: NDArray[np.float32] = (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)
    table.flags.writeable = False  # it is shared
    return table


class Resampler:
    """Converts one stream of mono samples from one rate to another.

    Any cut of the stream into pieces gives the same samples. Output ``n`` stands for the moment ``n / rate_out`` of
    the input: nothing is shifted. An output comes as soon as 32 samples of the lower rate behind it are known, that
    is after 1.3 ms at 24 kHz; at equal rates at once.

    Args:
        rate_in: Samples per second that come, a positive whole number.
        rate_out: Samples per second wanted, likewise.

    Threads:
        A resampler belongs to one stream and has no lock: one thread at a time.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        for rate in (rate_in, rate_out):
            if not isinstance(rate, (int, np.integer)) or rate <= 0:
                raise ValueError(f"a sample rate must be a positive whole number of Hz, not {rate!r}")
        common = math.gcd(rate_in, rate_out)
        self._up, self._down = int(rate_out) // common, int(rate_in) // common
        self._plain = self._up == self._down
        self._taps = _table(1, 1)[:, :0] if self._plain else _table(self._up, self._down)
        self._half: int = self._taps.shape[1] // 2
        self.reset()

    def reset(self) -> None:
        """Forget what is held back: another stream begins."""
        self._taken = 0  # inputs since the beginning
        self._given = 0  # outputs since the beginning
        # The inputs that outputs to come still need; before the beginning there was silence.
        self._held = np.zeros(max(0, self._half - 1), np.float32)
        self._first = -self._held.size  # the number of the input that _held begins with

    @property
    def pending(self) -> int:
        """The outputs that :meth:`flush` would return."""
        return self._total() - self._given

    def needed(self, outputs: int) -> int:
        """Return how many more inputs the next *outputs* outputs take; 0 where none are missing."""
        if outputs <= 0:
            return 0
        last = (self._given + outputs - 1) * self._down // self._up
        return max(0, last + 1 + self._half - self._taken)

    def push(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """Take the next samples of the stream and return what they complete; both ``int16``, one-dimensional."""
        self._taken += samples.size
        if self._plain:
            self._given = self._taken
            return samples
        self._held = np.concatenate((self._held, samples.astype(np.float32)))
        return self._convert(-((self._half - self._taken) * self._up // self._down))

    def rush(self, outputs: int) -> NDArray[np.int16]:
        """Return the next *outputs* of those pending now, as if silence followed; the stream goes on behind them."""
        return self._ahead(min(self._given + outputs, self._total()))

    def flush(self) -> NDArray[np.int16]:
        """Return the rest of the stream, as if silence followed, and begin another one."""
        rest = self._ahead(self._total())
        self.reset()
        return rest

    def _ahead(self, end: int) -> NDArray[np.int16]:
        self._held = np.concatenate((self._held, np.zeros(self._half, np.float32)))
        made = self._convert(end)
        self._held = self._held[: self._held.size - self._half]
        return made

    def _total(self) -> int:
        return -(-self._taken * self._up // self._down)

    def _convert(self, end: int) -> NDArray[np.int16]:
        """Compute the outputs up to the one with the number *end*."""
        end = max(self._given, end)
        result = np.empty(end - self._given, np.int16)
        for start in range(self._given, end, _SLICE):
            part = result[start - self._given : start - self._given + _SLICE]
            at = np.arange(start, start + part.size) * self._down
            first = at // self._up + (1 - self._half - self._first)
            windows = np.lib.stride_tricks.sliding_window_view(self._held, self._taps.shape[1])[first]
            sums = np.einsum("ij,ij->i", windows, self._taps[at % self._up])
            part[:] = np.clip(np.rint(sums), -32_768, 32_767)
        self._given = end
        keep = end * self._down // self._up + 1 - self._half  # the first input that the next output needs
        if keep > self._first:
            self._held = self._held[keep - self._first :]
            self._first = keep
        return result
