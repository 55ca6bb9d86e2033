"""One open WebSocket: whole messages in and out, pings, the closing handshake, and exactly one ending."""

from __future__ import annotations

import contextlib
import math
import os
import struct
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial

import attrs

from ..errors import TimedOut
from ..stats import Counters
from ..waiting import Deadline, Wait
from .channel import Channel
from .frames import BINARY, CLOSE, PING, PONG, TEXT, FrameDecoder, FrameEncoder, ProtocolViolation

__all__ = ["Connection", "CutOff", "Ended", "Ending", "NotSent"]

_SLICE = 64 * 1024  # bytes per TLS write: the SSL lock is held for 0.12 ms, not for 8 ms as with 16 MiB at once
_BUSY_LOOK = 0.02  # seconds until the reader looks again whether a sender has taken its control frames along
_LINGER = 0.5  # seconds for the server to close TCP after the closing handshake, as RFC 6455 7.1.1 wants
_URGENT_LIMIT = 64  # control frames kept for a peer that does not read; of pongs only the newest matter


@attrs.frozen(kw_only=True)
class Ending:
    """How a connection ended.

    Attributes:
        code: The close code received; 1005 for an empty close frame, 1006 where none came, or the code that
            this side told the peer after a violation.
        reason: The text of the close frame.
        received: Whether a close frame came.
        problem: What went wrong, as a clause; ``None`` for a close frame.
        cause: The exception behind it, if any.
    """

    code: int
    reason: str = attrs.field(default="", repr=False)  # a server may repeat the token in it
    received: bool = False
    problem: str | None = None
    cause: BaseException | None = None


