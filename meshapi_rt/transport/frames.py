"""RFC 6455 frames as bytes: a decoder for what a server sends, an encoder for what a client sends. No I/O."""

from __future__ import annotations

import codecs
import os
import struct
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

__all__ = ["BINARY", "CLOSE", "PING", "PONG", "TEXT", "FrameDecoder", "FrameEncoder", "ProtocolViolation"]

# The opcodes of RFC 6455 5.2, as websocket-client has them too.
CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

_UTF8: Callable[[], codecs.IncrementalDecoder] = codecs.getincrementaldecoder("utf-8")
_WHOLE_TEXT = 0x80 | TEXT  # the first byte of an unfragmented text
_FIRST_BUFFER = 512  # bytes: what an idle session costs
_READS_TO_TELL = 16  # reads after which the buffer is fitted to them: a burst, or a stall, may have made it large
_BUFFER_SIZE = 256 * 1024  # what a busy one grows to; below this, throughput falls
_LARGEST_EMPTY = 8 * _BUFFER_SIZE  # bytes of buffer that are kept while nothing is in it
_PAYLOAD_AT = 16  # where the payload of a frame being made begins: behind the longest header, at a whole word
_LARGEST_KEPT = 1024 * 1024  # bytes of scratch space that are kept for the next frame
_KEYS_AT_ONCE = 128  # mask keys drawn from the system per call: each call gives up the GIL
_xor = np.bitwise_xor


class ProtocolViolation(Exception):
    """The peer broke RFC 6455; ``close_code`` is what the standard wants it told."""

    def __init__(self, close_code: int, what: str) -> None:
        super().__init__(what)
        self.close_code = close_code


def _not_utf8(exc: UnicodeDecodeError) -> ProtocolViolation:
    return ProtocolViolation(1007, f"a text message is not UTF-8: {exc.reason}")


