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

Encode: TypeAlias = Callable[[int, bytes], bytes]
"""Makes one final frame of an opcode and a payload, with a fresh random key. Any thread."""

_KEYS_AT_ONCE = 64  # mask keys drawn from the system per call: each call gives up the GIL
_SPARE = 8  # lengths of payloads for which scratch space is kept,
_LARGEST_KEPT = 64 * 1024  # up to so many bytes
_keys_of = struct.Struct("4s" * _KEYS_AT_ONCE).unpack
_short, _medium, _long = struct.Struct("!BB").pack, struct.Struct("!BBH").pack, struct.Struct("!BBQ").pack
_xor = np.bitwise_xor
# What is kept here is for all connections: what every send uses stays in the processor's cache. Any thread takes and
# gives back: what is done with a list or a dictionary is atomic.
_keys: list[bytes] = []  # each for one frame
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keys.clear)


def _fresh_key() -> bytes:
    """Draw keys; return one and keep the others."""
    key: bytes
    key, *others = _keys_of(os.urandom(4 * _KEYS_AT_ONCE))
    _keys.extend(others)
    return key


def _header(opcode: int, length: int) -> bytes:
    """Return a frame up to its key."""
    if length < 126:
        return _short(0x80 | opcode, 0x80 | length)
    if length < 1 << 16:
        return _medium(0x80 | opcode, 0xFE, length)
    return _long(0x80 | opcode, 0xFF, length)


@functools.cache
def encoder() -> Encode:
    """Return what makes frames: by the faster codecs where they are installed, else by numpy."""
    mask = chosen().mask
    return _by_numpy if mask is None else _by(mask)


def _by(mask: Callable[[bytes, bytes], bytes]) -> Encode:
    def encode(opcode: int, payload: bytes) -> bytes:
        length = len(payload)
        header = _medium(0x80 | opcode, 0xFE, length) if 126 <= length < 65_536 else _header(opcode, length)
        try:
            key = _keys.pop()
        except IndexError:
            key = _fresh_key()
        return header + key + mask(payload, key)

    return encode


class _Scratch:
    """Space for a key and the payload behind it, and arrays on the same bytes.

    It keeps its shape: of payloads of one length, as audio makes them, each costs two copies and one XOR.

    Attributes:
        body: All of it.
        key: The key, without a dimension: that costs half of what a numpy scalar does.
        words: The payload; the last word may reach beyond it, where nobody looks.
    """

    __slots__ = ("body", "key", "words")

    def __init__(self, length: int) -> None:
        count = (length + 3) // 4
        space = bytearray(4 + 4 * count)
        self.body = memoryview(space)[: 4 + length]
        self.key = np.ndarray((), np.uint32, space)
        self.words = np.ndarray((count,), np.uint32, space, 4)


_spare: dict[int, _Scratch] = {}  # by length


def _by_numpy(opcode: int, payload: bytes) -> bytes:
    length = len(payload)
    scratch = _spare.pop(length, None) or _Scratch(length)
    try:
        key = _keys.pop()
    except IndexError:
        key = _fresh_key()
    scratch.body[:] = key + payload
    _xor(scratch.words, scratch.key, scratch.words)
    frame = b"".join((_header(opcode, length), scratch.body))
    if length <= _LARGEST_KEPT:
        if len(_spare) >= _SPARE:
            _spare.clear()
        _spare[length] = scratch
    return frame
