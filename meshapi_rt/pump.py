"""The reader thread, and who stands in for it: from frames to messages, from a connection's ending to one exception."""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Protocol

from .decoding import Wire
from .errors import ConnectionLost, MeshAPIError, RealtimeError, SessionClosed, TimedOut
from .inbox import Inbox, Watcher, again
from .message import RealtimeMessage
from .stats import Counters
from .transport import WATCHES, CutOff, Ended, Ending, NotSent, Watch
from .waiting import Deadline, Wait

__all__ = ["Keeper", "Pump", "RenewNow", "outcome"]

log = logging.getLogger("meshapi_rt")
_numbers = itertools.count(1)
_STALL_MEMORY = 60.0  # seconds in which a server's end may still be the answer to a stall
_LEAVE = 1.0  # seconds for the closing handshake of a connection that another replaces
_HOLD = 0.5  # seconds that an error which may announce the end is held back, to see whether it does


class RenewNow(Exception):
    """It is time to leave a healthy connection for a new one. ``cut`` says what that interrupts, if anything."""

    def __init__(self, cut: str | None) -> None:
        super().__init__(cut)
        self.cut = cut


class Keeper(Protocol):
    """What is asked of the floor above, by whoever has the turn to read.

    Attributes:
        due: When :meth:`tick` is to be called next, on the monotonic clock.
    """

    due: float

    def sift(self, messages: list[RealtimeMessage]) -> list[RealtimeMessage]:
        """Look at messages, and return those that are for the consumers. Must not block."""

    def tick(self, connection: Wire) -> float:
        """Do what is due, and return the seconds until the next time. Must not block; may raise ``RenewNow``."""

    def left(self) -> bool:
        """Tell whether everything sent before a ``RenewNow`` has been answered."""

    def announces_end(self, message: RealtimeMessage) -> bool:
        """Tell whether a message may be the last one of a connection that another will follow."""

    def survives(self, end: MeshAPIError) -> bool:
        """Tell whether another connection should follow."""

    def reconnect(self, end: MeshAPIError | RenewNow) -> tuple[Wire, list[RealtimeMessage]] | None:
        """Return another connection and its first messages; ``None`` where there is none and the session is over."""

    def conclude(self, end: MeshAPIError) -> None:
        """Take note that the session is over."""


def outcome(
    ending: Ending, error: RealtimeError | None, redact: Callable[[str], str], stalled: bool = False
) -> MeshAPIError:
    """Say how a connection ended (design.md sections 4 and 9).

    Args:
        ending: How it ended.
        error: That of the last message before, if it was one.
        redact: Takes secrets out of what the server says.
        stalled: Whether the reader had to wait for consumers not long before.
    """
    reason = redact(ending.reason)
    if ending.received and error is not None:
        end = again(error)
        assert isinstance(end, RealtimeError)
        end.close_code = ending.code
        return end
    if ending.received and ending.code == 1000:
        return SessionClosed(f"the server closed the session{_quoted(reason)}", close_code=1000, close_reason=reason)
    what = ending.problem or f"the server closed the connection with {_named(ending.code)}{_quoted(reason)}"
    if stalled:
        what += "; before that it had to wait, because nobody consumed the messages here"
    lost = ConnectionLost(f"the session is lost: {redact(what)}", close_code=ending.code, close_reason=reason)
    lost.__cause__ = ending.cause or (again(error) if error is not None else None)
    return lost


def _quoted(reason: str) -> str:
    return f" ({reason})" if reason else ""


def _named(code: int) -> str:
    meaning = {1001: "going away", 1005: "no code", 1011: "internal error", 1012: "restart", 1013: "try again later"}
    return f"{code}, {meaning[code]}" if code in meaning else str(code)