class FrameDecoder:
    """Turns received bytes into whole messages and control frames.

    Bytes are received into :meth:`room` and counted in with :meth:`filled`; :meth:`next` then gives each whole
    message as ``(opcode, payload)``: ``str`` for text, ``bytes`` for the rest. One thread at a time.

    Args:
        max_message: The largest message in bytes, judged from the frame header and the running sum, before
            any memory is spent on it.
    """

    def __init__(self, max_message: int) -> None:
        self._max_message = max_message
        self._buffer = bytearray(_FIRST_BUFFER)
        self._view = memoryview(self._buffer)
        self._start = 0  # where the next frame begins
        self._end = 0  # where the received bytes end
        self._reads = self._most = 0  # since the size was looked at: reads into the empty buffer, bytes in it at most
        self._brimful = False  # the last read filled the buffer: more may have been waiting
        self._wanted = 0  # bytes of the frame that is not whole yet, with its header, as far as known
        self._opcode = 0  # of the fragmented message in progress, else 0
        # Its payload so far: not a list of fragments, for a server may send millions of them, of a byte or none.
        self._partial = bytearray()
        self._utf8 = _UTF8()  # checks a text that has not arrived whole
        self._checked = 0  # payload bytes of the unfinished frame that it has seen

    def room(self) -> memoryview:
        """Return the free space to receive into; never empty."""
        if self._start == self._end:
            self._most = max(self._most, self._end)
            self._start = self._end = 0
            self._reads += 1
            if self._reads > _READS_TO_TELL or len(self._buffer) > _LARGEST_EMPTY:
                self._look_at_size()
            if not self._brimful:
                return self._view
        size = len(self._buffer)
        if self._start and (self._end == size or self._start + self._wanted > size):
            kept = bytes(self._view[self._start : self._end])
            self._view[: len(kept)] = kept
            self._start, self._end = 0, len(kept)
        if self._end == size or (self._brimful and size < _BUFFER_SIZE):
            self._resize(size * 2)  # by doubling, so that a header alone never costs what it announces
        return self._view[self._end :]

    def _look_at_size(self) -> None:
        """Shrink an empty buffer to what the last reads needed; at once where a very large message passed through."""
        needed = max(_FIRST_BUFFER, 1 << self._most.bit_length())  # so that the same again would not fill it
        if len(self._buffer) > min(needed, _LARGEST_EMPTY):
            self._resize(min(needed, _BUFFER_SIZE))
        self._reads = self._most = 0

    def _resize(self, size: int) -> None:
        grown = bytearray(size)
        grown[: self._end] = self._view[: self._end]
        self._buffer, self._view = grown, memoryview(grown)

    def filled(self, count: int) -> None:
        """Count in *count* bytes that were received into :meth:`room`."""
        self._end += count
        self._brimful = self._end == len(self._buffer)

    def texts(self, into: list[str | bytes]) -> bool:
        """Append the texts that lie whole at hand, up to the first frame of any other kind: most of a stream.

        Returns:
            Whether anything is left, for :meth:`next` to look at.

        Raises:
            ProtocolViolation: As in :meth:`next`; what came before it has been appended.
        """
        if self._opcode or self._checked:
            return self._start < self._end
        buffer, view, start, last = self._buffer, self._view, self._start, self._end - 4
        try:
            while start <= last and buffer[start] == _WHOLE_TEXT:
                length, begin = buffer[start + 1], start + 2
                if length == 126:
                    length, begin = buffer[start + 2] << 8 | buffer[start + 3], start + 4
                elif length > 126:
                    break  # of 64 KiB or more, or masked: next() looks closer
                end = begin + length
                if end > self._end or length > self._max_message:
                    break
                into.append(str(view[begin:end], "utf-8"))
                self._start = start = end
                self._wanted = 0
        except UnicodeDecodeError as exc:
            raise _not_utf8(exc) from None
        return start < self._end

    def next(self) -> tuple[int, str | bytes] | None:
        """Return the next whole message or control frame, or ``None`` until more bytes have come.

        Raises:
            ProtocolViolation: The bytes are no proper frames; nothing after them can be read.
        """
        while True:
            head = self._head()
            if head is None:
                return None
            first, begin, length = head
            end = begin + length
            self._wanted = end - self._start
            if end > self._end:
                return None
            message = self._take(first, begin, end)
            self._start = end
            self._wanted = self._checked = 0
            if message is not None:
                return message

    def _head(self) -> tuple[int, int, int] | None:
        """Read a frame's header: its first byte, where its payload begins, and the payload's length."""
        start, have = self._start, self._end - self._start
        if have < 2:
            return None
        first, second = self._buffer[start], self._buffer[start + 1]
        length, begin = second & 0x7F, start + 2
        self._check_head(first, second, length)
        if length == 126:
            if have < 4:
                return None
            (length,) = struct.unpack_from("!H", self._buffer, begin)
            begin += 2
        elif length == 127:
            if have < 10:
                return None
            (length,) = struct.unpack_from("!Q", self._buffer, begin)
            begin += 8
            if length >> 63:
                raise ProtocolViolation(1002, "a frame length has its highest bit set")
        if not first & 0x08 and len(self._partial) + length > self._max_message:
            raise ProtocolViolation(1009, f"a message of more than {self._max_message} bytes began (max_message_size)")
        return first, begin, length

    def _check_head(self, first: int, second: int, length: int) -> None:
        opcode = first & 0x0F
        if first & 0x70:
            raise ProtocolViolation(1002, "a frame has reserved bits set, without an extension agreed on")
        if second & 0x80:
            raise ProtocolViolation(1002, "the server masked a frame")
        if opcode & 0x08:
            if opcode not in (CLOSE, PING, PONG):
                raise ProtocolViolation(1002, f"unknown control opcode {opcode:#x}")
            if length > 125 or not first & 0x80:
                raise ProtocolViolation(1002, "a control frame is fragmented or longer than 125 bytes")
        elif opcode == CONTINUATION:
            if not self._opcode:
                raise ProtocolViolation(1002, "a continuation frame came without a message to continue")
        elif opcode not in (TEXT, BINARY):
            raise ProtocolViolation(1002, f"unknown data opcode {opcode:#x}")
        elif self._opcode:
            raise ProtocolViolation(1002, "a new message began inside a fragmented one")

    def _take(self, first: int, begin: int, end: int) -> tuple[int, str | bytes] | None:
        """Take one whole frame; return what it completes."""
        opcode, final = first & 0x0F, first & 0x80
        if final and opcode == TEXT:
            if self._checked:
                self._utf8.reset()
            return TEXT, self._text(self._view[begin:end])
        if opcode & 0x08 or (final and opcode == BINARY):
            return opcode, bytes(self._view[begin:end])
        return self._take_fragment(opcode, bool(final), begin, end)

    def _take_fragment(self, opcode: int, final: bool, begin: int, end: int) -> tuple[int, str | bytes] | None:
        if opcode != CONTINUATION:
            self._opcode = opcode
        if self._opcode == TEXT:
            self._check_utf8(begin, end, final)
        self._partial += self._view[begin:end]
        if not final:
            return None
        whole, kind = self._partial, self._opcode
        self._partial, self._opcode = bytearray(), 0
        self._utf8.reset()
        return (kind, self._text(whole)) if kind == TEXT else (kind, bytes(whole))

    def _text(self, payload: bytearray | memoryview) -> str:
        try:
            return str(payload, "utf-8")
        except UnicodeDecodeError as exc:
            raise _not_utf8(exc) from None

    def check_partial(self) -> None:
        """Refuse a text that cannot become UTF-8 any more, before its last byte has come.

        To be called before waiting for more bytes.
        """
        if self._start == self._end:
            return
        head = self._head()
        if head is None:
            return
        first, begin, length = head
        opcode = first & 0x0F
        if opcode == TEXT or (opcode == CONTINUATION and self._opcode == TEXT):
            if opcode == TEXT and not self._checked:
                self._utf8.reset()
            self._check_utf8(begin, min(begin + length, self._end), final=False)

    def _check_utf8(self, begin: int, end: int, final: bool) -> None:
        unseen = self._view[begin + self._checked : end]
        try:
            self._utf8.decode(unseen, final)
        except UnicodeDecodeError as exc:
            raise _not_utf8(exc) from None
        self._checked = end - begin


