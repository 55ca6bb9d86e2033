"""What the reader sleeps on where another thread may read in its place. Linux alone has what that takes."""

from __future__ import annotations

import contextlib
import functools
import os
import select
import socket
import sys
import threading
from typing import Final

__all__ = ["WATCHES", "Watch"]

# What a type checker believes of every platform; macOS has other means, which nobody has tried here.
WATCHES: Final = sys.platform == "linux" and hasattr(select, "epoll")


@functools.cache
def _bell() -> int:
    """Return a descriptor that is always ready: a pipe to which nobody writes."""
    reads, writes = os.pipe()
    os.close(writes)
    return reads


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_bell.cache_clear)  # a child may close what it has inherited


class Watch:
    """Wakes the reader when something comes on a socket, but not while another thread waits for it in its place.

    So nobody is woken in vain, and no thread has to wake another one for what it has read: of what 50 live sessions
    cost a process, that is a tenth.

    Threads:
        The reader calls :meth:`rest`. Whoever has the turn in the meantime may wait, between :meth:`stand_in` and
        :meth:`stand_back`. Any thread may :meth:`call`.

    Args:
        sock: What is read from.
        turn: The right to read; the reader's, but while it rests.

    Raises:
        OSError: There are too many descriptors: it takes one.
    """

    __slots__ = ("_bell", "_epoll", "_open", "_poll", "_socket", "_turn")

    def __init__(self, sock: socket.socket, turn: threading.Lock) -> None:
        assert sys.platform == "linux"
        self._turn = turn
        self._bell = _bell()
        self._socket = sock.fileno()
        self._epoll = select.epoll()
        self._open: select.epoll | None = self._epoll
        self._epoll.register(self._socket, select.EPOLLIN)
        self._poll: select.poll | None = None  # made for the first that stands in: idle sessions do without

    def rest(self, longest: float) -> None:
        """Give the turn away until something has come that nobody took, somebody calls, or so many seconds are over."""
        self._turn.release()
        try:
            ready = self._epoll.poll(longest, 2)
        finally:
            self._turn.acquire()
        for descriptor, _ in ready:
            if descriptor == self._bell:  # not before it is this thread's turn: a stand-in has to hear it, too
                self._epoll.unregister(self._bell)

    def stand_in(self, longest: float) -> bool:
        """Wait in the reader's place until something has come or so many seconds are over; ``False``: it is called."""
        poll = self._poll
        if poll is None:
            poll = self._poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            poll.register(self._epoll, select.POLLIN)  # ready with the bell, or when the connection is over
        self._epoll.modify(self._socket, 0)
        ready = poll.poll(longest * 1000.0)
        return not ready or (len(ready) == 1 and ready[0][0] == self._socket)

    def stand_back(self) -> None:
        """Let the reader be woken again by what comes."""
        self._epoll.modify(self._socket, select.EPOLLIN)

    def call(self) -> None:
        """Wake the reader, and whoever stands in for it. Any thread; when it is closed, nobody."""
        epoll = self._open  # kept open for as long as this lasts, so that its number is no other's
        if epoll is not None:
            with contextlib.suppress(OSError):  # it rings already
                epoll.register(self._bell, select.EPOLLIN)

    def close(self) -> None:
        """Give the descriptor back; only by whoever has the turn, or in a forked child."""
        self._open = None
        del self._epoll
