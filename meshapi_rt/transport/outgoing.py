"""What goes out on a connection: whole frames, in one order, from any thread; and what the reader leaves behind."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from ..errors import TimedOut
from ..stats import Counters
from ..waiting import Patience, Wait, begun
from .channel import Channel
from .frames import CLOSE, PONG, TEXT
from .masking import encoder

__all__ = ["CutOff", "NotSent", "Outgoing"]

_SLICE = 64 * 1024  # bytes per TLS write: the SSL lock is held for 0.12 ms, not for 8 ms as with 16 MiB at once
_URGENT_LIMIT = 64  # frames kept for a peer that does not read; of pongs only the newest matter


class NotSent(Exception):
    """Nothing was sent: the connection is closing, broken or over.

    Attributes:
        wait: What is left of the time that sending may take.
    """

    def __init__(self, wait: Wait) -> None:
        super().__init__()
        self.wait = wait


class CutOff(Exception):
    """The connection broke while a message was being sent: whether the peer got it is not known."""


class Outgoing:
    """The sending half of a connection.

    Threads:
        Any thread may :meth:`send`. The reader never waits for a sender: what it posts joins the outgoing bytes
        behind the frame in progress, and whoever finds the socket writable flushes it.

    Attributes:
        urgent: Frames that wait for the frame in progress: opcode, payload, mark. Any thread appends.
        unsent: The rest of such a frame in progress; ``None`` between two.
        close_sent: A close frame has gone out, or is about to: nothing may follow it.
        retired: Only what was posted before, and a close, may still go out.
        over: The reader has met the end.
        broken: Why no further byte may go out; ``None`` while it may.
        clear: None of these stands in the way of a frame; what is looked at for each.
    """

    def __init__(self, channel: Channel, counters: Counters) -> None:
        self._channel = channel
        self._write = channel.writer()
        self._counters = counters
        self._encode = encoder()
        self._make_lock()
        self.urgent: list[tuple[int, bytes, Callable[[], None] | None]] = []
        self.unsent: memoryview | None = None
        self.close_sent = False
        self.retired = False
        self.over = False
        self.broken: str | None = None
        self.clear = True

    def _make_lock(self) -> None:
        # Guards what a frame is made in, unsent and the order of bytes on the wire. Held while a frame goes out, over
        # all its retries. The reader only ever tries it.
        self._frame_lock = threading.Lock()

    @property
    def busy(self) -> bool:
        """Whether a frame is on its way out."""
        return self._frame_lock.locked()

    # -- whole messages, by whoever can wait ---

    def send(self, payload: bytes, wait: Patience, mark: Callable[[], None] | None = None, opcode: int = TEXT) -> None:
        """Send one message, whole, as one frame.

        Args:
            payload: What it carries.
            wait: How long it may take.
            mark: Called when its turn has come, in the order of the wire, on whatever thread.
            opcode: What kind of frame it is.

        Raises:
            TimedOut: *wait* ran out. Its text says whether the connection survives: it does only where no
                byte of the frame can have gone out.
            NotSent: Nothing was sent: the connection is closing, broken or over.
            CutOff: The connection broke while it was being sent.
        """
        if not self._frame_lock.acquire(False):  # by name it takes twice as long
            wait = begun(wait)
            self._acquire(wait)
        try:
            if not self.clear:
                wait = begun(wait)
                self._make_way(opcode, wait)
            if mark is not None:
                mark()
            encode = self._encode  # no method: to look it up and call it at once takes Python 3.11 longer
            frame = encode(opcode, payload)
            size, write = len(frame), self._write
            try:
                taken = write(frame) if size <= _SLICE else 0
            except BlockingIOError:
                taken = 0
            except BaseException as exc:  # noqa: BLE001 - it is raised there
                self._break_off(exc, begun(wait))
            if taken < size:
                self._write_rest(frame, taken, wait)
            counters = self._counters
            counters.bytes_sent += size
            counters.frames_sent += 1
            counters.last_asked = time.monotonic()
        finally:
            self._frame_lock.release()
        if not self.clear:
            self.flush()

    def send_close(self, payload: bytes, wait: Wait) -> None:
        """Send a close frame as :meth:`send` does; nothing follows it."""
        self.send(payload, wait, self._closes, CLOSE)

    def _closes(self) -> None:
        self.close_sent = True
        self.clear = False

    def _make_way(self, opcode: int, wait: Wait) -> None:
        """Send what goes first, and see whether anything may follow it."""
        self._write_urgent(wait)
        self._look_again()
        # Not before: our answer to the peer's close may have been among them.
        if self.close_sent or self.over or self.broken or (self.retired and opcode != CLOSE):
            raise NotSent(wait)

    def _acquire(self, wait: Wait) -> None:
        while not self._frame_lock.acquire(timeout=wait.slice()):
            if wait.left() == 0:
                raise TimedOut(
                    f"nothing was sent within {wait.timeout:g} s: other sends were waiting for a peer that reads "
                    "too slowly; the session is still open"
                )

    def _write_rest(self, frame: bytes | memoryview, at: int, wait: Patience) -> None:
        """Write a frame from a byte on, or break the connection; the frame lock is held."""
        clean = False
        try:
            rest, wait = memoryview(frame), begun(wait)
            while at < len(rest):
                taken = self._offer(rest[at : at + _SLICE])
                at += taken
                if not taken:
                    # OpenSSL may hold bytes of a TLS write that it did not finish.
                    clean = at == 0 and not self._channel.secure
                    self._wait_writable(wait)
                    clean = False
        except BaseException as exc:
            if clean:
                raise
            self._break_off(exc, begun(wait))

    def _break_off(self, why: BaseException, wait: Wait) -> NoReturn:
        """Break the connection after what may be part of a frame, and tell the sender."""
        self.abort("a send did not finish, and a frame cannot be continued")
        if isinstance(why, TimedOut):
            raise TimedOut(
                f"an event did not go out whole within {wait.timeout:g} s: the peer reads too slowly; the "
                "connection cannot go on after half a frame, and is over"
            ) from None
        if isinstance(why, (OSError, NotSent)):
            raise CutOff from why
        raise why

    def _offer(self, piece: memoryview) -> int:
        try:
            return self._write(piece)
        except BlockingIOError:
            return 0

    def _wait_writable(self, wait: Wait) -> None:
        longest = wait.slice()
        if longest == 0:
            raise TimedOut(
                f"nothing was sent within {wait.timeout:g} s: the peer reads too slowly; the session is still open"
            )
        self._channel.wait_to_write(longest)
        if self.broken:
            raise NotSent(wait)

    # -- urgent frames, by whoever finds the socket writable ---

    def post(self, opcode: int, payload: bytes, mark: Callable[[], None] | None = None) -> None:
        """Leave a frame to whoever can send first; never waits."""
        if len(self.urgent) >= _URGENT_LIMIT:
            self._forget_a_pong()
        self.urgent.append((opcode, payload, mark))
        self.clear = False
        self.flush()

    def retire(self) -> None:
        """Let nothing out any more that was not posted before, but a close."""
        self.retired = True
        self.clear = False

    def end(self) -> None:
        """Take note that the reader has met the end."""
        self.over = True
        self.clear = False

    def holds(self, opcode: int) -> bool:
        """Tell whether a posted frame of that kind still waits."""
        return any(waiting[0] == opcode for waiting in self.urgent.copy())

    def _forget_a_pong(self) -> None:
        oldest = next((waiting for waiting in self.urgent.copy() if waiting[0] == PONG), None)
        if oldest is not None:
            with contextlib.suppress(ValueError, IndexError):  # whoever can send has just taken it
                self.urgent.remove(oldest)

    def flush(self) -> bool:
        """Send waiting control frames as far as the socket takes them now; tell whether none is left."""
        while self.urgent or self.unsent:
            if not self._frame_lock.acquire(blocking=False):
                return False  # whoever holds it flushes when its frame is out
            try:
                if not self._write_urgent_now():
                    return False
                self._look_again()
            finally:
                self._frame_lock.release()
        return True

    def _write_urgent_now(self) -> bool:
        assert self._frame_lock.locked()
        try:
            while (rest := self._next_urgent()) is not None:
                taken = self._offer(rest)
                self.unsent = rest[taken:] or None
                if not taken:
                    return False
        except OSError:
            self.unsent = None  # the reader meets the same trouble and tells it
            self.urgent.clear()
        except BaseException:  # Ctrl-C: whether the bytes went out is not known, and they must not go out twice
            self.abort("a control frame was interrupted")
            raise
        return True

    def _write_urgent(self, wait: Wait) -> None:
        """Send waiting control frames, whatever the time; a frame of ours has not begun yet."""
        while not self._write_urgent_now():
            self._wait_writable(wait)

    def _look_again(self) -> None:
        """See whether the way is clear. Who puts something in it clears the mark after that: here it is set before."""
        assert self._frame_lock.locked()
        if not self._hindered():
            self.clear = True
            if self._hindered():  # meanwhile
                self.clear = False

    def _hindered(self) -> bool:
        return bool(
            self.urgent or self.unsent or self.close_sent or self.retired or self.over or self.broken is not None
        )

    def _next_urgent(self) -> memoryview | None:
        """Return what is to be sent of waiting frames, if anything is."""
        if self.unsent is not None:
            return self.unsent
        if not self.urgent or self.close_sent or self.broken:
            self.urgent.clear()
            return None
        opcode, payload, mark = self.urgent.pop(0)
        self.clear = False  # who posted it may not have come to that yet
        self.close_sent = opcode == CLOSE
        if mark is not None:
            mark()
        self.unsent = memoryview(self._encode(opcode, payload))
        self._counters.frames_sent += 1
        self._counters.bytes_sent += len(self.unsent)
        self._counters.last_sent = time.monotonic()
        return self.unsent

    # -- the end ---

    def abort(self, why: str) -> None:
        """Let no further byte out, and wake everybody inside; any thread, any number of times."""
        self.broken = self.broken or why
        self.clear = False
        self._channel.shutdown()

    def give_back(self) -> None:
        """Close the socket; after :meth:`abort`, which has woken a sender that was inside."""
        with self._frame_lock:
            self._channel.close()

    def orphan(self) -> None:
        """Close the descriptor in a forked child; the lock may be held by a thread that does not exist there."""
        self._make_lock()
        self.broken = "it was opened in another process"
        self.clear = False
        self._channel.close()
