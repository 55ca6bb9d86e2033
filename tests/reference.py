"""A second reading of RFC 6455, for tests to hold ours against: slow, plain, and sharing no code with it.

It takes a whole stream at once. What it says must not depend on how the stream was cut into pieces.
"""

from __future__ import annotations

import attrs

Item = tuple[str, str | bytes]  # ("text", str), ("binary", bytes), ("ping", bytes) or ("pong", bytes)


@attrs.frozen
class Reading:
    """What a stream of frames means.

    Attributes:
        items: Whole messages and control frames, in order.
        end: ``("close", code, reason)``, ``("violation", close code)`` or ``("open",)``.
    """

    items: list[Item]
    end: tuple[object, ...]

    @property
    def messages(self) -> list[str | bytes]:
        """The payloads of the data messages."""
        return [payload for kind, payload in self.items if kind in ("text", "binary")]


class _Violation(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


# RFC 3629 section 4: the range of the second byte, by the first; and how many bytes follow that one.
_SECOND = {0xE0: (0xA0, 0xBF), 0xED: (0x80, 0x9F), 0xF0: (0x90, 0xBF), 0xF4: (0x80, 0x8F)}


class _Utf8:
    """Refuses the first byte after which a text can no longer become UTF-8."""

    def __init__(self) -> None:
        self._missing = 0
        self._range = (0x80, 0xBF)

    def feed(self, data: bytes) -> None:
        for byte in data:
            if self._missing:
                low, high = self._range
                if not low <= byte <= high:
                    raise _Violation(1007)
                self._missing -= 1
                self._range = (0x80, 0xBF)
            elif byte >= 0x80:
                if not 0xC2 <= byte <= 0xF4:
                    raise _Violation(1007)
                self._missing = 1 if byte < 0xE0 else 2 if byte < 0xF0 else 3
                self._range = _SECOND.get(byte, (0x80, 0xBF))

    def finish(self) -> None:
        if self._missing:
            raise _Violation(1007)


class _Reader:
    def __init__(self, stream: bytes, limit: int) -> None:
        self.stream = stream
        self.limit = limit
        self.at = 0
        self.items: list[Item] = []
        self.kind = ""  # of the fragmented message in progress
        self.parts = b""
        self.utf8 = _Utf8()

    def frame(self) -> tuple[object, ...] | None:
        """Read one frame; return the end if it is one."""
        stream, at = self.stream, self.at
        if len(stream) - at < 2:
            return ("open",)
        final, reserved, opcode = stream[at] >> 7, stream[at] >> 4 & 7, stream[at] & 15
        masked, length = stream[at + 1] >> 7, stream[at + 1] & 127
        if reserved or masked or opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
            raise _Violation(1002)
        if opcode >= 8 and (not final or length > 125):
            raise _Violation(1002)
        if opcode < 8 and (opcode == 0) != bool(self.kind):
            raise _Violation(1002)
        at += 2
        if length > 125:
            width = 2 if length == 126 else 8
            if len(stream) - at < width:
                return ("open",)
            length = int.from_bytes(stream[at : at + width], "big")
            at += width
            if length >= 1 << 63:
                raise _Violation(1002)
        if opcode < 8 and len(self.parts) + length > self.limit:
            raise _Violation(1009)
        payload = stream[at : at + length]
        whole = len(payload) == length
        self.at = at + length
        if opcode >= 8:
            return self.control(opcode, payload) if whole else ("open",)
        if opcode:
            self.kind, self.parts, self.utf8 = ("text" if opcode == 1 else "binary"), b"", _Utf8()
        if self.kind == "text":
            self.utf8.feed(payload)
        if not whole:
            return ("open",)
        self.parts += payload
        if final:
            if self.kind == "text":
                self.utf8.finish()
            self.items.append((self.kind, self.parts.decode() if self.kind == "text" else self.parts))
            self.kind, self.parts = "", b""
        return None

    def control(self, opcode: int, payload: bytes) -> tuple[object, ...] | None:
        if opcode != 8:
            self.items.append(("ping" if opcode == 9 else "pong", payload))
            return None
        if not payload:
            return ("close", 1005, "")
        code = int.from_bytes(payload[:2], "big")
        forbidden = code < 1000 or code in (1004, 1005, 1006) or 1015 <= code < 3000 or code >= 5000
        if len(payload) == 1 or forbidden:
            raise _Violation(1002)
        reason = _Utf8()
        reason.feed(payload[2:])
        reason.finish()
        return ("close", code, payload[2:].decode())


def read(stream: bytes, limit: int = 1 << 26) -> Reading:
    """Say what *stream* means to a client that takes messages of *limit* bytes at most."""
    reader = _Reader(stream, limit)
    try:
        while (end := reader.frame()) is None:
            pass
    except _Violation as exc:
        end = ("violation", exc.code)
    return Reading(reader.items, end)
