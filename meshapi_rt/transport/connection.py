"""One open WebSocket: whole messages in and out, pings, the closing handshake, and exactly one ending."""

from __future__ import annotations

import io
import math
import os
import struct
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

import attrs

from ..stats import Counters
from ..waiting import Deadline, Wait
from .channel import LONGEST, Channel
from .frames import BINARY, CLOSE, PING, PONG, TEXT, FrameDecoder, Maker, ProtocolViolation
from .outgoing import Outgoing
from .watch import Watch

__all__ = ["Connection", "Ended", "Ending"]

_BUSY_LOOK = 0.02  # seconds until the reader looks again whether a sender has taken its control frames along
_M = TypeVar("_M")
_LINGER = 0.5  # seconds for the server to close TCP after the closing handshake, as RFC 6455 7.1.1 wants


@attrs.frozen(kw_only=True, eq=False)
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


class Connection(Generic[_M]):
    """An open WebSocket.

    Threads:
        One thread at a time, the one that reads, calls :meth:`receive`, :meth:`calm_for`, :meth:`news`, :meth:`tend`,
        :meth:`post` and :meth:`retire`, and the reader :meth:`watch` and :meth:`finish`. Any thread may call
        :attr:`send`, :meth:`send_close` and :meth:`abort`.

    Attributes:
        send: Sends one message, whole: see ``Outgoing.send``.
    """

    def __init__(
        self,
        channel: Channel,
        surplus: bytes,
        maker: Maker[_M],
        *,
        max_message_size: int,
        ping_interval: float | None,
        ping_timeout: float | None,
        counters: Counters,
    ) -> None:
        self._channel = channel
        self._surplus = io.BytesIO(surplus)  # what came with the answer to the upgrade,
        channel.drained = False  # and is still to be read
        self._read_into = self._read_surplus
        self._counters = counters
        self._decoder = FrameDecoder(maker, max_message_size)
        self._calm = False  # everything that came was taken, and no ping is under way: only bytes can be news
        self._outgoing = Outgoing(channel, counters)
        self.send = self._outgoing.send  # itself: it is the way of every message
        self._abandoned = False  # nothing more is to be read
        self._ending: Ending | None = None
        self._last_act: Callable[[], None] | None = None  # what ends it, once the messages before are handed out
        self._ping_interval = math.inf if ping_interval is None else ping_interval
        self._ping_timeout = math.inf if ping_timeout is None else ping_timeout
        self._next_ping = time.monotonic() + self._ping_interval
        self._ping_sent: float | None = None  # of the ping that waits for its pong
        _alive.add(self)

    def _read_surplus(self, view: memoryview) -> int | None:
        """Read what came early; once it is read, nobody comes here again."""
        got = self._surplus.readinto(view)
        if got:
            return got
        self._read_into = self._channel.read_into
        return self._read_into(view)

    # -- receiving: the reader's side ---

    def receive(self, timeout: float = math.inf, herald: Callable[[], None] | None = None) -> list[_M]:
        """Wait for messages, do what else is due, and return all that have come whole, as the maker makes them.

        Args:
            timeout: Seconds to wait; an empty list when they have passed.
            herald: Called before the first of texts that came is made, mostly: see ``FrameDecoder.receive``.

        Raises:
            Ended: The connection has ended, and what came before has been returned.
        """
        until = time.monotonic() + timeout
        if self._last_act is not None:
            act, self._last_act = self._last_act, None
            act()
        while self._ending is None and not self._abandoned:
            now = time.monotonic()
            if now >= self._next_ping:
                self._ping(now)
            outgoing, channel = self._outgoing, self._channel
            flushed = outgoing.flush() if outgoing.urgent or outgoing.unsent else True
            if channel.drained:
                channel.drained = False
            elif (messages := self.news(herald)) is not None:
                if messages or time.monotonic() >= until:  # a flood without a message does not hold it longer
                    return messages
                continue
            if self._ping_sent is not None and self._pong_is_missing(self._ping_sent, now):
                continue
            if now >= until:
                return []
            if self._decoder.rest and not self._may_become_text([]):
                continue
            self._wait(until - now, now, flushed)
            messages = self.news(herald)
            if messages:
                return messages
        if self._abandoned:
            self._end(Ending(code=1006, problem=self._outgoing.broken))
        assert self._ending is not None
        raise Ended(self._ending)

    @property
    def at_rest(self) -> bool:
        """Whether nothing but bytes can be news: mostly. Else somebody has to :meth:`receive`, as the next to read."""
        return self._calm and self._outgoing.clear

    def calm_for(self, timeout: float, now: float) -> float:
        """Return for how many seconds, *timeout* at most, it is :attr:`at_rest`; 0 where somebody has to receive.

        Until then it is enough to wait for bytes, and to take :meth:`news` of them.
        """
        if not (self._calm and self._outgoing.clear):
            return 0.0
        due = self._next_ping - now
        longest = due if due < timeout else timeout
        return 0.0 if longest <= 0.0 else longest if longest < LONGEST else LONGEST

    def watch(self, turn: threading.Lock) -> Watch | None:
        """Return what a reader that is calm can sleep on while others may read in its place; ``None`` without."""
        return self._channel.watch(turn)

    def _wait(self, longest: float, now: float, flushed: bool) -> None:
        """Sleep until something has come, a timer is due, or control frames can go out that could not before."""
        due = (self._next_ping if self._ping_sent is None else self._due()) - now
        longest, or_write = (due if due < longest else longest), False
        if not flushed:
            longest, or_write = self._until_flushed(longest)
        try:
            self._channel.reading.wait(longest, or_write)
        except (OSError, ValueError) as exc:
            self._broke(exc)

    def news(self, herald: Callable[[], None] | None = None) -> list[_M] | None:
        """Receive what is there, and take the messages that are whole by it; ``None`` where nothing was there.

        How the connection ends, :meth:`receive` tells; *herald* is as there.
        """
        messages: list[_M] = []
        decoder = self._decoder
        try:
            got = decoder.receive(self._read_into, messages, herald)
        except OSError as exc:
            self._broke(exc)
            return messages
        if not got:
            if got is None:
                settled = self._ping_sent is None and not self._channel.reading.wants_other
                self._calm = settled and (self._calm or not decoder.rest)
                return None
            return self._cut()
        counters = self._counters
        counters.last_received = time.monotonic()
        counters.bytes_received += got
        self._calm = self._channel.drained and self._ping_sent is None
        if decoder.rest:
            self._look_closer(messages)
            self._calm = self._calm and self._outgoing.clear and self._may_become_text(messages)
        counters.frames_received += len(messages)
        return messages

    def _look_closer(self, messages: list[_M]) -> None:
        """Take what is no plain text; a close or a violation behind messages waits until they are handed out."""
        try:
            while (found := self._decoder.next()) is not None:
                opcode, payload = found
                if opcode in (TEXT, BINARY):
                    messages.append(payload)
                    continue
                self._counters.frames_received += 1
                if opcode == CLOSE:
                    self._after(messages, partial(self._closed, *parse_close(payload), payload[:2]))
                    break
                self._control(opcode, payload)
        except ProtocolViolation as exc:
            self._after(messages, partial(self._violated, exc))

    def _after(self, messages: list[_M], act: Callable[[], None]) -> None:
        self._calm = False
        if messages:
            self._last_act = act
        else:
            act()

    def _cut(self) -> list[_M]:
        """End, for no more bytes will come."""
        problem = self._outgoing.broken or "the server ended the connection without a close frame"
        self._end(Ending(code=1006, problem=problem))
        return []

    def _broke(self, exc: Exception) -> None:
        """End, for the socket failed."""
        problem = self._outgoing.broken or f"the connection broke ({exc})"
        self._end(Ending(code=1006, problem=problem, cause=exc))

    def _until_flushed(self, longest: float) -> tuple[float, bool]:
        """Return how long to wait where control frames wait, too, and whether for room to write as well."""
        return (min(longest, _BUSY_LOOK), False) if self._outgoing.busy else (longest, True)

    def _may_become_text(self, messages: list[_M]) -> bool:
        """Look at the part of a frame that is at hand, behind *messages*, and end where it is no UTF-8."""
        try:
            self._decoder.check_partial()
        except ProtocolViolation as exc:
            self._after(messages, partial(self._violated, exc))
            return False
        return True

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            self._outgoing.post(PONG, payload)
        elif self._ping_sent is not None:
            self._counters.ping_round_trip = time.monotonic() - self._ping_sent
            self._ping_sent = None

    def _closed(self, code: int, reason: str, answer: bytes) -> None:
        self._outgoing.post(CLOSE, answer)
        self._end(Ending(code=code, reason=reason, received=True))

    def _violated(self, violation: ProtocolViolation) -> None:
        self._outgoing.post(CLOSE, struct.pack("!H", violation.close_code))
        self._end(Ending(code=violation.close_code, problem=f"the server broke the protocol: {violation}"))

    def _end(self, ending: Ending) -> Ending:
        """Note how it ended; the first ending counts, and is returned."""
        self._calm = False
        if self._ending is None:
            self._ending = ending
            self._outgoing.end()
        return self._ending

    # -- timers ---

    def tend(self) -> float:
        """Keep the connection alive without reading from it; return the seconds until the next time.

        While the reader does not read it cannot see a pong, so no pong is waited for.
        """
        self._ping_sent = None
        now = time.monotonic()
        if now >= self._next_ping:
            self._ping(now)
        self._outgoing.flush()
        return max(0.0, min(self._due() - now, 1.0))

    def _ping(self, now: float) -> None:
        """Ping, unless a ping is under way."""
        self._next_ping = now + self._ping_interval
        self._calm = False
        if self._ping_sent is None and not self._outgoing.holds(PING):
            self._ping_sent = now
            self._outgoing.post(PING, struct.pack("!d", now))

    def _pong_is_missing(self, ping_sent: float, now: float) -> bool:
        """End when no answer to a ping came; only behind a read that found nothing, for it may have come meanwhile."""
        if now < self._pong_due(ping_sent):
            return False
        problem = f"nothing came for {self._ping_timeout:g} s after a ping: the line is dead"
        self._end(Ending(code=1006, problem=problem))
        return True

    def _pong_due(self, ping_sent: float) -> float:
        heard = self._counters.last_received  # any bytes are as good as a pong
        return max(ping_sent, heard or ping_sent) + self._ping_timeout

    def _due(self) -> float:
        """Return the moment of the next ping, or of the end that a missing pong makes."""
        return self._next_ping if self._ping_sent is None else min(self._next_ping, self._pong_due(self._ping_sent))

    # -- sending: any thread, as ``send`` ---

    def post(self, payload: bytes, mark: Callable[[], None]) -> None:
        """Leave a text message to whoever can send first; for the reader, which must not wait."""
        self._outgoing.post(TEXT, payload, mark)

    def retire(self, payload: bytes, mark: Callable[[], None]) -> None:
        """Post the last message; sends that have not begun find the connection closed to them."""
        self._outgoing.retire()
        self.post(payload, mark)

    def send_close(self, code: int, reason: str, wait: Wait) -> None:
        """Begin the closing handshake, once. After it nothing can be sent.

        Raises:
            TimedOut: A frame in progress, or the peer, did not let it through.
            NotSent: It was sent before, or the connection is over.
        """
        self._outgoing.send_close(struct.pack("!H", code) + reason.encode(), wait)

    # -- the end ---

    @property
    def broken(self) -> bool:
        """Whether it was broken off: what is left to read is what has come already."""
        return self._outgoing.broken is not None

    def abort(self, why: str, *, unread: bool = False) -> None:
        """Break the connection off and wake everybody inside it. Any thread, any number of times.

        Args:
            why: A clause for whoever meets the end.
            unread: Whether to leave what has come and was not read yet, which may be megabytes.
        """
        self._abandoned = self._abandoned or unread
        self._outgoing.abort(why)

    def finish(self) -> None:
        """Give everything back; the reader's last call, or that of ``connect`` where no reader was started.

        After a closing handshake it waits for the server to close TCP first, but not for long.
        """
        if self._ending is not None and (self._ending.received or self._outgoing.close_sent):
            self._linger()
        self.abort("the connection is over")
        self._outgoing.give_back()

    def orphan(self) -> None:
        """Give the inherited descriptor back in a forked child: not a byte of ours goes out."""
        self._outgoing.orphan()

    def _linger(self) -> None:
        patience, waste = Deadline(_LINGER), memoryview(bytearray(16 * 1024))
        try:
            while patience.left() and not self._outgoing.broken:
                flushed = self._outgoing.flush()
                got = self._channel.read_into(waste)
                if got == 0:
                    return
                if got is None:
                    self._channel.reading.wait(patience.left(), or_other=not flushed)
        except (OSError, ValueError):
            pass


_alive: weakref.WeakSet[Connection[Any]] = weakref.WeakSet()


def _orphan_all() -> None:
    for connection in list(_alive):
        connection.orphan()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_orphan_all)


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
