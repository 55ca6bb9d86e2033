"""RFC 6455 frames as a client sends them: masked. No I/O. See ``frames`` for the other way."""

from __future__ import annotations

import os
import struct

import numpy as np

from ..codecs import chosen

__all__ = ["FrameEncoder"]

_PAYLOAD_AT = 16  # where the payload of a frame being made begins: behind the longest header, at a whole word
_LARGEST_KEPT = 1024 * 1024  # bytes of scratch space that are kept for the next frame
_KEYS_AT_ONCE = 64  # mask keys drawn from the system per call: each call gives up the GIL
_keys_of = struct.Struct("4s" * _KEYS_AT_ONCE).unpack
_xor = np.bitwise_xor
# For the next frames of all connections, each for one: what every send uses stays in the processor's cache. Any thread
# takes and gives: what is done with a list is atomic.
_keys: list[bytes] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keys.clear)


def _fresh_key() -> bytes:
    """Draw keys; return one and keep the others."""
    key: bytes
    key, *others = _keys_of(os.urandom(4 * _KEYS_AT_ONCE))
    _keys.extend(others)
    return key


class FrameEncoder:
    """Makes masked client frames; each takes a fresh random key. One thread at a time.

    With the faster codecs a frame is put together of its parts. Without them it is made in place, in scratch space
    that keeps its shape: of frames of one length, as audio makes them, each costs one copy and one XOR by numpy, with
    the key read from where it stands in the frame.
    """

    def __init__(self) -> None:
        self._mask = chosen().mask
        self._length = self._opcode = -1  # of the last frame
        self._scratch = bytearray()

    def encode(self, opcode: int, payload: bytes) -> bytes | memoryview:
        """Return one final frame that carries *payload*; it may be overwritten by the next one."""
        if len(payload) != self._length or opcode != self._opcode:
            self._shape(opcode, len(payload))
        try:
            key = _keys.pop()
        except IndexError:
            key = _fresh_key()
        mask = self._mask
        if mask is not None:
            return self._header + key + mask(payload, key)
        self._body[:] = key + payload
        _xor(self._words, self._key_word, self._words)
        return self._frame

    def _shape(self, opcode: int, length: int) -> None:
        """Get ready for frames of that length."""
        self._length = -1  # of none, should this be interrupted
        if length < 126:
            self._header = struct.pack("!BB", 0x80 | opcode, 0x80 | length)
        elif length < 1 << 16:
            self._header = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, length)
        else:
            self._header = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, length)
        if self._mask is None:
            self._make_room(length)
        self._length, self._opcode = length, opcode

    def _make_room(self, length: int) -> None:
        """Lay out the scratch space: the header in front of the key, the payload behind it."""
        count = (length + 3) // 4  # words; the last may reach beyond the payload, where nobody looks
        end = _PAYLOAD_AT + 4 * count
        if end > len(self._scratch) or len(self._scratch) > 2 * max(end, _LARGEST_KEPT):
            self._scratch = bytearray(end)
        key_at = _PAYLOAD_AT - 4
        start = key_at - len(self._header)
        self._scratch[start:key_at] = self._header
        view = memoryview(self._scratch)
        self._frame, self._body = view[start : _PAYLOAD_AT + length], view[key_at : _PAYLOAD_AT + length]
        # Arrays on the same bytes. One without a dimension costs half of what a numpy scalar does.
        self._key_word = np.ndarray((), np.uint32, self._scratch, key_at)
        self._words = np.ndarray((count,), np.uint32, self._scratch, _PAYLOAD_AT)
