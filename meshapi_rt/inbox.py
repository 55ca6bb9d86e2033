"""The hand-over from the reader thread to whoever consumes: what waits, who waits for it, and the end."""

from __future__ import annotations

import copy
import math
import os
import queue
import threading
import time
import weakref
from collections import deque
from typing import Protocol

from .errors import MeshAPIError
from .message import RealtimeMessage
from .waiting import Baton, Batons, Deadline, Wait, sleep_on

__all__ = ["Inbox", "Watcher", "again"]

# For how long a thread between two calls of receive() counts as one that consumes: seconds, and messages.
_COMES_BACK = 5.0
_WAITS_FOR_IT = 1000
_OVERHEAD = 400  # bytes charged per message beside its wire text, so that tiny events are bounded too


def _find_main() -> None:
    global _main  # noqa: PLW0603
    _main = threading.main_thread().ident


_main: int | None = None  # the thread to which Ctrl-C comes
_find_main()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_find_main)


def _living() -> set[int | None]:
    return {thread.ident for thread in threading.enumerate()}


def again(end: MeshAPIError) -> MeshAPIError:
    """Return a fresh copy of a stored exception: raising the stored one again would grow its traceback."""
    fresh = copy.copy(end)
    fresh.__cause__ = end.__cause__
    return fresh


class Reader(Protocol):
    """Who puts, where consumers may do that in its place."""

    def stand_in(self, longest: float, stream: Watcher | None) -> bool:
        """Read on this thread for so many seconds at most; tell whether to look for a message, or to sleep."""

    def call(self) -> None:
        """Interrupt whoever reads, the thread that stands in included."""


class Watcher(Protocol):
    """A stream that looks into an inbox.

    Attributes:
        closed: Whether it takes no more messages.
    """

    closed: bool

    def tell_end(self, end: MeshAPIError) -> None:
        """Take note that the session has ended."""

    def orphan(self, end: MeshAPIError) -> None:
        """The same in a forked child, where locks may be held by threads that do not exist."""


