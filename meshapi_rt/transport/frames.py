"""RFC 6455 frames as a server sends them: from bytes to whole messages. No I/O. See ``masking`` for the other way."""

from __future__ import annotations

import codecs
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Generic, Protocol, TypeVar

import numpy as np

__all__ = [
    "BINARY",
    "CLOSE",
    "PING",
    "PONG",
    "TEXT",
    "FrameDecoder",
    "Maker",
    "Payloads",
    "ProtocolViolation",
]

# The opcodes of RFC 6455 5.2, as websocket-client has them too.
CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

_UTF8: Callable[[], codecs.IncrementalDecoder] = codecs.getincrementaldecoder("utf-8")
_WHOLE_TEXT = (0x80 | TEXT) << 8  # the first two bytes of an unfragmented text, its length in the lower one
_LONG_TEXT = _WHOLE_TEXT | 126  # and those of one whose length is in the next two
_two_words = struct.Struct("!HH").unpack_from
_BUFFER_SIZE = 256 * 1024  # bytes; with less, throughput falls
_M = TypeVar("_M")
_M_co = TypeVar("_M_co", covariant=True)


class ProtocolViolation(Exception):
    """The peer broke RFC 6455; ``close_code`` is what the standard wants it told."""

    def __init__(self, close_code: int, what: str) -> None:
        super().__init__(what)
        self.close_code = close_code


def _not_utf8(exc: UnicodeDecodeError) -> ProtocolViolation:
    return ProtocolViolation(1007, f"a text message is not UTF-8: {exc.reason}")


class Maker(Protocol[_M_co]):
    """What becomes of a payload that has come whole. It sees the bytes where they were received, before any copy."""

    def text(self, payload: bytearray | memoryview) -> _M_co:
        """Make a message of a text's payload; what it keeps of that, it copies.

        Raises:
            UnicodeDecodeError: It is no UTF-8.
        """

    def binary(self, payload: bytes) -> _M_co:
        """Make a message of a binary one."""


class Payloads:
    """Makes ``str`` of a text and leaves the rest as ``bytes``."""

    def text(self, payload: bytearray | memoryview) -> str | bytes:
        """Decode a text."""
        return str(payload, "utf-8")

    def binary(self, payload: bytes) -> str | bytes:
        """Return it."""
        return payload


_NO_BUFFER = memoryview(b"")
# Of all sessions: a connection holds one only while bytes are in it, so that many share a few, which stay in the
# processor's cache. Any thread takes and gives: what is done with a deque is atomic.
_spare: deque[memoryview] = deque(maxlen=4)