class Ended(Exception):
    """The connection has ended; every message before it has been handed out."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending)
        self.ending = ending


class NotSent(Exception):
    """Nothing was sent: the connection is closing, broken or over."""


class CutOff(Exception):
    """The connection broke while a message was being sent: whether the peer got it is not known."""


class Connection:
    """An open WebSocket.

    Threads:
        One thread, the reader, calls :meth:`receive`, :meth:`tend` and :meth:`finish`. Any thread may call
        :meth:`send`, :meth:`send_close` and :meth:`abort`. The reader never waits for a sender: its control
        frames join the outgoing bytes behind the frame in progress, and whoever finds the socket writable
        flushes them.
    """

    def __init__(
        self,
        channel: Channel,
        surplus: bytes,
        *,
        max_message_size: int,
        ping_interval: float | None,
        ping_timeout: float | None,
        counters: Counters,
    ) -> None:
        self._channel = channel
        self._counters = counters
        self._decoder = FrameDecoder(max_message_size)
        self._load(surplus)
        self._encoder = FrameEncoder()
        # Guards the encoder, _unsent and the order of bytes on the wire. Held while a frame goes out, over all
        # its retries. The reader only ever tries it.
        self._frame_lock = threading.Lock()
        # Frames of the reader that wait for the frame in progress; any thread appends.
        self._urgent: deque[tuple[int, bytes, Callable[[], None] | None]] = deque()
        self._unsent = memoryview(b"")  # the rest of a control frame in progress
        self._close_sent = False
        self._abandoned = False  # nothing more is to be read
        self._retired = False  # no message but the last post may go out
        self._broken: str | None = None  # why no further byte may go out
        self._ending: Ending | None = None
        self._last_act: Callable[[], None] | None = None  # what ends it, once the messages before are handed out
        self._ping_interval = math.inf if ping_interval is None else ping_interval
        self._ping_timeout = math.inf if ping_timeout is None else ping_timeout
        self._next_ping = time.monotonic() + self._ping_interval
        self._ping_sent: float | None = None  # of the ping that waits for its pong
        self._heard = time.monotonic()  # when bytes last came: any of them are as good as a pong
        _alive.add(self)

    def _load(self, surplus: bytes) -> None:
        self._counters.bytes_received += len(surplus)
        while surplus:
            room = self._decoder.room()
            count = min(len(room), len(surplus))
            room[:count] = surplus[:count]
            self._decoder.filled(count)
            surplus = surplus[count:]

    # -- receiving: the reader's side ---

    def receive(self, timeout: float | None = None) -> list[str | bytes]:
        """Wait for messages and return all that have come whole: ``str`` for text, ``bytes`` for binary.

        Args:
            timeout: Seconds to wait; an empty list when they have passed.

        Raises:
            Ended: The connection has ended, and what came before has been returned.
        """
        deadline = Deadline(timeout)
        while True:
            messages = self._decode()
            if messages:
                return messages
            if self._ending is not None:
                raise Ended(self._ending)
            flushed = self._keep_alive()
            if self._read() and deadline.left():  # a flood without a message does not hold it longer
                continue
            longest = min(deadline.left(), self._timer())
            if longest == 0 and deadline.left() == 0:
                return []
            self._sleep(longest, flushed)

    def _decode(self) -> list[str | bytes]:
        """Take every whole message; a close or a violation behind them waits until they are handed out."""
        messages: list[str | bytes] = []
        if self._last_act is not None:
            self._last_act()
            self._last_act = None
        try:
            while self._ending is None and (found := self._decoder.next()) is not None:
                opcode, payload = found
                self._counters.frames_received += 1
                if opcode in (TEXT, BINARY):
                    messages.append(payload)
                    continue
                assert isinstance(payload, bytes)
                if opcode == CLOSE:
                    self._after(messages, partial(self._closed, *parse_close(payload), payload[:2]))
                    break
                self._control(opcode, payload)
        except ProtocolViolation as exc:
            self._after(messages, partial(self._violated, exc))
        return messages

    def _after(self, messages: list[str | bytes], act: Callable[[], None]) -> None:
        if messages:
            self._last_act = act
        else:
            act()

    def _read(self) -> bool:
        """Receive what is there; tell whether there was news."""
        if self._abandoned:
            self._end(Ending(code=1006, problem=self._broken))
        if self._ending is not None:
            return True
        try:
            got = self._channel.read_into(self._decoder.room())
            if got is None:
                self._decoder.check_partial()
                return False
        except ProtocolViolation as exc:
            self._violated(exc)
        except OSError as exc:
            self._end(Ending(code=1006, problem=self._broken or f"the connection broke ({exc})", cause=exc))
        else:
            if got:
                self._decoder.filled(got)
                self._heard = self._counters.last_received = time.monotonic()
                self._counters.bytes_received += got
            else:
                problem = self._broken or "the server ended the connection without a close frame"
                self._end(Ending(code=1006, problem=problem))
        return True

    def _sleep(self, longest: float, flushed: bool) -> None:
        sender_busy = not flushed and self._frame_lock.locked()
        if sender_busy:
            longest = min(longest, _BUSY_LOOK)
        try:
            self._channel.wait_to_read(
                None if longest == math.inf else longest, or_write=not flushed and not sender_busy
            )
        except (OSError, ValueError) as exc:
            self._end(Ending(code=1006, problem=f"the connection broke ({exc})", cause=exc))

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self._queue(PONG, payload)
        elif self._ping_sent is not None:
            self._counters.ping_round_trip = time.monotonic() - self._ping_sent
            self._ping_sent = None

    def _closed(self, code: int, reason: str, answer: bytes) -> None:
        self._answer_close(answer)
        self._end(Ending(code=code, reason=reason, received=True))

    def _violated(self, violation: ProtocolViolation) -> None:
        self._answer_close(struct.pack("!H", violation.close_code))
        self._end(Ending(code=violation.close_code, problem=f"the server broke the protocol: {violation}"))

    def _end(self, ending: Ending) -> None:
        if self._ending is None:
            self._ending = ending

    # -- timers ---

    def tend(self) -> float:
        """Keep the connection alive without reading from it; return the seconds until the next time.

        While the reader does not read it cannot see a pong, so no pong is waited for.
        """
        self._ping_sent = None
        self._keep_alive()
        return min(self._timer(), 1.0)

    def _keep_alive(self) -> bool:
        """Ping when it is time, end when no answer came; flush. Tells whether nothing is left to flush."""
        now = time.monotonic()
        if now >= self._next_ping:
            self._next_ping = now + self._ping_interval
            if self._ping_sent is None and not any(waiting[0] == PING for waiting in self._urgent.copy()):
                self._ping_sent = now
                self._queue(PING, struct.pack("!d", now))
        elif self._ping_sent is not None and now >= self._pong_due():
            self._end(
                Ending(
                    code=1006,
                    problem=f"nothing came for {self._ping_timeout:g} s after a ping: the line is dead",
                )
            )
        return self._flush()

    def _pong_due(self) -> float:
        sent = math.inf if self._ping_sent is None else self._ping_sent
        return max(sent, self._heard) + self._ping_timeout

    def _timer(self) -> float:
        return max(0.0, min(self._next_ping, self._pong_due()) - time.monotonic())

    # -- sending: any thread ---

    def send(self, payload: bytes, wait: Wait, *, text: bool = True, mark: Callable[[], None] | None = None) -> None:
        """Send one message, whole.

        Args:
            payload: The message.
            wait: How long it may take.
            text: Whether it is a text message.
            mark: Called when its turn has come, in the order of the wire, on whatever thread.

        Raises:
            TimedOut: *wait* ran out. Its text says whether the connection survives: it does only where no
                byte of the frame can have gone out.
            NotSent: Nothing was sent: the connection is closing, broken or over.
            CutOff: The connection broke while it was being sent.
        """
        self._send(TEXT if text else BINARY, payload, wait, mark)

    def post(self, payload: bytes, mark: Callable[[], None]) -> None:
        """Leave a text message to whoever can send first; for the reader, which must not wait."""
        self._urgent.append((TEXT, payload, mark))
        self._flush()

    def retire(self, payload: bytes, mark: Callable[[], None]) -> None:
        """Post the last message; sends that have not begun find the connection closed to them."""
        self._retired = True
        self.post(payload, mark)

    def send_close(self, code: int, reason: str, wait: Wait) -> None:
        """Begin the closing handshake, once. After it nothing can be sent.

        Raises:
            TimedOut: A frame in progress, or the peer, did not let it through.
            NotSent: It was sent before, or the connection is over.
        """
        self._send(CLOSE, struct.pack("!H", code) + reason.encode(), wait, None)

    def _send(self, opcode: int, payload: bytes, wait: Wait, mark: Callable[[], None] | None) -> None:
        self._acquire(wait)
        try:
            self._write_urgent(wait)
            self._check_open()  # not before: our answer to the peer's close may have been among them
            if self._retired and opcode != CLOSE:
                raise NotSent
            if opcode == CLOSE:
                self._close_sent = True
            if mark is not None:
                mark()
            frame = self._encoder.encode(opcode, payload)
            self._write(memoryview(frame), wait)
            self._count(opcode, len(frame))
        finally:
            self._frame_lock.release()
        self._flush()

    def _acquire(self, wait: Wait) -> None:
        while not self._frame_lock.acquire(timeout=_lock_timeout(wait)):
            if wait.left() == 0:
                raise TimedOut(
                    f"nothing was sent within {wait.timeout:g} s: other sends were waiting for a peer that reads "
                    "too slowly; the session is still open"
                )

    def _check_open(self) -> None:
        if self._close_sent or self._broken or self._ending is not None:
            raise NotSent

    def _write(self, frame: memoryview, wait: Wait) -> None:
        """Write a whole frame, or break the connection."""
        assert self._frame_lock.locked()
        at, clean = 0, True
        try:
            while at < len(frame):
                clean = False
                taken = self._channel.write(frame[at : at + _SLICE])
                at += taken
                if not taken:
                    # OpenSSL may hold bytes of a TLS write that it did not finish.
                    clean = at == 0 and not self._channel.secure
                    self._wait_writable(wait)
        except BaseException as exc:
            if clean:
                raise
            self.abort("a send did not finish, and a frame cannot be continued")
            if isinstance(exc, TimedOut):
                raise TimedOut(
                    f"an event did not go out whole within {wait.timeout:g} s: the peer reads too slowly; the "
                    "connection cannot go on after half a frame, so connect again"
                ) from None
            if isinstance(exc, (OSError, NotSent)):
                raise CutOff from exc
            raise

    def _count(self, opcode: int, size: int) -> None:
        assert self._frame_lock.locked()
        if opcode in (TEXT, BINARY):
            self._counters.last_event_sent = time.monotonic()
        self._counters.frames_sent += 1
        self._counters.bytes_sent += size
        self._counters.last_sent = time.monotonic()

    def _wait_writable(self, wait: Wait) -> None:
        longest = wait.slice()
        if longest == 0:
            raise TimedOut(
                f"nothing was sent within {wait.timeout:g} s: the peer reads too slowly; the session is still open"
            )
        self._channel.wait_to_write(longest)
        if self._broken:
            raise NotSent

    def _queue(self, opcode: int, payload: bytes) -> None:
        """Leave a control frame to whoever can send first."""
        if len(self._urgent) >= _URGENT_LIMIT:
            self._forget_a_pong()
        self._urgent.append((opcode, payload, None))

    def _forget_a_pong(self) -> None:
        oldest = next((waiting for waiting in self._urgent.copy() if waiting[0] == PONG), None)
        if oldest is not None:
            with contextlib.suppress(ValueError, IndexError):  # whoever can send has just taken it
                self._urgent.remove(oldest)

    def _answer_close(self, payload: bytes) -> None:
        self._queue(CLOSE, payload)
        self._flush()

    def _flush(self) -> bool:
        """Send waiting control frames as far as the socket takes them now; tell whether none is left."""
        while self._urgent or self._unsent:
            if not self._frame_lock.acquire(blocking=False):
                return False  # whoever holds it flushes when its frame is out
            try:
                if not self._write_urgent_now():
                    return False
            finally:
                self._frame_lock.release()
        return True

    def _write_urgent_now(self) -> bool:
        assert self._frame_lock.locked()
        try:
            while self._next_urgent():
                taken = self._channel.write(self._unsent)
                self._unsent = self._unsent[taken:]
                if not taken:
                    return False
        except OSError:
            self._unsent = memoryview(b"")  # the reader meets the same trouble and tells it
            self._urgent.clear()
        return True

    def _write_urgent(self, wait: Wait) -> None:
        """Send waiting control frames, whatever the time; a frame of ours has not begun yet."""
        while not self._write_urgent_now():
            self._wait_writable(wait)

    def _next_urgent(self) -> bool:
        """Make sure that _unsent holds bytes, if there are any to send."""
        if self._unsent:
            return True
        if not self._urgent or self._close_sent or self._broken:
            self._urgent.clear()
            return False
        opcode, payload, mark = self._urgent.popleft()
        self._close_sent = opcode == CLOSE
        if mark is not None:
            mark()
        self._unsent = memoryview(self._encoder.encode(opcode, payload))
        self._count(opcode, len(self._unsent))
        return True

    # -- the end ---

    def abort(self, why: str, *, unread: bool = False) -> None:
        """Break the connection off and wake everybody inside it. Any thread, any number of times.

        Args:
            why: A clause for whoever meets the end.
            unread: Whether to leave what has come and was not read yet, which may be megabytes.
        """
        self._broken = self._broken or why
        self._abandoned = self._abandoned or unread
        self._channel.shutdown()

    def finish(self) -> None:
        """Give everything back; the reader's last call, or that of ``connect`` where no reader was started.

        After a closing handshake it waits for the server to close TCP first, but not for long.
        """
        if self._ending is not None and (self._ending.received or self._close_sent):
            self._linger()
        self.abort("the connection is over")
        with self._frame_lock:  # a sender that was inside has been woken by the shutdown
            self._channel.close()

    def orphan(self) -> None:
        """Give the inherited descriptor back in a forked child: not a byte of ours goes out.

        The locks may be held by threads that do not exist here, so they are made anew.
        """
        self._frame_lock = threading.Lock()
        self._broken = "it was opened in another process"
        self._channel.close()

    def _linger(self) -> None:
        patience, waste = Deadline(_LINGER), memoryview(bytearray(16 * 1024))
        try:
            while patience.left() and not self._broken:
                flushed = self._flush()
                got = self._channel.read_into(waste)
                if got == 0:
                    return
                if got is None:
                    self._channel.wait_to_read(patience.left(), or_write=not flushed)
        except (OSError, ValueError):
            pass


_alive: weakref.WeakSet[Connection] = weakref.WeakSet()


def _orphan_all() -> None:
    for connection in list(_alive):
        connection.orphan()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_orphan_all)


def _lock_timeout(wait: Wait) -> float:
    longest = wait.slice()
    return -1 if longest is None else min(longest, threading.TIMEOUT_MAX)


def parse_close(payload: bytes) -> tuple[int, str]:
    """Read a close frame's payload (RFC 6455 5.5.1 and 7.4); an empty one is code 1005.

    Raises:
        ProtocolViolation: The code or the reason is not allowed on the wire.
    """
    if not payload:
        return 1005, ""
    if len(payload) == 1:
        raise ProtocolViolation(1002, "a close frame has half a code")
    (code,) = struct.unpack("!H", payload[:2])
    if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise ProtocolViolation(1002, f"a close frame has the code {code}, which is not for the wire")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise ProtocolViolation(1007, "a close frame's reason is not UTF-8") from None