class Inbox:
    """What the reader has received and nobody has taken yet, and how the session ended.

    The reader puts, or a consumer in its place; any thread gets; each message goes to one of them. It is bounded in
    bytes of wire text: the reader is told after every batch whether to stop reading, so a batch always finds room.

    Attributes:
        ended: How the session ended; ``None`` while it has not.
        reader: Who puts, if consumers may read in its place.
        peak: The most messages that ever waited.
        beyond: Messages put when there was no room, because a call waited.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._messages: deque[RealtimeMessage] = deque()
        self._make_lock()
        self._charged = 0  # for all messages ever put
        self._paid = 0  # for those that were taken, as far as that was looked at
        self._put = 0  # messages ever put
        self._calls = 0  # calls that wait for answers: the reader must not wait for consumers then
        self._receiver: int | None = None  # the thread that waited for a message last, other than through a stream
        self._returns = 0  # how often one did
        # What that was at the last look, and when it was new: how many messages had been put, and the time.
        self._looked = (0, 0, -math.inf)
        self.ended: MeshAPIError | None = None
        self._streams: weakref.WeakSet[Watcher] | tuple[()] = ()  # made for the first: it is large
        self.reader: Reader | None = None
        self.peak = 0
        self.beyond = 0

    def _make_lock(self) -> None:
        # Guards everything here but _messages: what is done with a deque is atomic; and _paid, which is looked up anew
        # before it matters, so that an old value of another thread costs a look. Held for bookkeeping only.
        self._lock = threading.Lock()
        self._consumers = Batons()
        self._inside: list[None] = []  # of get(), one for each consumer: what is done with a list is atomic
        self._stalled = Batons()  # the reader, while it waits for room

    # -- the reader's side ---

    def put_many(self, messages: list[RealtimeMessage], *, here: bool = False) -> bool:
        """Append messages and wake consumers; after the end they are dropped. Tell whether the reader should pause.

        Args:
            messages: What was read.
            here: By a consumer, who takes the first one himself.
        """
        with self._lock:
            if self.ended is not None:
                return False
            charged, waits, count = self._charged, self._messages, len(messages)
            for message in messages:
                charged += _OVERHEAD + message.size
                message.charged = charged
            self._charged = charged
            waits.extend(messages)
            self._put += count
            self.peak = max(self.peak, len(waits))
            full = charged - self._paid >= self._limit and self.unread_bytes() >= self._limit
            if full and self._calls:
                self.beyond += count
                full = False
        if count > here and self._consumers.out:
            self._consumers.wake(count - here)
        return full

    def herald(self) -> None:
        """Wake the one consumer who waits, for a message is about to be put: to wake up takes as long as to make it.

        Who is too early waits again. Where several wait, or calls do, nobody knows yet whose the message is. It is no
        more than a guess, so nothing is locked for it.
        """
        if len(self._consumers.out) == 1 and not self._calls:
            self._consumers.wake(1)

    def unread_bytes(self) -> int:
        """Return what the waiting messages are charged for."""
        try:
            oldest = self._messages[0]
        except IndexError:
            return 0
        self._paid = paid = oldest.charged - _OVERHEAD - oldest.size
        return self._charged - paid

    def taken(self) -> int:
        """Return how many messages were ever taken."""
        return self._put - len(self._messages)

    @property
    def awaited(self) -> bool:
        """Whether a consumer waits for a message."""
        return bool(self._inside)

    def _must_wait(self, room: int) -> bool:
        assert self._lock.locked()
        return self.ended is None and not self._calls and self.unread_bytes() > room

    def wait_for_room(self, timeout: float) -> bool:
        """Wait for consumers to take half of it, for a call, or for the end; the reader only. False after *timeout*."""
        deadline = Deadline(timeout)
        while True:
            baton = self._stalled.take()
            try:
                with self._lock:
                    if not self._must_wait(self._limit // 2):
                        return True
                if not sleep_on(baton, deadline.left()):
                    return False
            finally:
                self._stalled.give_back(baton)

    def calls(self, change: int) -> None:
        """Count calls that wait for answers: while there are any, the reader does not wait for consumers."""
        with self._lock:
            self._calls += change
        self._stalled.wake()

    @property
    def is_watched(self) -> bool:
        """Whether somebody waits for a message, or has a stream open."""
        with self._lock:
            return self.awaited or any(not stream.closed for stream in self._streams)

    def receiver(self) -> int | None:
        """Return the thread that is about to come back for the next message, if there is one; the reader only."""
        if self._receiver is None:
            return None
        (returns, put, when), now = self._looked, time.monotonic()
        if self._returns != returns:
            self._looked = (self._returns, self._put, now)
        elif now - when > _COMES_BACK or self._put - put > _WAITS_FOR_IT:
            self._receiver = None
        return self._receiver if self._receiver in _living() else None

    def orphan(self, end: MeshAPIError) -> None:
        """End it in a forked child, whose lock may be held by a thread that does not exist there."""
        self._make_lock()
        self.ended = self.ended or end
        for stream in list(self._streams):
            stream.orphan(self.ended)

    def end(self, end: MeshAPIError) -> bool:
        """Set how the session ended, once; wakes everybody. Tells whether it was the first to do so."""
        with self._lock:
            if self.ended is not None:
                return False
            self.ended = end
            streams = list(self._streams)
        self._stalled.wake()
        self.wake()
        for stream in streams:
            stream.tell_end(end)
        return True

    # -- the consumers' side ---

    def comes_back(self) -> None:
        """Note that this thread has waited for a message and may come back for the next one."""
        self._receiver = threading.get_ident()
        self._returns += 1

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, stream: Watcher) -> None:
        """Let *stream* be told the end."""
        with self._lock:
            if isinstance(self._streams, tuple):
                self._streams = weakref.WeakSet()
            self._streams.add(stream)
            end = self.ended
        if end is not None:
            stream.tell_end(end)

    def take(self) -> RealtimeMessage | None:
        """Take the next message if there is one."""
        if not self._messages:
            return None
        try:
            message = self._messages.popleft()
        except IndexError:  # another thread was quicker
            return None
        if self._stalled.out:
            self._stalled.wake()
        return message

    def get(self, wait: Wait, stream: Watcher | None = None) -> RealtimeMessage | None:
        """Wait for the next message; ``None`` when none will come any more, because of the end or *stream* closed.

        Where messages wait, :meth:`take` is quicker.

        Raises:
            queue.Empty: *wait* ran out.
            Cancelled: Its cancel event was set.
        """
        inside = self._inside
        try:
            inside.append(None)  # here, for Ctrl-C may come right behind it
            reader = self.reader if threading.get_ident() != _main else None
            while reader is not None and (longest := wait.slice()) and reader.stand_in(longest, stream):
                if stream is not None and stream.closed:
                    break
                message = self.take()
                if message is not None or self.ended is not None:
                    return message
            return self._sleep_for_one(wait, stream)
        finally:
            inside.pop()

    def _sleep_for_one(self, wait: Wait, stream: Watcher | None) -> RealtimeMessage | None:
        """Wait for the next message that somebody else reads."""
        baton: Baton | None = self._consumers.take()
        try:
            while stream is None or not stream.closed:
                ended = self.ended is not None  # asked first: nothing is put after the end
                message = self.take() if self._messages else None
                if message is not None or ended:
                    return message
                if baton is None:
                    baton = self._consumers.take()
                    continue
                longest = wait.slice()
                if longest == 0:
                    raise queue.Empty
                if baton.acquire(True, longest):
                    baton = None
            return None
        finally:
            if baton is not None and self._consumers.give_back(baton) and self._messages:
                self._consumers.wake(1)  # it was this one's turn, which is the next one's now

    def has_news(self, stream: Watcher | None) -> bool:
        """Tell whether a consumer need not wait: there is a message, none will come any more, or *stream* is closed."""
        return bool(self._messages) or self.ended is not None or (stream is not None and stream.closed)

    def wake(self) -> None:
        """Let every consumer look again."""
        self._consumers.wake()
        reader = self.reader
        if reader is not None:
            reader.call()