class FrameDecoder(Generic[_M]):
    """Turns received bytes into whole messages and control frames.

    Bytes come with :meth:`receive`, which gives what most of a stream is: texts that lie whole in them.
    :meth:`next` gives the rest, as long as there is any. One thread at a time.

    Args:
        maker: Makes the messages.
        max_message: The largest message in bytes, judged from the frame header and the running sum, before
            any memory is spent on it.

    Attributes:
        rest: Bytes are at hand that :meth:`next` has to look at.
    """

    def __init__(self, maker: Maker[_M], max_message: int) -> None:
        self._text, self._binary = maker.text, maker.binary
        self._max_message = max_message
        self._buffer = _NO_BUFFER
        self._start = 0  # where the next frame begins
        self._end = 0  # where the received bytes end
        self._wanted = 0  # bytes of the frame that is not whole yet, with its header, as far as known
        self._opcode = 0  # of the fragmented message in progress, else 0
        # Its payload so far: not a list of fragments, for a server may send millions of them, of a byte or none.
        self._partial = bytearray()
        self._utf8 = _UTF8()  # checks a text that has not arrived whole
        self._checked = 0  # payload bytes of the unfinished frame that it has seen
        self.rest = False

    def receive(
        self, read: Callable[[memoryview], int | None], into: list[_M], herald: Callable[[], None] | None = None
    ) -> int | None:
        """Let *read* write into the free space, which is never empty, and tell how many bytes; return what it told.

        The texts that lie whole at hand, up to the first frame of any other kind, are appended to *into*; before the
        first of them is made, *herald* is called.
        """
        if self._start < self._end:
            got = read(self._room_behind())
            if not got:
                return got
            buffer, start = self._buffer, self._start
            stop = self._end = self._end + got
        else:
            try:
                buffer = _spare.pop()
            except IndexError:
                buffer = np.empty(_BUFFER_SIZE, np.uint8).data  # no real memory before it is used
            got = read(buffer)
            if not got:
                _spare.append(buffer)
                return got
            start, stop = 0, got
        last = -1 if self._opcode else stop - 4  # where a frame may begin; not inside of a message
        text, most = self._text, self._max_message
        try:
            while start <= last:
                kind, length = _two_words(buffer, start)
                if kind == _LONG_TEXT:
                    begin = start + 4
                elif _WHOLE_TEXT <= kind < _LONG_TEXT:
                    length, begin = kind & 0x7F, start + 2
                else:
                    break  # no text, or one of 64 KiB or more, or masked, or a part of one
                end = begin + length
                if end > stop or length > most:
                    break
                if herald is not None:
                    herald()
                    herald = None
                into.append(text(buffer[begin:end]))
                start = end
        except UnicodeDecodeError:
            pass  # next() will say so
        if start < stop or self._end:
            self._keep(buffer, start, stop)
        else:  # mostly
            _spare.append(buffer)
        return got

    def _keep(self, buffer: memoryview, start: int, stop: int) -> None:
        """Hold what lies in a buffer between two places; part with a buffer in which nothing is left."""
        if self._end and start > self._start:  # the frame that was not whole is taken
            self._wanted = 0
            if self._checked:
                self._checked = 0
                self._utf8.reset()
        self.rest = start < stop
        if start < stop:
            self._buffer, self._start, self._end = buffer, start, stop
        else:
            self._buffer, self._start, self._end = _NO_BUFFER, 0, 0
            if len(buffer) == _BUFFER_SIZE:  # it did not grow
                _spare.append(buffer)

    def _room_behind(self) -> memoryview:
        """Return the space behind what is at hand; the buffer grows where there is none."""
        size = len(self._buffer)
        if self._start and (self._end == size or self._start + self._wanted > size):
            kept = bytes(self._buffer[self._start : self._end])
            self._buffer[: len(kept)] = kept
            self._start, self._end = 0, len(kept)
        if self._end == size:
            grown = bytearray(size * 2)  # by doubling, so that a header alone never costs what it announces
            grown[:size] = self._buffer
            self._buffer = memoryview(grown)
        return self._buffer[self._end :]

    def next(self) -> tuple[int, Any] | None:
        """Return the next whole message or the payload of a control frame, or ``None`` until more bytes have come.

        The opcode comes first: ``TEXT``, ``BINARY`` or that of the control frame.

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
            self._checked = 0
            self._keep(self._buffer, end, self._end)
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

    def _take(self, first: int, begin: int, end: int) -> tuple[int, _M | bytes] | None:
        """Take one whole frame; return what it completes."""
        opcode, final = first & 0x0F, first & 0x80
        if final and opcode == TEXT:
            if self._checked:
                self._utf8.reset()
            return TEXT, self._made_of_text(self._buffer[begin:end])
        if opcode & 0x08:
            return opcode, bytes(self._buffer[begin:end])
        if final and opcode == BINARY:
            return BINARY, self._binary(bytes(self._buffer[begin:end]))
        return self._take_fragment(opcode, bool(final), begin, end)

    def _take_fragment(self, opcode: int, final: bool, begin: int, end: int) -> tuple[int, _M] | None:
        if opcode != CONTINUATION:
            self._opcode = opcode
        if self._opcode == TEXT:
            self._check_utf8(begin, end, final)
        self._partial += self._buffer[begin:end]
        if not final:
            return None
        whole, kind = self._partial, self._opcode
        self._partial, self._opcode = bytearray(), 0
        self._utf8.reset()
        return kind, self._made_of_text(whole) if kind == TEXT else self._binary(bytes(whole))

    def _made_of_text(self, payload: bytearray | memoryview) -> _M:
        try:
            return self._text(payload)
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
        unseen = self._buffer[begin + self._checked : end]
        try:
            self._utf8.decode(unseen, final)
        except UnicodeDecodeError as exc:
            raise _not_utf8(exc) from None
        self._checked = end - begin
