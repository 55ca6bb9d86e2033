"""What goes over the wire in a benchmark: scenarios, events, frames, and the check of what a client sent."""

from __future__ import annotations

import base64
import functools
import json
import random
import struct
import time
import zlib
from typing import NamedTuple

import numpy as np

__all__ = [
    "ACK",
    "DONE",
    "HELLO",
    "REPORT",
    "Frame",
    "Scenario",
    "audio_crc",
    "chunk",
    "delta_event",
    "frame",
    "sent_at",
    "stamped",
    "unmask",
]

DISTINCT = 64  # chunks of audio, sent over and over
_STAMP_DIGITS = 20
_STAMP_AT = b'{"event_id":"event_'
_IDS = '"response_id":"resp_CZ0pX8Ycy3qJ1","item_id":"item_CZ0pXuHk2aVq9","output_index":0,"content_index":0'

HELLO = b'{"type":"session.created","event_id":"event_0","session":{"id":"sess_bench","type":"realtime"}}'
DONE = b'{"type":"response.done","event_id":"event_1","response":{"id":"resp_CZ0pX8Ycy3qJ1","status":"completed"}}'
ACK = b'{"type":"input_audio_buffer.cleared","event_id":"event_2"}'
REPORT = "bench.report"


class Scenario(NamedTuple):
    """What the server is to do on one connection. It travels as the model's id.

    Attributes:
        kind: ``flood`` sends audio deltas as fast as it can; ``collect`` checks audio appended by the client;
            ``echo`` answers each event with a small one; ``duplex`` takes audio in and, after any other event,
            sends deltas, one every 100 ms; ``idle`` says hello.
        size: Bytes of audio per delta or chunk.
        number: Of deltas or chunks.
    """

    kind: str
    size: int = 0
    number: int = 0

    @property
    def model(self) -> str:
        """The model id that stands for it."""
        return f"{self.kind}.{self.size}.{self.number}"

    @classmethod
    def parse(cls, model: str) -> Scenario:
        """Read a model id."""
        kind, size, number = model.split(".")
        return cls(kind, int(size), int(number))


@functools.lru_cache(maxsize=16)
def _pool(size: int) -> tuple[bytes, ...]:
    source = random.Random(size)  # noqa: S311 - the same audio in every process
    return tuple(source.randbytes(size) for _ in range(DISTINCT))


def chunk(size: int, number: int) -> bytes:
    """Return the *number*-th chunk of audio of a session."""
    return _pool(size)[number % DISTINCT]


def audio_crc(size: int, count: int) -> int:
    """Return the checksum of the first *count* chunks."""
    crc = 0
    for number in range(count):
        crc = zlib.crc32(chunk(size, number), crc)
    return crc


def delta_event(audio: bytes, stamp: int) -> bytes:
    """Return an audio delta as the server sends it, with *stamp* (nanoseconds) in its event id."""
    head = f'{{"event_id":"event_{stamp:0{_STAMP_DIGITS}d}","type":"response.output_audio.delta",{_IDS},"delta":"'
    return head.encode() + base64.b64encode(audio) + b'"}'


def stamped(delta_frame: bytearray) -> bytearray:
    """Write the present into the event id of a framed delta."""
    at = delta_frame.index(_STAMP_AT) + len(_STAMP_AT)
    delta_frame[at : at + _STAMP_DIGITS] = b"%020d" % time.monotonic_ns()
    return delta_frame


def sent_at(event_id: str) -> int:
    """Return the stamp of a delta: nanoseconds on the clock that all processes of a machine share."""
    return int(event_id[-_STAMP_DIGITS:])


def frame(payload: bytes, opcode: int = 1, key: bytes = b"") -> bytes:
    """Return one final frame; masked if a *key* is given, as a client's must be."""
    length, mask = len(payload), 0x80 if key else 0
    if length < 126:
        head = struct.pack("!BB", 0x80 | opcode, mask | length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", 0x80 | opcode, mask | 126, length)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, mask | 127, length)
    return head + key + (unmask(payload, key) if key else payload)


class Frame(NamedTuple):
    """A frame of a client, still masked."""

    opcode: int
    key: bytes
    masked: bytes

    @property
    def payload(self) -> bytes:
        """What it carries."""
        return unmask(self.masked, self.key)

    @property
    def audio(self) -> bytes:
        """The audio of an append event.

        Raises:
            ValueError: It is something else.
        """
        event = json.loads(self.payload)
        if event.get("type") != "input_audio_buffer.append":
            raise ValueError(f"a client sent {event.get('type')!r} in place of audio")
        return base64.b64decode(event["audio"], validate=True)


def unmask(data: bytes, key: bytes) -> bytes:
    """Mask or unmask (RFC 6455 section 5.3)."""
    mask = np.frombuffer((key * (len(data) // 4 + 1))[: len(data)], np.uint8)
    return (np.frombuffer(data, np.uint8) ^ mask).tobytes()
