"""The audio formats of the wire, and the way between them and 24 kHz PCM (protocol.md, section 5).

G.711 runs at 8 kHz. The way up and down uses one windowed-sinc filter of numpy's, so that the server needs
no resampling package; it passes up to 3.4 kHz, what a telephone passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import pcm, wire_format

__all__ = ["FORMATS", "WireFormat", "format_of"]

_UP = 3  # 24 kHz over 8 kHz
_HALF = 48  # taps on either side, at 24 kHz: 2 ms


def _filter() -> NDArray[np.float64]:
    # Cut-off at a sixth of the rate, 4 kHz: a Nyquist filter, which leaves the original samples in place.
    at = np.arange(-_HALF, _HALF + 1)
    taps: NDArray[np.float64] = np.sinc(at / _UP) * np.kaiser(at.size, 7.0)
    return taps


_TAPS = _filter()


def _to_24k(narrow: NDArray[np.int16]) -> NDArray[np.int16]:
    if not narrow.size:
        return narrow
    spread = np.zeros(narrow.size * _UP)
    spread[::_UP] = narrow
    return _round(np.convolve(spread, _TAPS)[_HALF:-_HALF])


def _to_8k(wide: NDArray[np.int16]) -> NDArray[np.int16]:
    if not wide.size:
        return wide
    return _round((np.convolve(wide, _TAPS / _UP)[_HALF:-_HALF])[::_UP])


def _round(samples: NDArray[np.float64]) -> NDArray[np.int16]:
    return np.clip(np.rint(samples), -32768, 32767).astype("<i2")


class WireFormat(wire_format.WireFormat):
    """One of the three formats, and the way to and from it."""

    def to_pcm(self, data: bytes | bytearray) -> NDArray[np.int16]:
        """Decode to 24 kHz. The samples of ``audio/pcm`` come out as they are."""
        samples = self.decode(data)
        return samples if self.rate == pcm.SAMPLE_RATE else _to_24k(samples)

    def from_pcm(self, samples: NDArray[np.int16]) -> bytes:
        """Encode 24 kHz samples. Those of ``audio/pcm`` go in as they are."""
        return self.encode(samples if self.rate == pcm.SAMPLE_RATE else _to_8k(samples))


FORMATS: Mapping[str, WireFormat] = {
    name: WireFormat(known.name, known.rate, known.width) for name, known in wire_format.FORMATS.items()
}


def format_of(setting: Mapping[str, Any]) -> WireFormat:
    """Find the format that a validated session object names."""
    return FORMATS[setting["type"]]
