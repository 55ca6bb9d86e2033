"""Audio into the input buffer at the pace of real time."""

from __future__ import annotations

import base64
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from . import contents, pcm
from .engine import Engine
from .errors import Cancelled, ConfigurationError
from .resampling import Resampler
from .wire_format import WireFormat, format_named

__all__ = ["Progress", "Source", "stream_audio"]

Progress: TypeAlias = Callable[[float, "float | None"], object]
"""Told the seconds sent so far, and those in all where they are known."""
Source: TypeAlias = "Path | pcm.AudioLike | Iterable[pcm.AudioLike]"

_LONGEST = 10.0  # seconds of audio per event


def stream_audio(
    engine: Engine,
    source: Source,
    *,
    rate: int,
    realtime: bool,
    chunk: float,
    progress: Progress | None,
    cancel: threading.Event | None,
    timeout: float | None,
) -> float:
    """Feed a source into the input buffer; see ``session.stream_audio``."""
    if not isinstance(chunk, (int, float)) or not 0.001 <= chunk <= _LONGEST:
        raise ConfigurationError(f"chunk must be seconds of audio per event, 0.001 to {_LONGEST:g}; not {chunk!r}")
    wire_format = format_named(engine.history.input_format)
    pieces, total = _pieces(source, rate, wire_format)
    per_second = wire_format.rate * wire_format.width
    step = round(chunk * wire_format.rate) * wire_format.width
    begin, sent = time.monotonic(), 0
    for piece in pieces:
        for start in range(0, len(piece), step):
            part = piece[start : start + step]
            sent += len(part)
            if realtime:
                # By the clock, not by the last event: what was late once is made up for.
                _sleep_until(begin + sent / per_second, cancel)
            _check(cancel)
            _send(engine, part, wire_format, timeout)
            if progress is not None:
                progress(sent / per_second, total)
    return sent / per_second


def _pieces(source: Source, rate: int, wire_format: WireFormat) -> tuple[Iterable[bytes], float | None]:
    """Return the audio as bytes of the wire, and how many seconds it has, where that is known."""
    if isinstance(source, str):
        raise ConfigurationError("audio comes from a pathlib.Path, samples or pieces of samples, not from a str")
    if isinstance(source, os.PathLike) or _is_samples(source):
        data = contents.wire_audio(source, rate, wire_format.name)  # type: ignore[arg-type]
        return [data], len(data) / (wire_format.rate * wire_format.width)
    if not isinstance(source, Iterable):
        raise ConfigurationError(f"audio cannot come from {type(source).__name__}: pass a Path, samples or an iterator")
    return _converted(source, rate, wire_format), None


def _is_samples(source: object) -> bool:
    if isinstance(source, (bytes, bytearray, memoryview, np.ndarray)):
        return True
    return hasattr(source, "typecode")  # array.array


def _converted(source: Iterable[Any], rate: int, wire_format: WireFormat) -> Iterator[bytes]:
    """Convert pieces of one stream; raw ones may be cut inside of a sample."""
    joiner, resampler = pcm.Joiner(), Resampler(rate, wire_format.rate)
    for piece in source:
        whole = joiner.push(piece) if isinstance(piece, (bytes, bytearray, memoryview)) else piece
        yield wire_format.encode(resampler.push(pcm.as_int16(whole)))
    yield wire_format.encode(resampler.flush())


def _send(engine: Engine, part: bytes, wire_format: WireFormat, timeout: float | None) -> None:
    if wire_format.name == "audio/pcm":
        engine.sender.send_audio(part, timeout)
    else:
        event = {"type": "input_audio_buffer.append", "audio": base64.b64encode(part).decode()}
        engine.sender.send(event, timeout)


def _sleep_until(due: float, cancel: threading.Event | None) -> None:
    left = due - time.monotonic()
    if left <= 0:
        return
    if cancel is None:
        time.sleep(left)
    else:
        cancel.wait(left)


def _check(cancel: threading.Event | None) -> None:
    if cancel is not None and cancel.is_set():
        raise Cancelled("the cancel event was set while audio was streamed")
