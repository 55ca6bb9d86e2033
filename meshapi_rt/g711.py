"""The tables of ITU-T G.711: every 16-bit sample to its code, and every code to its sample.

A code is a sign, a segment (3 bits) and a step (4 bits), some bits inverted. The steps of a segment are twice
as wide as those of the one below: the segment is the magnitude's number of bits, the step its next four.
The functions for audio are in :mod:`.pcm`. Tables are made when first asked for.
"""

from __future__ import annotations

import functools
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["alaw_codes", "alaw_samples", "ulaw_codes", "ulaw_samples"]

T = TypeVar("T", np.uint8, np.int16)


@functools.cache
def ulaw_codes() -> NDArray[np.uint8]:
    """Return the µ-law code of every sample, by the sample's 16 bits taken as unsigned."""
    value = _every_sample() >> 2  # the recommendation starts from 14 bits
    magnitude = np.minimum(np.abs(value) + 33, 8191)  # its bias, and the end of its scale
    segment = _bits(magnitude) - 6
    code = segment << 4 | (magnitude >> (segment + 1)) & 15
    return _fixed(code ^ np.where(value < 0, 0x7F, 0xFF), np.uint8)


@functools.cache
def alaw_codes() -> NDArray[np.uint8]:
    """Return the A-law code of every sample, by the sample's 16 bits taken as unsigned."""
    value = _every_sample() >> 3  # the recommendation starts from 13 bits
    magnitude = np.where(value < 0, ~value, value)
    segment = np.maximum(_bits(magnitude) - 5, 0)
    code = segment << 4 | (magnitude >> np.maximum(segment, 1)) & 15  # the two lowest segments are alike
    return _fixed(code ^ np.where(value < 0, 0x55, 0xD5), np.uint8)


@functools.cache
def ulaw_samples() -> NDArray[np.int16]:
    """Return the 16-bit sample of every µ-law code."""
    code = np.arange(256) ^ 0xFF
    magnitude = ((((code & 15) << 3) + 132) << (code >> 4 & 7)) - 132
    return _fixed(np.where(code & 0x80, -magnitude, magnitude), np.int16)


@functools.cache
def alaw_samples() -> NDArray[np.int16]:
    """Return the 16-bit sample of every A-law code."""
    code = np.arange(256) ^ 0xD5
    segment = code >> 4 & 7
    middle_of_step = ((code & 15) << 4) + np.where(segment, 264, 8)
    magnitude = middle_of_step << np.maximum(segment - 1, 0)
    return _fixed(np.where(code & 0x80, -magnitude, magnitude), np.int16)


def _every_sample() -> NDArray[np.int32]:
    return np.arange(65_536).astype(np.uint16).view(np.int16).astype(np.int32)


def _bits(magnitude: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.frexp(magnitude)[1]


def _fixed(table: NDArray[Any], dtype: type[T]) -> NDArray[T]:
    """Return a table that nobody can change: it is shared."""
    result = table.astype(dtype)
    result.flags.writeable = False
    return result
