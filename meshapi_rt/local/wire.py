"""The socket of one connection, and what a script can do to it: stall, slow, end it in every way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any

from websockets.asyncio.server import ServerConnection

from .brake import Brake
from .faults import Drop, Reset, Slow, Stall, WireAct

__all__ = ["Connection", "Wire"]

_FLUSH_SECONDS = 0.5  # that written bytes get to leave before a drop
_GONE_SECONDS = 1.0  # that the peer gets to see the end of a stream, and to close
_LOOK_SECONDS = 0.001  # an asyncio transport does not tell when its buffer is empty, except by being asked
_NO_LINGER = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)  # SO_LINGER: on, 0 s; close() then resets


class Connection(ServerConnection):
    """A connection that a server has counted.

    Attributes:
        number: Which one it is, from 1.
        wire: What sends its frames; there as soon as its request has been read.
    """

    number = 0
    wire: Wire | None = None


class Wire:
    """Sends frames; everything is called on the loop's thread.

    Without a fault nothing stands between the connection and its transport.
    """

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._brake: Brake | None = None
        self._delays: list[float] = []
        self._stalled_until = 0.0  # by the loop's clock
        self._deaf = 0  # how many stalls keep it from reading
        self._reads = asyncio.Event()
        self._reads.set()
        self._endings: set[asyncio.Task[None]] = set()  # held, as the loop does not hold them

    @property
    def brake(self) -> Brake:
        """What holds the line up; put in place when it is first asked for."""
        if self._brake is None:
            self._brake = Brake(self._connection.transport)
            self._connection.transport = self._brake
        return self._brake

    @property
    def stalled(self) -> bool:
        """A stall holds it up at present."""
        return self._deaf > 0 or (self._brake is not None and self._brake.held)

    @property
    def stall_left(self) -> float:
        """Seconds until the last of the stalls ends that do end."""
        return max(0.0, self._stalled_until - self._loop.time()) if self.stalled else 0.0

    async def send(self, frame: str | bytes) -> None:
        """Send a frame, when the line takes it."""
        if self._brake is not None:
            await self._brake.clear()
            if self._delays:
                await asyncio.sleep(max(self._delays))
        await self._connection.send(frame)

    async def may_read(self) -> None:
        """Wait until reading is allowed; to be asked after each frame."""
        if self._deaf:
            # The library pauses and resumes by itself, as its own queue fills: taking a frame may have resumed.
            self._connection.transport.pause_reading()
            await self._reads.wait()

    # -- the line ------------------------------------------------------------------------------------------

    def stall(self, fault: Stall) -> None:
        """Stop reading, writing, or both."""
        if fault.reading:
            self._deaf += 1
            self._reads.clear()
            self._connection.transport.pause_reading()
        if fault.writing:
            self.brake.hold()
        if fault.seconds is not None:
            self._stalled_until = max(self._stalled_until, self._loop.time() + fault.seconds)
            self._loop.call_later(fault.seconds, self._unstall, fault)

    def _unstall(self, fault: Stall) -> None:
        if fault.reading and self._deaf:  # it may have been given up
            self._deaf -= 1
            if not self._deaf:
                self._hear()
        if fault.writing:
            self.brake.release()

    def _hear(self) -> None:
        self._reads.set()
        if not self._connection.transport.is_closing():
            self._connection.transport.resume_reading()

    def slow(self, fault: Slow) -> None:
        """Take frames slowly."""
        brake, rate, delay = self.brake, fault.bytes_per_second, fault.delay
        if rate is not None:
            brake.slow(rate)
        if delay is not None:
            self._delays.append(delay)

        def end() -> None:
            if rate is not None:
                brake.unslow(rate)
            if delay is not None:
                self._delays.remove(delay)

        if fault.seconds is not None:
            self._loop.call_later(fault.seconds, end)

    # -- the end -------------------------------------------------------------------------------------------

    def mark(self, fault: WireAct, take: Callable[[], bool]) -> None:
        """Have a fault happen after so many bytes of the handshake's answer and what follows.

        Args:
            fault: What happens.
            take: Asked then whether it still does.
        """

        def act() -> None:
            if not take():
                return
            if isinstance(fault, Stall):
                self.stall(fault)
            elif isinstance(fault, (Drop, Reset)):
                self.brake.kill()
                self._start(self.drop() if isinstance(fault, Drop) else self.reset())

        assert fault.sent_bytes is not None
        self.brake.mark(fault.sent_bytes, act)

    def _start(self, ending: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(ending)
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)
        self._loop.call_later(_GONE_SECONDS, self._connection.transport.abort)

    def give_up(self) -> None:
        """Let a line that stalls hold up nothing any more: what it held is lost."""
        if self._brake is not None and self._brake.held:
            self._brake.kill()
        if self._deaf:
            self._deaf = 0
            self._hear()

    async def drop(self) -> None:
        """End the stream without a close frame, behind what was sent; the peer is still read."""
        await self._flush()
        self.brake.kill()  # the library would answer pings and a close: not any more
        sock = self._connection.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)

    async def reset(self) -> None:
        """Reset the connection, behind what was sent."""
        await self._flush()
        sock = self._connection.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._connection.transport.abort()

    async def close(self, code: int | None, reason: str) -> None:
        """Send a close frame, whatever the standard says about its code, then end the stream."""
        payload = b"" if code is None else code.to_bytes(2, "big") + reason.encode()
        self._connection.transport.write(bytes([0x88, len(payload)]) + payload)
        await self.drop()

    async def _flush(self) -> None:
        transport = self._connection.transport
        deadline = self._loop.time() + _FLUSH_SECONDS
        while transport.get_write_buffer_size() and not transport.is_closing() and self._loop.time() < deadline:
            await asyncio.sleep(_LOOK_SECONDS)
