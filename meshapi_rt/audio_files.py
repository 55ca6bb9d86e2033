"""Audio files in and out: WAV with the standard library, everything else through soundfile.

The standard library's ``wave`` refuses float and, up to 3.11, extensible headers, so the chunks of a WAV file
are walked here. A file is read as far as it goes: no size that its header claims is ever allocated.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import pcm
from .errors import AudioFileError, AudioFormatError, MissingExtraError

__all__ = ["WavWriter", "read", "wav_bytes", "write"]

Source: TypeAlias = "str | os.PathLike[str] | BinaryIO"

_RATES = range(1_000, 1_000_001)  # Hz; from less, a small file would grow into gigabytes at 24 kHz
_UNKNOWN_SIZE = 0xFFFFFFFF  # what a streaming writer leaves; others leave 0
_LONGEST = 0xFFFFFFFF - 36  # bytes of samples in a file whose sizes have 32 bits
_BLOCK = 1 << 20  # samples that soundfile decodes at a time, however many the header claims

_PCM, _FLOAT, _ALAW, _ULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE  # format tags
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")  # after the two bytes of the format tag


def read(source: Source, *, rate: int = pcm.SAMPLE_RATE, mono: bool = True) -> NDArray[np.int16]:
    """Read an audio file as 16-bit samples at one rate, by default as the protocol wants them.

    WAV needs nothing else: 8, 16, 24 and 32 bit, float, G.711, extensible headers, any number of channels.
    Other formats (FLAC, OGG, MP3, RF64) need soundfile, other rates soxr, both from the ``[audio]`` extra.
    Floats beyond [-1, 1] are clipped. A file cut off in the middle gives the frames that are there.

    Args:
        source: A path, or a file opened for reading bytes, which is read from where it stands and stays open.
        rate: Frames per second of the result, 1000 to 1000000.
        mono: Mix all channels down to one.

    Returns:
        Samples of the caller's own, ``int16``: shape ``(frames,)``, or ``(frames, channels)`` without *mono*.

    Raises:
        AudioFileError: The file is missing, damaged, or no audio; with its path and what was seen.
        MissingExtraError: The file needs soundfile or soxr, which is not installed.
        ValueError: *rate* is out of range.
    """
    _check_rate(rate)
    name = _name(source)
    try:
        samples, file_rate = _decode(_read_bytes(source, name), name)
        if file_rate not in _RATES:
            raise AudioFileError(
                f"cannot read {name}: its header says {file_rate} Hz, which is not within "
                f"{_RATES[0]} to {_RATES[-1]}; it is damaged, or no recording"
            )
        columns = [pcm.to_mono(samples)] if mono else list(samples.T)
        pieces = [pcm.resample(_as_int16(column), file_rate, rate) for column in columns]
    except AudioFormatError as exc:
        raise AudioFileError(f"cannot read {name}: {exc}") from exc
    return pieces[0] if mono else np.stack(pieces, axis=1)


def write(target: Source, audio: pcm.AudioLike, *, rate: int = pcm.SAMPLE_RATE) -> None:
    """Write audio as a 16-bit mono WAV file, over one that may be there; a failure leaves no half file.

    Args:
        target: A path, or a file opened for writing bytes, which stays open.
        audio: What :func:`pcm.as_int16` takes; checked before the file is touched.
        rate: What the header says, 1000 to 1000000. Nothing is resampled.

    Raises:
        AudioFileError: The file cannot be written, or the audio is longer than WAV can hold (4 GiB).
        AudioFormatError: As :func:`pcm.as_int16`.
        ValueError: *rate* is out of range.
    """
    data = wav_bytes(audio, rate)
    name = _name(target)
    try:
        if isinstance(target, (str, os.PathLike)):
            _write_path(Path(target), data)
        else:
            target.write(data)
    except (OSError, ValueError, TypeError) as exc:  # ValueError: a closed file; TypeError: one in text mode
        raise AudioFileError(f"cannot write {name}: {_reason(exc)}") from exc


def wav_bytes(audio: pcm.AudioLike, rate: int = pcm.SAMPLE_RATE) -> bytes:
    """Return audio as the bytes of a 16-bit mono WAV file: a header of 44 bytes, then the samples.

    Args:
        audio: What :func:`pcm.as_int16` takes.
        rate: What the header says, 1000 to 1000000. Nothing is resampled.

    Raises:
        AudioFileError: The audio is longer than WAV can hold (4 GiB).
        AudioFormatError: As :func:`pcm.as_int16`.
        ValueError: *rate* is out of range.
    """
    _check_rate(rate)
    data = pcm.to_bytes(audio)
    if len(data) > _LONGEST:
        raise AudioFileError(f"audio has {len(data)} bytes, and a WAV file holds {_LONGEST}; write it in parts")
    return _header(len(data), rate) + data


def _header(length: int | None, rate: int) -> bytes:
    """Return what stands before *length* bytes of samples; ``None`` says that nobody knows how many there will be."""
    width = pcm.BYTES_PER_SAMPLE
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, _PCM, 1, rate, int(rate) * width, width, 8 * width)
    riff, data = (_UNKNOWN_SIZE,) * 2 if length is None else (36 + length, length)
    return struct.pack("<4sI4s", b"RIFF", riff, b"WAVE") + fmt + struct.pack("<4sI", b"data", data)


class WavWriter:
    """A 16-bit mono WAV file that grows while it is written; readable at any time, also after a crash.

    Args:
        path: Where; a file that may be there is replaced.
        rate: What the header says, 1000 to 1000000. Nothing is resampled.

    Raises:
        AudioFileError: The file cannot be written; from every method.
        ValueError: *rate* is out of range.
    """

    def __init__(self, path: str | os.PathLike[str], *, rate: int = pcm.SAMPLE_RATE) -> None:
        _check_rate(rate)
        self._name = _name(path)
        self._rate = rate
        self._length = 0
        try:
            self._file = Path(path).open("wb")  # noqa: SIM115 - closed by close()
            self._put(_header(None, rate))
        except (OSError, ValueError) as exc:
            raise AudioFileError(f"cannot write {self._name}: {_reason(exc)}") from exc

    def write(self, audio: pcm.AudioLike) -> None:
        """Add audio, what :func:`pcm.as_int16` takes.

        Raises:
            AudioFormatError: As :func:`pcm.as_int16`. The file is as before.
        """
        data = pcm.to_bytes(audio)
        if self._length + len(data) > _LONGEST:
            raise AudioFileError(f"{self._name} is full: a WAV file holds {_LONGEST} bytes of samples")
        self._put(data)
        self._length += len(data)

    def close(self) -> None:
        """Complete the header and close the file; safe to call twice."""
        if self._file.closed:
            return
        with self._file:
            self._file.seek(0)
            self._put(_header(self._length, self._rate))

    def _put(self, data: bytes) -> None:
        try:
            self._file.write(data)
            self._file.flush()
        except (OSError, ValueError) as exc:  # ValueError: it is closed
            raise AudioFileError(f"cannot write {self._name}: {_reason(exc)}") from exc


def _check_rate(rate: int) -> None:
    if not isinstance(rate, (int, np.integer)) or rate not in _RATES:
        raise ValueError(f"rate must be a whole number of Hz from {_RATES[0]} to {_RATES[-1]}, not {rate!r}")


# -- files ---


def _name(file: Any) -> str:
    """Return what messages call a file; refuse what is neither a path nor a file."""
    if not isinstance(file, (str, os.PathLike)):
        if not hasattr(file, "read") and not hasattr(file, "write"):
            raise AudioFileError(
                f"an audio file cannot be of type {type(file).__name__}; pass a path, or a file opened in binary mode"
            )
        file = getattr(file, "name", None)
    return repr(os.fspath(file)) if isinstance(file, (str, os.PathLike)) else "the audio file"


def _reason(exc: Exception) -> str:
    return getattr(exc, "strerror", None) or str(exc)


def _read_bytes(source: Source, name: str) -> bytes:
    try:
        data = Path(source).read_bytes() if isinstance(source, (str, os.PathLike)) else source.read()
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the path, a closed file, undecodable text
        raise AudioFileError(f"cannot read {name}: {_reason(exc)}") from exc
    if not isinstance(data, bytes):
        raise AudioFileError(f"cannot read {name}: it gave {type(data).__name__}; open it with 'rb'")
    if not data:
        raise AudioFileError(f"cannot read {name}: it is empty; check how it was recorded or copied")
    return data


def _write_path(path: Path, data: bytes) -> None:
    file = path.open("wb")
    try:
        with file:
            file.write(data)
    except BaseException:
        if path.is_file():  # and no device
            path.unlink()
        raise


# -- decoding ---


def _as_int16(samples: NDArray[Any]) -> NDArray[np.int16]:
    return pcm.from_float(samples, clip=True) if samples.dtype.kind == "f" else samples.astype(np.int16)


def _decode(data: bytes, name: str) -> tuple[NDArray[Any], int]:
    """Return the frames of a file, shape ``(frames, channels)``, ``int16`` or floats, and their rate."""
    # A file that ends within these 12 bytes is a WAV file cut off, too.
    if data[:4] == b"RIFF" and b"WAVE".startswith(data[8:12]):
        return _decode_wav(data, name)
    return _decode_other(data, name)


def _decode_wav(data: bytes, name: str) -> tuple[NDArray[Any], int]:
    chunks: dict[bytes, memoryview] = {}
    for kind, body in _chunks(data):
        chunks.setdefault(kind, body)
    if b"fmt " not in chunks or b"data" not in chunks:
        missing = "format" if b"fmt " not in chunks else "data"
        raise AudioFileError(f"cannot read {name}: this WAV file has no {missing} chunk; it may be cut off")
    tag, channels, rate, frame_bytes, bits = _format(chunks[b"fmt "], name)
    if tag == _PCM:
        bits += -bits % 8  # 12 bits lie left-justified in 16, and so on
    decoder = _DECODERS.get((tag, bits))
    if decoder is None:
        raise AudioFileError(
            f"cannot read {name}: its codec (format {tag:#06x}, {bits} bits) is unknown; convert it to 16-bit PCM"
        )
    if channels == 0 or frame_bytes != channels * bits // 8:
        raise AudioFileError(
            f"cannot read {name}: its header says {channels} channels of {bits} bits in frames of "
            f"{frame_bytes} bytes, which cannot be; it is damaged"
        )
    body = chunks[b"data"]
    whole = len(body) - len(body) % frame_bytes
    return decoder(body[:whole]).reshape(-1, channels), rate


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the name and body of each chunk, as much of it as the file holds."""
    view = memoryview(data)
    # A writer that finished its header knew the length of the file, and means an empty chunk by 0.
    finished = int.from_bytes(data[4:8], "little") + 8 == len(data)
    at = 12
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        at += 8
        if kind == b"data" and (size == _UNKNOWN_SIZE or (size == 0 and not finished)):
            size = len(data)
        yield kind, view[at : at + size]
        at += size + size % 2  # bodies are padded to an even number of bytes