class FrameEncoder:
    """Makes masked client frames; each takes a fresh random key. One thread at a time.

    A frame is made in place, in scratch space that keeps its shape: of frames of one length, as audio makes them,
    each costs two copies and one XOR, with the key read from where it stands in the frame.
    """

    def __init__(self) -> None:
        self._keys: Iterator[tuple[bytes]] = iter(())
        self._length = self._opcode = -1  # of the last frame
        self._scratch = bytearray()

    def encode(self, opcode: int, payload: bytes) -> memoryview:
        """Return one final frame that carries *payload*; it is overwritten by the next one."""
        if len(payload) != self._length or opcode != self._opcode:
            self._shape(opcode, len(payload))
        (self._key[:],) = next(self._keys, None) or self._more_keys()
        self._payload[:] = payload
        _xor(self._words, self._key_word, self._words)
        return self._frame

    def _more_keys(self) -> tuple[bytes]:
        self._keys = struct.iter_unpack("4s", os.urandom(4 * _KEYS_AT_ONCE))
        return next(self._keys)

    def _shape(self, opcode: int, length: int) -> None:
        """Get ready for frames of that length: the header in front of the key, the payload behind it."""
        count = (length + 3) // 4  # words; the last may reach beyond the payload, where nobody looks
        end = _PAYLOAD_AT + 4 * count
        if end > len(self._scratch) or len(self._scratch) > 2 * max(end, _LARGEST_KEPT):
            self._scratch = bytearray(end)
        if length < 126:
            header = struct.pack("!BB", 0x80 | opcode, 0x80 | length)
        elif length < 1 << 16:
            header = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, length)
        else:
            header = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, length)
        key_at = _PAYLOAD_AT - 4
        start = key_at - len(header)
        self._scratch[start:key_at] = header
        view = memoryview(self._scratch)
        self._frame, self._key = view[start : _PAYLOAD_AT + length], view[key_at:_PAYLOAD_AT]
        self._payload = view[_PAYLOAD_AT : _PAYLOAD_AT + length]
        # Arrays on the same bytes. One without a dimension costs half of what a numpy scalar does.
        self._key_word = np.ndarray((), np.uint32, self._scratch, key_at)
        self._words = np.ndarray((count,), np.uint32, self._scratch, _PAYLOAD_AT)
        self._length, self._opcode = length, opcode