class Pump:
    """The one reader thread of a session.

    It starts in :meth:`start` and reads one connection after the other: each until its one ending, whose socket it
    then gives back. It ends when no further connection follows. It runs no code of a user and waits for no sender.

    While it has nothing to do but to wait for bytes, a consumer that waits for a message reads in its place, see
    :meth:`stand_in`: the message need not wake a second thread then. Whatever is not usual is left to the thread.
    """

    def __init__(self, inbox: Inbox, keeper: Keeper, counters: Counters, *, redact: Callable[[str], str]) -> None:
        self._inbox = inbox
        self._keeper = keeper
        self._counters = counters
        self._redact = redact
        self._last_error: RealtimeError | None = None  # of the connection's last message, if it was one
        self._held: RealtimeMessage | None = None  # an error that may announce the end
        self._tells = False  # whether messages are logged; looked up with each other message than audio
        self._last_stall = -math.inf  # when the reader last had to wait for consumers
        self._thread: threading.Thread | None = None
        # The right to read: guards everything of the connection's reading side, what is above, and the keeper. The
        # thread has it, but while it rests on the watch.
        self._turn = threading.Lock()
        self._turn.acquire()
        self._connection: Wire  # the current one, or the last
        self._watch: Watch | None = None  # what it rests on, where the system and its limits allow that
        self._stand_in = 0  # the consumer's thread that has the turn

    def start(self, connection: Wire, messages: list[RealtimeMessage]) -> None:
        """Deliver what was read while connecting, then start the thread."""
        self._deliver(messages)
        self._connection = connection
        if WATCHES:
            self._inbox.reader = self
        name = f"meshapi-rt-reader-{next(_numbers)}"
        self._thread = threading.Thread(target=self._run, args=(connection,), name=name, daemon=True)
        self._thread.start()

    def join(self, timeout: float) -> bool:
        """Wait for the thread to end; tell whether it has. Who reads, the thread or in its place, does not wait."""
        if self._thread is None:
            return True
        if self._thread is not threading.current_thread() and self._stand_in != threading.get_ident():
            self._thread.join(None if timeout == math.inf else timeout)
        return not self._thread.is_alive()

    def _run(self, connection: Wire) -> None:
        following: Wire | None = connection
        while following is not None:
            following = self._live_through(following)
        self._inbox.reader = None  # so that nothing goes round in a circle

    def _live_through(self, connection: Wire) -> Wire | None:
        """Read one connection to its end; return the one that follows it."""
        try:
            end = self._read(connection)
            self._watch = None  # closed with the connection
            if isinstance(end, RenewNow) or self._keeper.survives(end):
                connection.abort("another connection follows it", unread=True)
                connection.finish()
                return self._follow(end)
            self._deliver(self._released())
        except BaseException as exc:  # nobody may wait for a thread that died
            log.exception("the reader thread failed")
            end = ConnectionLost("the session is lost: its reader thread failed, which is a bug of meshapi_rt")
            end.__cause__ = exc
        self._keeper.conclude(end)
        connection.finish()
        return None

    def _follow(self, end: MeshAPIError | RenewNow) -> Wire | None:
        self._last_error = self._held = None
        following = self._keeper.reconnect(end)
        if following is None:
            return None
        connection, messages = following
        self._deliver(messages)
        return connection

    def _read(self, connection: Wire) -> MeshAPIError | RenewNow:
        """Deliver everything that comes, and return how it ended."""
        try:
            keeper, self._connection, self._watch = self._keeper, connection, connection.watch(self._turn)
            while True:
                now = time.monotonic()
                left = keeper.due - now
                timeout = left if left > 0.0 else keeper.tick(connection)
                if self._held is not None:
                    timeout = min(timeout, _HOLD)
                if self._take_in(self._receive(timeout, now)):
                    self._wait_for_room(connection)
        except Ended as exc:
            stalled = time.monotonic() - self._last_stall < _STALL_MEMORY
            last = self._last_error if self._held is None else self._held.error
            return outcome(exc.ending, last, self._redact, stalled)
        except RenewNow as renewal:
            self._leave(connection)
            return renewal

    # -- turns of consumers ---

    def _receive(self, timeout: float, now: float) -> list[RealtimeMessage]:
        """Wait for messages; while nothing is to be done but that, others may have the turn."""
        connection, watch, herald = self._connection, self._watch, self._inbox.herald
        if watch is None:
            return connection.receive(timeout, herald)
        longest = connection.calm_for(timeout, now)
        if longest:
            watch.rest(longest)
            if connection.at_rest and self._held is None:
                return connection.news(herald) or []
        messages = connection.receive(0.0)  # there is something to look after, which a consumer may have left
        if messages or (connection.at_rest and self._held is None):
            return messages
        return connection.receive(timeout if self._held is None else _HOLD)

    def stand_in(self, longest: float, stream: Watcher | None) -> bool:
        """Read on the thread of a consumer that waits: until something comes, it is called, or time is up.

        Where that is interrupted, what was read is lost, and so the connection is over. That is why the main thread, to
        which Ctrl-C comes between any two steps, must not do this.

        Returns:
            Whether to look for a message; ``False`` where somebody else has to read.
        """
        if not self._turn.acquire(False):
            return False
        try:
            self._stand_in = threading.get_ident()
            connection, watch, keeper = self._connection, self._watch, self._keeper
            if watch is None or self._held is not None:
                return False
            if self._inbox.has_news(stream):
                return True
            now, due = time.monotonic(), keeper.due
            left = due - now
            longest = connection.calm_for(longest if longest < left else left, now)
            if not longest:
                return False
            came = watch.stand_in(longest)
            if came:
                self._take_in(connection.news() or [])
            if not connection.at_rest or self._held is not None or keeper.due != due:
                watch.call()
            watch.stand_back()
            return came
        except BaseException:
            self._connection.abort("a thread that was reading was interrupted", unread=True)
            raise
        finally:
            self._stand_in = 0
            self._turn.release()

    def call(self) -> None:
        """Let whoever reads look up from it; any thread."""
        watch = self._watch
        if watch is not None:
            watch.call()

    # -- what was received ---

    def _take_in(self, messages: list[RealtimeMessage]) -> bool:
        """Deliver what was received; tell whether the reader should pause. (Nothing of it stays here meanwhile.)"""
        if self._inbox.ended is not None:
            return False  # this side is closing: only the answer to that is waited for
        if self._held is not None or (messages and messages[-1].error is not None):
            messages = self._hold_back(messages)
        return self._deliver(messages)

    def _hold_back(self, received: list[RealtimeMessage]) -> list[RealtimeMessage]:
        """Release what was held back, and hold back the last message where it may announce the end."""
        messages = self._released() + received
        if received and messages[-1].error is not None and self._keeper.announces_end(messages[-1]):
            self._held = messages.pop()
        return messages

    def _leave(self, connection: Wire) -> None:
        """Take in what is still on its way on a healthy connection, then close it."""
        self._deliver(self._released())
        patience = Deadline(_LEAVE)
        try:
            while patience.left() and not self._keeper.left():
                self._deliver(connection.receive(patience.left()))
            connection.send_close(1000, "", Wait(_LEAVE / 2))
            while patience.left():
                self._deliver(connection.receive(patience.left()))
        except (Ended, NotSent, CutOff, TimedOut):
            pass

    def _released(self) -> list[RealtimeMessage]:
        held, self._held = self._held, None
        return [] if held is None else [held]

    def _deliver(self, messages: list[RealtimeMessage]) -> bool:
        """Hand messages over; tell whether the reader should pause."""
        if not messages:
            return False
        last = messages[-1]
        self._last_error = last.error
        if last.audio is None:
            self._tells = log.isEnabledFor(logging.DEBUG)
        if self._tells:
            self._log(messages)
        return self._inbox.put_many(self._keeper.sift(messages), here=self._stand_in != 0)

    def _log(self, messages: list[RealtimeMessage]) -> None:
        for message in messages:
            if self._inbox.ended is not None:
                return  # this side closes, and does not wait for thousands of lines
            log.debug("received %s, %d bytes", message.type, message.size)

    def _wait_for_room(self, connection: Wire) -> None:
        """Stop reading while the inbox is full; pings go on."""
        self._counters.stalls += 1
        if self._counters.stalls == 1:
            log.warning(
                "%d unread messages wait (max_unread_bytes reached): reading stops until they are consumed; "
                "the server may hang up",
                len(self._inbox),
            )
        while not (self._inbox.wait_for_room(connection.tend()) or connection.broken):
            self._keeper.tick(connection)
        self._last_stall = time.monotonic()
