"""RFC 6455 frames as a client sends them: masked. No I/O. See ``frames`` for the other way."""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from ..codecs import chosen

__all__ = ["Encode", "encoder"]

Encode: TypeAlias = Callable[[int, bytes], "bytes | memoryview"]
"""Makes one final frame of an opcode and a payload, with a fresh random key; the next one may overwrite it."""

_KEYS_AT_ONCE = 64  # mask keys drawn from the system per call: each call gives up the GIL
_PAYLOAD_AT = 16  # where the payload of a frame begins in scratch space: behind the longest header, at a whole word
_LARGEST_KEPT = 1024 * 1024  # bytes of scratch space that are kept for the next frame
_keys_of = struct.Struct("4s" * _KEYS_AT_ONCE).unpack
_short, _medium, _long = struct.Struct("!BB").pack, struct.Struct("!BBH").pack, struct.Struct("!BBQ").pack
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


@functools.lru_cache(64)  # audio comes in few lengths
def _header(opcode: int, length: int) -> bytes:
    """Return a frame up to its key."""
    if length < 126:
        return _short(0x80 | opcode, 0x80 | length)
    if length < 1 << 16:
        return _medium(0x80 | opcode, 0xFE, length)
    return _long(0x80 | opcode, 0xFF, length)


def encoder() -> Encode:
    """Return what makes the frames of one connection: by the faster codecs where they are installed, else by numpy."""
    mask = chosen().mask
    return _InPlace().encode if mask is None else _by(mask)


@functools.cache
def _by(mask: Callable[[bytes, bytes], bytes]) -> Encode:
    def encode(opcode: int, payload: bytes) -> bytes:
        try:
            key = _keys.pop()
        except IndexError:
            key = _fresh_key()
        return _header(opcode, len(payload)) + key + mask(payload, key)

    return encode


class _InPlace:
    """Makes frames where they are sent from, in scratch space that keeps its shape.

    Of frames of one length, as audio makes them, each costs one copy and one XOR by numpy, with the key read from where
    it stands in the frame.
    """

    def __init__(self) -> None:
        self._length = self._opcode = -1  # of the last frame
        self._scratch = bytearray()

    def encode(self, opcode: int, payload: bytes) -> memoryview:
        if len(payload) != self._length or opcode != self._opcode:
            self._shape(opcode, len(payload))
        try:
            key = _keys.pop()
        except IndexError:
            key = _fresh_key()
        self._body[:] = key + payload
        _xor(self._words, self._key_word, self._words)
        return self._frame

    def _shape(self, opcode: int, length: int) -> None:
        """Lay out the scratch space: the header in front of the key, the payload behind it."""
        self._length = -1  # of none, should this be interrupted
        count = (length + 3) // 4  # words; the last may reach beyond the payload, where nobody looks
        end = _PAYLOAD_AT + 4 * count
        if end > len(self._scratch) or len(self._scratch) > 2 * max(end, _LARGEST_KEPT):
            self._scratch = bytearray(end)
        header, key_at = _header(opcode, length), _PAYLOAD_AT - 4
        start = key_at - len(header)
        self._scratch[start:key_at] = header
        view = memoryview(self._scratch)
        self._frame, self._body = view[start : _PAYLOAD_AT + length], view[key_at : _PAYLOAD_AT + length]
        # Arrays on the same bytes. One without a dimension costs half of what a numpy scalar does.
        self._key_word = np.ndarray((), np.uint32, self._scratch, key_at)
        self._words = np.ndarray((count,), np.uint32, self._scratch, _PAYLOAD_AT)
        self._length, self._opcode = length, opcode
