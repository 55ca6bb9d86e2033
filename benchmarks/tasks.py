"""What is measured: each task takes one client through one kind of work and returns figures by name.

A worker process runs one task and ends. A task that finds wrong bytes raises :class:`WrongBytes`: a wrong answer
has no speed.
"""

from __future__ import annotations

import functools
import statistics
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from . import wire
from .clients import Pieces, connect
from .live import Duplex, idle
from .wire import Scenario

__all__ = ["TASKS", "Work", "WrongBytes"]

_WARM_UP = 200  # messages in a session of their own: some clients build their models on first use
_CHUNK_20_MS = 960  # bytes


class WrongBytes(Exception):
    """A client decoded, or sent, something else than it was given."""


def receive(client: str, url: str, counts: dict[str, int], name: str = "receive") -> dict[str, float]:
    """Audio deltas per second, decoded to bytes, by milliseconds of audio."""
    flood(client, url, _CHUNK_20_MS, _WARM_UP)
    figures = {}
    for ms, count in counts.items():
        figures[f"{name}_{ms}"] = count / flood(client, url, 48 * int(ms), count)
    return figures


def flood(client: str, url: str, size: int, count: int) -> float:
    """Take *count* deltas in a session of their own; return the seconds, from asking to the last."""
    pieces: list[bytes] = []
    took = _drained(client, url, size, count, pieces)
    if client != "raw":
        crc = 0
        for piece in pieces:
            crc = zlib.crc32(piece, crc)
        if len(pieces) != count or crc != wire.audio_crc(size, count):
            raise WrongBytes(f"{client} decoded {len(pieces)} of {count} deltas of {size} bytes, checksum {crc:#x}")
    return took


def _drained(client: str, url: str, size: int, count: int, pieces: Pieces) -> float:
    talk = connect(client, url, Scenario("flood", size, count))
    began = time.perf_counter()
    talk.start()
    talk.drain(pieces)
    took = time.perf_counter() - began
    talk.close()
    return took


def send(client: str, url: str, counts: dict[str, int]) -> dict[str, float]:
    """Chunks per second until the server has them all, by milliseconds of audio, as bytes and as int16 arrays."""
    _append(client, url, _CHUNK_20_MS, _WARM_UP, as_array=False)
    figures = {}
    for ms, count in counts.items():
        size = 48 * int(ms)
        figures[f"send_{ms}"] = count / _append(client, url, size, count, as_array=False)
        figures[f"send_{ms}_array"] = count / _append(client, url, size, count, as_array=True)
    return figures


def _append(client: str, url: str, size: int, count: int, *, as_array: bool) -> float:
    talk = connect(client, url, Scenario("collect", size, count))
    chunks: list[Any] = [wire.chunk(size, number) for number in range(wire.DISTINCT)]
    if as_array:
        chunks = [np.frombuffer(chunk, np.int16) for chunk in chunks]
    began = time.perf_counter()
    for number in range(count):
        talk.send_audio(chunks[number % wire.DISTINCT])
    talk.wait_for("input_audio_buffer.cleared")
    took = time.perf_counter() - began
    report = talk.wait_for(wire.REPORT)
    talk.close()
    if report["right"] != count or report["crc"] != wire.audio_crc(size, count):
        raise WrongBytes(f"{client} sent {report['right']} of {count} chunks of {size} bytes right")
    return took


def round_trip(client: str, url: str, count: int, aside: bool = False) -> dict[str, float]:
    """Microseconds from sending a small event to having the answer, on the main thread or on another one *aside*."""
    if aside:
        with ThreadPoolExecutor(1) as thread:
            figures = thread.submit(round_trip, client, url, count).result()
        return {name.replace("trip", "trip_aside"): figure for name, figure in figures.items()}
    talk = connect(client, url, Scenario("echo"))
    took = []
    for _ in range(count + _WARM_UP):
        began = time.perf_counter_ns()
        talk.exchange()
        took.append((time.perf_counter_ns() - began) / 1000)
    talk.close()
    return {
        "trip_p50": float(np.percentile(took[_WARM_UP:], 50)),
        "trip_p99": float(np.percentile(took[_WARM_UP:], 99)),
    }


