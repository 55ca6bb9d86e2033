"""Signals like speech, and how recordings are compared with them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from meshapi_rt import pcm

__all__ = ["find", "jump", "noise_ratio", "sounding", "span", "speech", "tone"]


def speech(seconds: float, rate: int = pcm.SAMPLE_RATE, seed: int = 1) -> NDArray[np.int16]:
    """Return something with the pitch, the syllables and the loudness of speech, which is nowhere like itself."""
    rng = np.random.default_rng(seed)
    at = np.arange(round(seconds * rate)) / rate
    knots = np.arange(0, seconds + 0.3, 0.15)
    pitch = np.interp(at, knots, rng.uniform(90, 240, knots.size))
    loud = np.interp(at, knots, rng.uniform(0.25, 1.0, knots.size))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    voice = sum(rng.uniform(0.2, 1) / k * np.sin(k * phase) for k in range(1, 13))
    wave = loud * voice
    return np.asarray(np.rint(wave / np.abs(wave).max() * 14_000), np.int16)


def tone(seconds: float, rate: int = pcm.SAMPLE_RATE, hertz: float = 300.0) -> NDArray[np.int16]:
    """Return a sine with a peak of 8000."""
    return np.asarray(np.rint(8000 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)), np.int16)


def jump(samples: NDArray[np.int16]) -> int:
    """Return the largest step between two samples."""
    return int(np.abs(np.diff(samples.astype(np.int32))).max(initial=0))


def find(recording: NDArray[np.int16], signal: NDArray[np.int16]) -> int:
    """Return where in a recording the signal begins most likely."""
    size = 1 << (recording.size + signal.size).bit_length()
    likeness = np.fft.irfft(np.fft.rfft(recording, size) * np.conj(np.fft.rfft(signal, size)), size)
    return int(np.argmax(likeness[: recording.size]))


def noise_ratio(recording: NDArray[np.int16], signal: NDArray[np.int16], edge: int) -> float:
    """Return in dB how far a recording, from its best match on, is from the signal; *edge* frames are left out."""
    at = find(recording, signal)
    heard = recording[at : at + signal.size].astype(np.float64)
    if heard.size < signal.size:
        return 99.0
    wanted = signal.astype(np.float64)[edge:-edge]
    error = heard[edge:-edge] - wanted
    return float(10 * np.log10((error @ error + 1e-9) / (wanted @ wanted)))


def sounding(recording: NDArray[np.int16], rate: int, floor: int = 20) -> float:
    """Return how many milliseconds of a recording hold sound; pauses of 5 ms and more do not count."""
    loud = np.flatnonzero(np.abs(recording.astype(np.int32)) > floor)
    if not loud.size:
        return 0.0
    steps = np.diff(loud)
    return 1000 * float(1 + steps[steps < rate // 200].sum()) / rate


def span(recording: NDArray[np.int16], floor: int = 20) -> tuple[int, int]:
    """Return where the sound in a recording begins and ends."""
    loud = np.flatnonzero(np.abs(recording.astype(np.int32)) > floor)
    return (int(loud[0]), int(loud[-1]) + 1) if loud.size else (0, 0)
