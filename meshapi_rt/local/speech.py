"""A voice without a voice: every word is a quiet tone, the same word always the same one."""

from __future__ import annotations

import functools
import zlib

import numpy as np
from numpy.typing import NDArray

from .. import pcm

__all__ = ["WORD_MS", "describe", "speak_word"]

WORD_MS = 200
_GAP_MS = 30  # of the word's time, silent, so that words can be counted
_FADE_MS = 10  # raised cosine at both ends: no clicks
_LEVEL_DBFS = -26.0
# Two octaves of semitones from 220 Hz up: distinct to the ear, and inside a telephone's band.
_LOWEST_HZ = 220.0
_NOTES = 25


@functools.lru_cache(maxsize=256)
def speak_word(word: str, speed: float = 1.0) -> NDArray[np.int16]:
    """Return the tone of a word.

    Args:
        word: Case, punctuation and space around it do not count.
        speed: As ``audio.output.speed``: 2.0 halves the time. The pitch stays.

    Returns:
        Samples at 24 kHz, shape ``(frames,)``, read-only.
    """
    name = word.strip(" \t\r\n.,;:!?\"'()").lower()
    frequency = _LOWEST_HZ * 2 ** ((zlib.crc32(name.encode("utf-8", "replace")) % _NOTES) / 12)
    total = round(pcm.SAMPLE_RATE * WORD_MS / 1000 / speed)
    gap = round(pcm.SAMPLE_RATE * _GAP_MS / 1000 / speed)
    fade = pcm.SAMPLE_RATE * _FADE_MS // 1000
    tone = np.sin(2 * np.pi * frequency / pcm.SAMPLE_RATE * np.arange(total - gap))
    edge = 0.5 - 0.5 * np.cos(np.pi * np.arange(fade) / fade)
    tone[:fade] *= edge
    tone[-fade:] *= edge[::-1]
    amplitude = 32768 * np.sqrt(2) * 10 ** (_LEVEL_DBFS / 20)
    samples: NDArray[np.int16] = np.concatenate((tone * amplitude, np.zeros(gap))).round().astype("<i2")
    samples.flags.writeable = False
    return samples


def describe(samples: NDArray[np.int16]) -> str:
    """Say how long speech is, where its words are not known."""
    return f"({samples.size / pcm.SAMPLE_RATE:.1f} s of speech)"
