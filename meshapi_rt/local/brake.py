"""A transport that can be held, slowed, and stopped after a byte: how a bad line looks from the protocol above."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["Brake"]

_SLICE_SECONDS = 0.01  # how finely a slow line is cut: what it carries in this time goes out at once


class Brake(asyncio.Transport):
    """Stands between a connection and its transport. Used on the loop's thread.

    Args:
        inner: What it writes to.
    """

    def __init__(self, inner: asyncio.Transport) -> None:
        super().__init__()
        self._inner = inner
        self._loop = asyncio.get_running_loop()
        self._queue: deque[bytes | Callable[[], None]] = deque()
        self._holds = 0
        self._rates: list[float] = []
        self._pause: asyncio.TimerHandle | None = None  # until the slow line takes more
        self._marks: list[tuple[int, Callable[[], None]]] = []
        self._written = 0
        self._dead = False
        self._free = asyncio.Event()
        self._free.set()

    # -- what a script does --------------------------------------------------------------------------------

    @property
    def held(self) -> bool:
        """Nothing goes out at present."""
        return self._holds > 0

    def hold(self) -> None:
        """Let nothing out until as many :meth:`release`."""
        self._holds += 1
        self._free.clear()

    def release(self) -> None:
        """Take one hold back."""
        self._holds -= 1
        self._push()

    def slow(self, rate: float) -> None:
        """Let out *rate* bytes per second; of several rates the lowest counts."""
        self._rates.append(rate)

    def unslow(self, rate: float) -> None:
        """Take one rate back."""
        self._rates.remove(rate)

    def mark(self, at: int, action: Callable[[], None]) -> None:
        """Do something when *at* bytes were written since the brake was made, and before any more are."""
        self._marks.append((at, action))
        self._marks.sort(key=lambda mark: mark[0])
        self._push()

    def kill(self) -> None:
        """Forget what waits, and whatever will be written."""
        self._dead = True
        self._queue.clear()
        self._free.set()

    async def clear(self) -> None:
        """Wait until everything has gone out, or never will."""
        await self._free.wait()

    # -- what the connection does --------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send, as soon as the line lets it through."""
        self._add(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send several."""
        for data in list_of_data:
            self.write(data)

    def write_eof(self) -> None:
        """End the stream, behind what waits."""
        self._add(self._inner.write_eof)

    def close(self) -> None:
        """Close, behind what waits."""
        self._add(self._inner.close)

    def abort(self) -> None:
        """Close at once."""
        self.kill()
        self._inner.abort()

    def can_write_eof(self) -> bool:
        """As the transport below."""
        return self._inner.can_write_eof()

    def is_closing(self) -> bool:
        """As the transport below."""
        return self._inner.is_closing()

    def is_reading(self) -> bool:
        """As the transport below."""
        return self._inner.is_reading()

    def pause_reading(self) -> None:
        """As the transport below."""
        self._inner.pause_reading()

    def resume_reading(self) -> None:
        """As the transport below."""
        self._inner.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As the transport below."""
        return self._inner.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Count what waits here, and below."""
        return self._inner.get_write_buffer_size() + sum(len(p) for p in self._queue if isinstance(p, bytes))

    # -- the line ------------------------------------------------------------------------------------------

    def _add(self, piece: bytes | Callable[[], None]) -> None:
        if not self._dead:
            self._queue.append(piece)
            self._free.clear()
            self._push()

    def _push(self) -> None:
        """Let out what may go."""
        while not (self._dead or self._holds or self._pause):
            if self._marks and self._written >= self._marks[0][0]:
                self._marks.pop(0)[1]()
            elif not self._queue:
                self._free.set()
                return
            else:
                self._let_out(self._queue.popleft())

    def _let_out(self, piece: bytes | Callable[[], None]) -> None:
        if not isinstance(piece, bytes):
            piece()
            return
        rate = min(self._rates, default=None)
        size = len(piece) if rate is None else min(len(piece), max(1, int(rate * _SLICE_SECONDS)))
        if self._marks:
            size = min(size, self._marks[0][0] - self._written)
        if size < len(piece):
            self._queue.appendleft(piece[size:])
        self._inner.write(piece[:size])
        self._written += size
        if rate is not None:
            self._pause = self._loop.call_later(size / rate, self._continue)

    def _continue(self) -> None:
        self._pause = None
        self._push()
