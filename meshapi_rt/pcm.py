"""Mono 16-bit PCM at 24 kHz, the audio of the protocol: check it, convert it, cut it, measure it.

Every function that takes *audio* takes what :func:`as_int16` takes. Nothing here changes its argument.
Conversions work block by block where that keeps their temporaries in the processor's cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import g711
from .errors import AudioFormatError, MissingExtraError

__all__ = [
    "BYTES_PER_MS",
    "BYTES_PER_SAMPLE",
    "SAMPLE_RATE",
    "AudioLike",
    "Joiner",
    "alaw_decode",
    "alaw_encode",
    "as_bytes",
    "as_int16",
    "bytes_to_ms",
    "duration",
    "from_float",
    "level",
    "ms_to_bytes",
    "resample",
    "silence",
    "split",
    "to_bytes",
    "to_float",
    "to_mono",
    "ulaw_decode",
    "ulaw_encode",
]

SAMPLE_RATE = 24_000
"""Samples per second of ``audio/pcm`` on the wire (protocol.md, section 5)."""
BYTES_PER_SAMPLE = 2
BYTES_PER_MS = 48

AudioLike: TypeAlias = "bytes | bytearray | memoryview | NDArray[np.int16] | NDArray[np.floating[Any]]"
"""What :func:`as_int16` takes; an ``array.array('h')`` goes too, which the type cannot say."""

_INT16 = np.dtype("<i2")
_COPIED = 24_000  # samples; to copy fewer takes half of what a view of their bytes does
_FULL_SCALE = 32_768  # what a float of 1.0 stands for; a power of two, so that scaling loses nothing
_BLOCK = 65_536  # samples; less costs more calls, and more gains little: temporaries of from_float() are 256 to 512 KiB


# -- in and out ---


def as_int16(audio: AudioLike) -> NDArray[np.int16]:
    """Check what a user hands over and return it as 16-bit samples.

    Bytes and contiguous little-endian ``int16`` arrays are not copied: the result is a view of them, and
    read-only where they are.

    Args:
        audio: One of

            - raw little-endian PCM16: ``bytes``, ``bytearray``, a contiguous ``memoryview`` of bytes;
            - 16-bit integers of any byte order and strides: an ``int16`` array, an ``array.array('h')``;
            - a ``float16``, ``float32`` or ``float64`` array in [-1, 1], scaled as :func:`from_float` does.

            Arrays are mono: shape ``(frames,)`` or ``(frames, 1)``.

    Returns:
        Samples, shape ``(frames,)``, little-endian ``int16``, C-contiguous.

    Raises:
        AudioFormatError: Anything else, with what was seen and what to do.
    """
    array = _as_array(audio)
    if array.dtype.kind == "f":
        return from_float(array)
    return np.ascontiguousarray(array, dtype=_INT16)


def as_bytes(audio: AudioLike) -> bytes | memoryview:
    """Check what a user hands over and return it as raw little-endian PCM16, without a copy of much where that goes.

    Whole samples as ``bytes`` need none of it.

    Returns:
        ``bytes``, or a contiguous view of bytes that lives as long as *audio* is not changed.

    Raises:
        AudioFormatError: As :func:`as_int16`.
    """
    if type(audio) is np.ndarray and audio.size <= _COPIED and audio.dtype == _INT16 and audio.ndim == 1:
        return audio.tobytes()
    return as_int16(audio).view(np.uint8).data


def to_bytes(audio: AudioLike) -> bytes:
    """Return audio as raw little-endian PCM16; ``bytes`` come back as they are.

    Raises:
        AudioFormatError: As :func:`as_int16`.
    """
    samples = as_int16(audio)
    return audio if type(audio) is bytes else samples.tobytes()


def to_float(pcm: AudioLike) -> NDArray[np.float32]:
    """Scale 16-bit samples to the range [-1, 1), by 1/32768.

    Returns:
        Samples, shape ``(frames,)``, ``float32``. :func:`from_float` gives back the same 16 bits.

    Raises:
        AudioFormatError: As :func:`as_int16`.
    """
    scaled: NDArray[np.float32] = np.multiply(as_int16(pcm), np.float32(1 / _FULL_SCALE), dtype=np.float32)
    return scaled


def from_float(samples: NDArray[np.floating[Any]], *, clip: bool = False) -> NDArray[np.int16]:
    """Scale floats by 32768 and round them to 16-bit samples.

    -1.0 becomes -32768. 1.0 becomes 32767, the largest there is: it is the one value that gives way.

    Args:
        samples: Shape ``(frames,)`` or ``(frames, 1)``, ``float16``, ``float32`` or ``float64``.
        clip: Clip what lies outside of [-1, 1], infinity included, instead of refusing it.

    Returns:
        Samples, shape ``(frames,)``, little-endian ``int16``.

    Raises:
        AudioFormatError: Not such an array, NaN, or a value outside of [-1, 1] without *clip*.
    """
    array = _as_array(samples)
    if array.dtype.kind != "f":
        raise AudioFormatError("audio is 16-bit already, and from_float() takes floats; use as_int16()")
    result = np.empty(array.size, _INT16)
    wide = np.empty(min(array.size, _BLOCK), np.float64 if array.dtype.itemsize == 8 else np.float32)
    with np.errstate(all="ignore"):  # what overflows here is refused or clipped below
        for start in range(0, array.size, _BLOCK):
            source = array[start : start + _BLOCK]
            scaled = wide[: source.size]
            np.multiply(source, _FULL_SCALE, out=scaled, dtype=scaled.dtype)
            low, high = scaled.min(), scaled.max()  # NaN in the block makes both of them NaN
            if math.isnan(low) or not (clip or (low >= -_FULL_SCALE and high <= _FULL_SCALE)):
                raise AudioFormatError(_bad_float(source, start, clip))
            np.rint(scaled, out=scaled)
            if low < -_FULL_SCALE or high > _FULL_SCALE - 1:
                np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1, out=scaled)
            result[start : start + _BLOCK] = scaled
    return result


def _bad_float(block: NDArray[Any], start: int, clip: bool) -> str:
    bad = np.isnan(block) if clip else ~(np.abs(block) <= 1)  # NaN compares false
    at = int(np.argmax(bad))
    advice = "look where it comes from" if np.isnan(block[at]) else "scale it, or use from_float(..., clip=True)"
    return f"audio[{start + at}] is {block[at]:.9g}, and floats must lie in [-1, 1]; {advice}"


def to_mono(samples: NDArray[Any]) -> NDArray[Any]:
    """Mix channels down to their mean.

    Args:
        samples: Shape ``(frames, channels)``, ``int16`` or floats of any range; or ``(frames,)``,
            which comes back as it is.

    Returns:
        Samples, shape ``(frames,)``, of the same dtype; integers are rounded.

    Raises:
        AudioFormatError: Another dtype or shape, or no channels.
    """
    _check_dtype(samples)
    if samples.ndim == 1:
        return samples
    if samples.ndim != 2 or samples.shape[1] == 0:
        raise AudioFormatError(
            f"audio has shape {samples.shape}; to_mono() takes (frames, channels), at least one channel"
        )
    # Adding up columns is much faster than a mean along so short an axis; float64 holds any sum of int16.
    with np.errstate(all="ignore"):
        total = samples[:, 0].astype(np.float64)
        for channel in samples.T[1:]:
            total += channel
        total /= samples.shape[1]
        if samples.dtype.kind == "i":
            np.rint(total, out=total)
        return total.astype(samples.dtype)


# -- what a user hands over ---


def _as_array(audio: Any) -> NDArray[Any]:
    """Return mono audio as a one-dimensional array of int16 or floats; the values are not looked at."""
    array = audio if isinstance(audio, np.ndarray) else _from_buffer(audio)
    _check_dtype(array)
    if array.ndim == 1:
        return array
    if array.ndim == 2 and array.shape[1] == 1:
        return array[:, 0]
    if array.ndim == 2:
        raise AudioFormatError(
            f"audio has {array.shape[1]} channels (shape {array.shape}); mix it down with pcm.to_mono()"
        )
    raise AudioFormatError(f"audio has shape {array.shape}; pass one dimension, (frames,)")


def _check_dtype(array: Any) -> None:
    if not isinstance(array, np.ndarray):
        raise AudioFormatError(f"audio is of type {type(array).__name__}; pass a numpy array")
    kind, size = array.dtype.kind, array.dtype.itemsize
    if not (kind == "i" and size == 2) and not (kind == "f" and size <= 8):
        raise AudioFormatError(
            f"audio has dtype {array.dtype}; pass int16, or floats in [-1, 1] (raw PCM16 goes as bytes)"
        )


def _from_buffer(audio: Any) -> NDArray[Any]:
    view = _view(audio)
    kind = view.format.lstrip("@=<>")
    if kind == "h":
        return np.asarray(view)
    if kind not in ("B", "b", "c"):
        raise AudioFormatError(
            f"audio is of type {type(audio).__name__} with items of format {view.format!r}; "
            "pass raw PCM16 bytes, 16-bit integers ('h'), or a numpy array"
        )
    if not view.c_contiguous:
        raise AudioFormatError(f"audio is of type {type(audio).__name__} with gaps; pass bytes() of it")
    if view.nbytes % BYTES_PER_SAMPLE:
        raise AudioFormatError(
            f"audio has {view.nbytes} bytes, and 16-bit samples take an even number; "
            "pass whole samples (pcm.Joiner puts odd pieces together)"
        )
    return np.frombuffer(view, _INT16)


def _view(data: Any) -> memoryview:
    try:
        return memoryview(data)
    except (TypeError, ValueError, BufferError) as exc:  # ValueError: a released memoryview
        problem = "a released memoryview" if isinstance(data, memoryview) else f"of type {type(data).__name__}"
        raise AudioFormatError(f"audio is {problem}; pass PCM16 bytes or a numpy array of int16 or floats") from exc


# -- cut and join ---


def split(audio: AudioLike, seconds: float) -> Iterator[NDArray[np.int16]]:
    """Cut audio into pieces of a duration, rounded to whole samples; the last one may be shorter.

    The pieces are views of :func:`as_int16` of the audio: nothing is copied. Empty audio has no pieces.

    Args:
        audio: What to cut; checked at once, before the first piece is asked for.
        seconds: The duration of a piece, at least one sample (1/24000 s).

    Raises:
        AudioFormatError: As :func:`as_int16`.
        ValueError: *seconds* is shorter than one sample, or not finite.
    """
    samples = as_int16(audio)
    step = _samples_in(seconds)
    if step == 0:
        raise ValueError(f"seconds must be at least one sample (1/{SAMPLE_RATE}), not {seconds!r}")
    return (samples[start : start + step] for start in range(0, samples.size, step))


class Joiner:
    """Puts pieces of raw PCM16 together whose edges may fall inside a sample.

    Threads:
        A joiner belongs to one stream of bytes and has no lock: one thread at a time.
    """

    def __init__(self) -> None:
        self._odd = b""  # the first byte of a sample whose second has not come yet, or nothing

    def push(self, data: bytes | bytearray | memoryview) -> bytes:
        """Return the whole samples that *data* completes, and keep a byte that is left over.

        Raises:
            AudioFormatError: *data* is not bytes-like. The joiner is as before.
        """
        raw = data if type(data) is bytes else _view(data).tobytes()
        if self._odd:
            raw = self._odd + raw
        whole = len(raw) - len(raw) % BYTES_PER_SAMPLE
        self._odd = raw[whole:]
        return raw[:whole]

    def flush(self) -> bytes:
        """Return the byte left over, or ``b""``, and forget it: the stream has ended or starts anew."""
        odd, self._odd = self._odd, b""
        return odd


# -- measure ---


def duration(audio: AudioLike) -> float:
    """Return the duration in seconds at 24 kHz; the values of the samples are not looked at.

    Raises:
        AudioFormatError: The dtype, the shape or the number of bytes is not that of mono audio.
    """
    return _as_array(audio).size / SAMPLE_RATE


def bytes_to_ms(count: int) -> float:
    """Return the milliseconds that *count* bytes of PCM16 last."""
    return count / BYTES_PER_MS


def ms_to_bytes(ms: float) -> int:
    """Return the bytes of PCM16 that last *ms* milliseconds, rounded to whole samples."""
    return round(ms * BYTES_PER_MS / BYTES_PER_SAMPLE) * BYTES_PER_SAMPLE


def level(audio: AudioLike) -> float:
    """Return the RMS level in dBFS.

    0 dBFS is a square wave between the ends of the scale (±32768); a full-scale sine has -3.01 dBFS.
    Silence, and audio without any samples, has ``-inf``.

    Raises:
        AudioFormatError: As :func:`as_int16`.
    """
    samples = as_int16(audio)
    energy = 0.0
    for start in range(0, samples.size, _BLOCK):
        block = samples[start : start + _BLOCK].astype(np.float32)
        energy += float(np.dot(block, block))
    if energy == 0:
        return -math.inf
    return 10 * math.log10(energy / samples.size / _FULL_SCALE**2)


def silence(seconds: float) -> NDArray[np.int16]:
    """Return silence of a duration, rounded to whole samples: shape ``(frames,)``, ``int16``.

    Raises:
        ValueError: *seconds* is negative or not finite.
    """
    return np.zeros(_samples_in(seconds), _INT16)


def _samples_in(seconds: float) -> int:
    if not 0 <= seconds < math.inf:
        raise ValueError(f"seconds must be a finite number, zero or more, not {seconds!r}")
    return round(seconds * SAMPLE_RATE)


# -- G.711 ---


def ulaw_encode(audio: AudioLike) -> bytes:
    """Compress 16-bit samples to G.711 µ-law, one byte each.

    G.711 starts from 14 bits: the two lowest of the 16 are dropped, rounding down. Of the two codes that the
    recommendation allows for a value on a decision threshold, the louder one is taken. Every code is that of
    CPython's former ``audioop.lin2ulaw``.

    Raises:
        AudioFormatError: As :func:`as_int16`.
    """
    return _encode(audio, g711.ulaw_codes())


def ulaw_decode(data: bytes | bytearray | memoryview) -> NDArray[np.int16]:
    """Expand G.711 µ-law to samples, shape ``(len(data),)``, ``int16``, peaks at ±32124.

    Raises:
        AudioFormatError: *data* is not bytes-like.
    """
    return _decode(data, g711.ulaw_samples())


def alaw_encode(audio: AudioLike) -> bytes:
    """Compress 16-bit samples to G.711 A-law, one byte each.

    G.711 starts from 13 bits: the three lowest of the 16 are dropped, rounding down. Every code is that of
    CPython's former ``audioop.lin2alaw``.

    Raises:
        AudioFormatError: As :func:`as_int16`.
    """
    return _encode(audio, g711.alaw_codes())


def alaw_decode(data: bytes | bytearray | memoryview) -> NDArray[np.int16]:
    """Expand G.711 A-law to samples, shape ``(len(data),)``, ``int16``, peaks at ±32256.

    Raises:
        AudioFormatError: *data* is not bytes-like.
    """
    return _decode(data, g711.alaw_samples())


def _encode(audio: AudioLike, codes: NDArray[np.uint8]) -> bytes:
    return bytes(codes.take(as_int16(audio).view("<u2")))


def _decode(data: Any, samples: NDArray[np.int16]) -> NDArray[np.int16]:
    decoded: NDArray[np.int16] = samples.take(np.frombuffer(_view(data).tobytes(), np.uint8))
    return decoded


# -- resample ---


def resample(samples: AudioLike, rate_in: int, rate_out: int) -> NDArray[np.int16]:
    """Convert audio from one sample rate to another; what overshoots the scale is clipped.

    Needs soxr, from the ``[audio]`` extra, unless both rates are the same.

    Args:
        samples: Audio as :func:`as_int16` takes it, at *rate_in*.
        rate_in: Samples per second now, a positive whole number.
        rate_out: Samples per second wanted, likewise.

    Returns:
        Samples, shape ``(frames,)``, ``int16``.

    Raises:
        AudioFormatError: As :func:`as_int16`.
        MissingExtraError: soxr is not installed.
        ValueError: A rate is not a positive whole number.
    """
    source = as_int16(samples)
    _check_rate(rate_in)
    _check_rate(rate_out)
    if rate_in == rate_out or source.size == 0:
        return source
    try:
        import soxr  # noqa: PLC0415 - an extra
    except (ImportError, OSError) as exc:
        raise MissingExtraError("resampling", "audio") from exc
    return from_float(soxr.resample(to_float(source), rate_in, rate_out), clip=True)


def _check_rate(rate: int) -> None:
    if not isinstance(rate, (int, np.integer)) or rate <= 0:
        raise ValueError(f"a sample rate must be a positive whole number of Hz, not {rate!r}")
