"""JSON, base64 and masks, by the faster packages of ``[speed]`` where they are installed; the same results without.

What a faster package refuses is given to the standard library, so that there is one judge of what is valid; what it
accepts it must accept with the same result, which the tests hold it to. ``MESHAPI_RT_PURE=1`` in the environment
leaves them out. Measured on an audio event of 100 ms: JSON 7 instead of 55 µs, base64 1 instead of 20 µs, the mask 0.3
instead of 1.1 µs; at real time, where each frame is behind a wait, the mask of 20 ms takes 4 µs less.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import os
import sys
from collections.abc import Callable
from typing import Any, Literal, NoReturn, TypeAlias

import attrs
import numpy as np

__all__ = [
    "Codecs",
    "Encoded",
    "QuickBase64",
    "chosen",
    "plain_decode_base64",
    "plain_encode_base64",
    "plain_loads",
]

Encoded: TypeAlias = "str | bytes | bytearray | memoryview"
QuickBase64: TypeAlias = "Callable[[Encoded, None, Literal[True]], bytes]"

# Objects and arrays in a text, up to which every parser gets through: how deep one goes is its own affair.
_SHALLOW = 200


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_PLAIN_DECODER = json.JSONDecoder(parse_constant=_no_constant)  # made once: making one costs as much as a small text


def plain_loads(text: str) -> Any:
    """Parse JSON as RFC 8259 has it, with the standard library: no NaN and no infinity.

    Raises:
        ValueError: It is no JSON, or holds an integer of more digits than Python takes.
        RecursionError: It is nested too deep.
    """
    try:
        value, end = _PLAIN_DECODER.raw_decode(text)
    except ValueError:
        end = -1
    # decode() begins and ends by a search for white space, which costs as much as a small text, and mostly finds none.
    return value if end == len(text) else _PLAIN_DECODER.decode(text)


def plain_decode_base64(text: Encoded, _altchars: None = None, _validate: Literal[True] = True) -> bytes:
    """Decode standard base64 strictly, with the standard library: its alphabet, whole groups, nothing else.

    It can be called as ``base64.b64decode`` is, see ``Codecs.quick_base64``.

    Raises:
        ValueError: It is something else.
    """
    # Some versions of Python take padding behind a whole group (3.11: "AAAA====", 3.10: "AAAA==").
    digits = text.encode("ascii") if isinstance(text, str) else text
    if len(digits) % 4 or digits[-3:] == b"===":
        raise ValueError("not base64: its length is no multiple of 4, or it has too much padding")
    quick = _decode_by_table(digits) if len(digits) >= _BY_TABLE_FROM else None
    return _decode_strictly(digits) if quick is None else quick


def _decode_strictly(digits: bytes | bytearray | memoryview) -> bytes:
    if sys.version_info >= (3, 11):
        return binascii.a2b_base64(digits, strict_mode=True)
    return base64.b64decode(digits, validate=True)


# Characters; below that the standard library is faster, or as fast where the tables are not in the processor's cache.
_BY_TABLE_FROM = 12_288
_OUTSIDE = 1 << 24  # a bit beside the three bytes of a group: one of its characters is no base64


@functools.cache
def _tables() -> tuple[Any, Any]:
    """Return what the first and what the second two characters of a group give of its bytes, the first byte lowest."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    values = np.full(256, _OUTSIDE, np.uint32)
    values[np.frombuffer(alphabet.encode(), np.uint8)] = np.arange(64)
    outside = values & _OUTSIDE
    one, two = outside | values << 2 & 0xFF, outside | values >> 4 & 3 | (values & 15) << 12
    three, four = outside | values >> 2 << 8 & 0xFF00 | (values & 3) << 22, outside | (values & 63) << 16
    # The first character of two is the low byte of their index.
    return np.bitwise_or.outer(two, one).ravel(), np.bitwise_or.outer(four, three).ravel()


def _decode_by_table(digits: bytes | bytearray | memoryview) -> bytes | None:
    """Decode by looking up two characters at once; ``None`` where some are no base64. 400 ms: 28 instead of 85 µs."""
    first, second = _tables()
    pairs = np.frombuffer(digits, "<u2")[:-2]  # the last group may be padded
    groups = first.take(pairs[0::2], mode="wrap")
    groups |= second.take(pairs[1::2], mode="wrap")
    if np.maximum.reduce(groups) >= _OUTSIDE:
        return None
    out = bytearray(3 * len(groups) + 1)
    # Each group is written as four bytes, the last of which the next one overwrites.
    np.ndarray((len(groups),), "<u4", out, 0, (3,))[:] = groups
    with memoryview(out) as view:
        return b"".join((view[:-1], _decode_strictly(digits[-4:])))


def plain_encode_base64(data: bytes | memoryview) -> bytes:
    """Encode bytes as standard base64, without line breaks, with the standard library."""
    return binascii.b2a_base64(data, newline=False)


def _json() -> Callable[[str], Any]:
    if _PURE:
        return plain_loads
    try:
        import msgspec  # noqa: PLC0415 - optional
    except ImportError:
        return plain_loads
    fast = msgspec.json.Decoder().decode

    def loads(text: str) -> Any:
        if len(text) > _SHALLOW and text.count("[") + text.count("{") > _SHALLOW:
            return plain_loads(text)
        try:
            return fast(text)
        except (ValueError, RecursionError, msgspec.MsgspecError):  # which is no ValueError before 0.21
            return plain_loads(text)

    return loads


def _base64() -> tuple[Callable[[Encoded], bytes], QuickBase64, Callable[[bytes | memoryview], bytes]]:
    if _PURE:
        return plain_decode_base64, plain_decode_base64, plain_encode_base64
    try:
        import pybase64  # noqa: PLC0415 - optional
    except ImportError:
        return plain_decode_base64, plain_decode_base64, plain_encode_base64
    quickly: QuickBase64 = pybase64.b64decode

    def decode_base64(text: Encoded) -> bytes:
        try:
            return quickly(text, None, True)
        except ValueError:
            return plain_decode_base64(text)

    return decode_base64, quickly, pybase64.b64encode


def _mask() -> Callable[[bytes, bytes], bytes] | None:
    if _PURE:
        return None
    try:
        from websockets.speedups import apply_mask  # noqa: PLC0415 - optional
    except ImportError:  # or it is installed without what is compiled
        return None
    return apply_mask


_PURE = os.environ.get("MESHAPI_RT_PURE", "0") not in ("", "0")


@attrs.frozen
class Codecs:
    """What is used: see :func:`plain_loads`, :func:`plain_decode_base64` and :func:`plain_encode_base64`.

    ``quick_base64`` decodes as well. It is called with ``None, True`` behind the text, which takes 0.6 µs less than a
    partial function with names does; and it may refuse what is valid. ``mask`` XORs bytes with a key
    of four, over and over (RFC 6455 5.3); ``None`` where nothing does that better than numpy.
    """

    loads: Callable[[str], Any]
    decode_base64: Callable[[Encoded], bytes]
    quick_base64: QuickBase64
    encode_base64: Callable[[bytes | memoryview], bytes]
    mask: Callable[[bytes, bytes], bytes] | None


@functools.cache
def chosen() -> Codecs:
    """Return the fastest that there are. Loading their packages takes 25 ms, and waits for the first use."""
    return Codecs(_json(), *_base64(), _mask())
