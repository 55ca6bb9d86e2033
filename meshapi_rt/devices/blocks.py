"""Audio cut into blocks for the wire: any rate and any pieces in, blocks of one length and format out."""

from __future__ import annotations

import attrs
import numpy as np
from numpy.typing import NDArray

from .. import pcm
from ..resampling import Resampler
from ..wire_format import WireFormat

__all__ = ["Block", "Blocks"]


@attrs.frozen
class Block:
    """One block, ready to be sent.

    Attributes:
        data: As on the wire.
        ended: When its last sample was heard, on the monotonic clock.
        level: Of what was heard, in dBFS, muted or not.
    """

    data: bytes
    ended: float
    level: float


class Blocks:
    """Cuts one stream of samples into blocks; a rest stays until it is full.

    Args:
        rate: Samples per second that come.
        seconds: Length of a block.
        wire: The format that blocks have.
    """

    def __init__(self, rate: int, seconds: float, wire: WireFormat) -> None:
        self._wire = wire
        self._size = max(1, round(seconds * wire.rate))
        self._resampler = Resampler(rate, wire.rate)
        self._rest = np.empty(0, np.int16)
        self._hushed = 0  # samples at the beginning of _rest, up to the last one that was muted
        self._ready: list[Block] = []

    def add(self, sound: NDArray[np.int16], ended: float, muted: bool) -> None:
        """Take the next samples, mono; *ended* is when the last of them was heard."""
        self._rest = np.concatenate((self._rest, self._resampler.push(sound)))
        if muted:
            self._hushed = self._rest.size
        while self._rest.size >= self._size:
            samples, self._rest = self._rest[: self._size], self._rest[self._size :]
            level = pcm.level(samples)
            if self._hushed:
                samples = np.zeros_like(samples)
            self._hushed = max(0, self._hushed - self._size)
            at = ended - self._rest.size / self._wire.rate
            self._ready.append(Block(self._wire.encode(samples), at, level))

    def flush(self, ended: float) -> None:
        """End the stream, filling up the last block with silence; another may follow."""
        rest = self._resampler.flush()
        missing = -(self._rest.size + rest.size) % self._size
        self._rest = np.concatenate((self._rest, rest, np.zeros(missing, np.int16)))
        self.add(np.empty(0, np.int16), ended, muted=False)

    def pop(self, hush: bool) -> Block | None:
        """Return the next block, silenced if *hush*; ``None`` while there is none."""
        if not self._ready:
            return None
        block = self._ready.pop(0)
        if hush:
            silence = self._wire.encode(np.zeros(self._size, np.int16))
            block = attrs.evolve(block, data=silence)
        return block