def linear(client: str, url: str, longest: int) -> dict[str, float]:
    """The most time per message over the least, in sessions of three lengths.

    They take turns, and each length has its median, for other work on the machine slows some down and not others.
    """
    flood(client, url, _CHUNK_20_MS, _WARM_UP)
    each: dict[int, list[float]] = {longest // share: [] for share in (100, 10, 1)}
    for _ in range(5):
        for count, took in each.items():
            took += [_flow(client, url, count) / count for _ in range(min(9, longest // count))]
    typical = [statistics.median(took) for took in each.values()]
    return {"linear": max(typical) / min(typical)}


def _flow(client: str, url: str, count: int) -> float:
    """Take *count* deltas and keep none, for new memory takes time, too; return the seconds."""
    heard = _Heard([wire.chunk(_CHUNK_20_MS, number) for number in range(wire.DISTINCT)])
    took = _drained(client, url, _CHUNK_20_MS, count, heard)
    if (heard.number, heard.right) != (count, count):
        raise WrongBytes(f"{client} decoded {heard.right} of {count} deltas right")
    return took


class _Heard:
    """Compares audio with what comes over and over, and keeps nothing but the numbers."""

    def __init__(self, wanted: list[bytes]) -> None:
        self.number = self.right = 0
        self._wanted = wanted

    def append(self, audio: bytes) -> None:
        self.right += audio == self._wanted[self.number % len(self._wanted)]
        self.number += 1


def flat(client: str, url: str, count: int) -> dict[str, float]:
    """KiB of resident memory that a session gains over the last nine tenths of its messages, all consumed."""
    import psutil  # noqa: PLC0415 - only here and in live

    process = psutil.Process()
    # A small bound on what waits unread: the question is what stays after it was read.
    talk = connect(client, url, Scenario("flood", _CHUNK_20_MS, count), max_unread_bytes=1024 * 1024)
    seen = _Count(count // 10, process.memory_info)
    talk.start()
    talk.drain(seen)
    gained = process.memory_info().rss - seen.memory
    talk.close()
    if seen.number != count:
        raise WrongBytes(f"{client} decoded {seen.number} of {count} deltas")
    return {"flat": gained / 1024}


class _Count:
    """Keeps nothing but the number, and the memory in use at one moment."""

    def __init__(self, moment: int, memory_info: Callable[[], Any]) -> None:
        self.number = self.memory = 0
        self._moment = moment
        self._memory_info = memory_info

    def append(self, _: Any) -> None:
        self.number += 1
        if self.number == self._moment:
            self.memory = self._memory_info().rss


def pcm(client: str, _url: str, seconds: float) -> dict[str, float]:
    """Milliseconds that our helpers take, or the numpy expressions for the same (``client`` is ``numpy``)."""
    helpers = _helpers(seconds, ours=client == "ours")
    figures = {}
    for name, work in helpers.items():
        took = []
        for _ in range(9):
            began = time.perf_counter()
            work()
            took.append((time.perf_counter() - began) * 1000)
        figures[f"pcm_{name}"] = min(took)
    return figures


def _helpers(seconds: float, *, ours: bool) -> dict[str, Callable[[], Any]]:
    from meshapi_rt import g711  # noqa: PLC0415
    from meshapi_rt import pcm as room  # noqa: PLC0415

    source = np.random.default_rng(1)
    floats = source.uniform(-0.9, 0.9, round(24_000 * seconds)).astype(np.float32)
    samples, stereo = (floats * 32768).astype(np.int16), np.stack([floats, floats[::-1]], axis=1)
    codes, table, back = room.ulaw_encode(samples), g711.ulaw_codes(), g711.ulaw_samples()
    if ours:
        return {
            "to_float": lambda: room.to_float(samples),
            "from_float": lambda: room.from_float(floats),
            "to_mono": lambda: room.to_mono(stereo),
            "level": lambda: room.level(samples),
            "ulaw_encode": lambda: room.ulaw_encode(samples),
            "ulaw_decode": lambda: room.ulaw_decode(codes),
        }
    return {
        "to_float": lambda: samples.astype(np.float32) / np.float32(32768),
        "from_float": lambda: np.clip(np.rint(floats * 32768), -32768, 32767).astype(np.int16),
        "to_mono": lambda: stereo.mean(axis=1),
        "level": lambda: 20 * np.log10(np.sqrt(np.mean((samples / 32768) ** 2))),
        "ulaw_encode": lambda: bytes(table[samples.view(np.uint16)]),
        "ulaw_decode": lambda: back[np.frombuffer(codes, np.uint8)],
    }


Work = Callable[[], dict[str, float]]
"""One turn of a task; it can be taken again."""


def _anew(task: Callable[..., dict[str, float]]) -> Callable[..., Work]:
    """Do everything once more in every turn."""
    return functools.partial(functools.partial, task)


TASKS: dict[str, Callable[..., Work]] = {
    "receive": _anew(receive),
    "send": _anew(send),
    "round_trip": _anew(round_trip),
    "linear": _anew(linear),
    "flat": _anew(flat),
    "pcm": _anew(pcm),
    "duplex": Duplex,
    "idle": _anew(idle),
}