def _format(body: memoryview, name: str) -> tuple[int, int, int, int, int]:
    """Return format tag, channels, rate, bytes per frame and bits per sample of one channel."""
    if len(body) < 16:
        raise AudioFileError(f"cannot read {name}: its format chunk has {len(body)} bytes, not 16; it may be cut off")
    tag, channels, rate, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", body)
    if tag == _EXTENSIBLE and body[26:40] == _GUID_TAIL:
        (tag,) = struct.unpack_from("<H", body, 24)
    return tag, channels, rate, frame_bytes, bits


def _decode_8(body: memoryview) -> NDArray[Any]:
    return (np.frombuffer(body, np.uint8).astype(np.int16) - 128) << 8


def _decode_24(body: memoryview) -> NDArray[Any]:
    wide = np.zeros((len(body) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(body, np.uint8).reshape(-1, 3)
    return _decode_32(wide.reshape(-1))


def _decode_32(body: memoryview | NDArray[np.uint8]) -> NDArray[Any]:
    scaled: NDArray[np.float32] = np.multiply(np.frombuffer(body, "<i4"), np.float32(2**-31), dtype=np.float32)
    return scaled


# By format tag and bits. Integers of up to 16 bits become int16, everything else floats.
_DECODERS: dict[tuple[int, int], Callable[[memoryview], NDArray[Any]]] = {
    (_PCM, 8): _decode_8,
    (_PCM, 16): lambda body: np.frombuffer(body, "<i2"),
    (_PCM, 24): _decode_24,
    (_PCM, 32): _decode_32,
    (_FLOAT, 32): lambda body: np.frombuffer(body, "<f4"),
    (_FLOAT, 64): lambda body: np.frombuffer(body, "<f8"),
    (_ALAW, 8): pcm.alaw_decode,
    (_ULAW, 8): pcm.ulaw_decode,
}


def _decode_other(data: bytes, name: str) -> tuple[NDArray[Any], int]:
    try:
        import soundfile  # noqa: PLC0415 - an extra
    except (ImportError, OSError) as exc:  # OSError: the library that it wraps is missing
        raise MissingExtraError(f"reading {name}, which is no WAV file,", "audio") from exc
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            blocks = [np.empty((0, file.channels), np.float32)]
            step = _BLOCK // file.channels
            while len(block := file.read(step, dtype="float32", always_2d=True)):
                blocks.append(block)
            return np.concatenate(blocks), file.samplerate
    except (soundfile.SoundFileError, TypeError, ValueError) as exc:
        problem = getattr(exc, "error_string", exc)
        raise AudioFileError(f"cannot read {name}: no audio file, or a damaged one ({problem})") from exc
