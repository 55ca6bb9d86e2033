"""A connected socket, plain or TLS, as non-blocking bytes both ways.

One thread at a time reads and one writes (the owner of the frame lock, see ``outgoing``); both may do
so at once. Nothing here blocks but :attr:`Channel.reading` and :meth:`Channel.wait_to_write`.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Final

from .watch import WATCHES, Watch

__all__ = ["LONGEST", "Channel", "TLSChannel"]

# How long a poll may last where readiness can be taken away by the other direction's thread (TLS only).
_TLS_SLICE = 0.05
LONGEST: Final = 1e6  # seconds; poll takes milliseconds as a C int


# As poll has them.
_READ: Final = getattr(select, "POLLIN", 1)
_WRITE: Final = getattr(select, "POLLOUT", 4)


class _Readiness:
    """Waits on one socket for one thread: ``poll`` where it exists, for ``select`` fails above descriptor 1023.

    Attributes:
        wants_other: TLS needs the other direction to go on with this one.
    """

    def __init__(self, sock: socket.socket, direction: int) -> None:
        self._sock = sock
        self._direction = direction
        self.wants_other = False
        self._sleep: Callable[[float], object] = self._select  # for its own direction alone
        self._poller = select.poll() if hasattr(select, "poll") else None
        if self._poller is not None:
            self._poller.register(sock, direction)  # once, mostly: the round trip is 0.79 instead of 0.87
            self._sleep = self._poller.poll

    def wait(self, timeout: float, or_other: bool = False) -> None:
        """Wait until its direction may be ready, or either of both, or *timeout* seconds have passed."""
        milliseconds = 1000.0 * min(timeout, LONGEST)
        if not (or_other or self.wants_other):
            self._sleep(milliseconds)
        elif self._poller is None:
            self._select(milliseconds, _READ | _WRITE)
        else:
            self._poller.modify(self._sock, _READ | _WRITE)
            try:
                self._poller.poll(milliseconds)  # which it rounds up
            finally:
                self._poller.modify(self._sock, self._direction)

    def _select(self, milliseconds: float, flags: int = 0) -> None:
        flags, wanted = flags or self._direction, [self._sock]
        reading, writing = wanted if flags & _READ else [], wanted if flags & _WRITE else []
        select.select(reading, writing, wanted, milliseconds / 1000.0)


class Channel:
    """A plain TCP connection.

    Attributes:
        secure: Whether it is TLS.
        drained: The last read did not fill its view, so it has taken everything: who clears this and waits, instead
            of asking once more, is woken by what came meanwhile. CPU of a busy receiver: -5 to -11 %.
        reading: Waits until :meth:`read_into` may have something; or, if asked to, until :meth:`writer` may.
    """

    secure = False

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self.drained = False
        self.reading = _Readiness(sock, _READ)
        self._writing: _Readiness | None = None  # made for the first sender that has to wait: most never do
        self._watch: Watch | None = None

    def read_into(self, view: memoryview) -> int | None:
        """Receive what is there: the number of bytes, 0 at the end of the stream, ``None`` for nothing yet."""
        try:
            got = self._sock.recv_into(view)
        except (BlockingIOError, InterruptedError):
            return None
        self.drained = 0 < got < len(view)
        return got

    def writer(self) -> Callable[[bytes | memoryview], int]:
        """Return what hands bytes over, as far as they fit, and returns how many were taken.

        It raises ``BlockingIOError`` where the peer reads too slowly for any. (It is the socket's own method: one call
        less for every frame.)
        """
        return self._sock.send

    def wait_to_write(self, timeout: float) -> None:
        """Sleep until the writer may take something."""
        if self._writing is None:
            self._writing = _Readiness(self._sock, _WRITE)
        self._writing.wait(timeout)

    def watch(self, turn: threading.Lock) -> Watch | None:
        """Return what the reader and others who read can sleep on by turns, closed with this; ``None`` without."""
        if WATCHES:
            with contextlib.suppress(OSError):  # there are too many descriptors
                self._watch = Watch(self._sock, turn)
        return self._watch

    def shutdown(self) -> None:
        """End the stream both ways and wake whoever waits on it. Any thread, any number of times."""
        with contextlib.suppress(OSError):  # not connected any more
            # Not the SSLSocket's own method: that drops the TLS layer and hands ciphertext to the reader.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptor back. Only when no other thread can be inside a call."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        self._sock.close()


class TLSChannel(Channel):
    """The same over TLS.

    An SSL object is never inside OpenSSL from two threads: every call takes the SSL lock, does not block, and
    waiting happens outside of it. A lock is not fair, so the reader passes a turnstile that a waiting writer
    holds; without it a write starves for up to a second while messages flood in.
    """

    secure = True

    def __init__(self, sock: ssl.SSLSocket) -> None:
        super().__init__(sock)
        self._tls = sock
        # Guards every call into the SSL object. Held for one non-blocking call.
        self._ssl_lock = threading.Lock()
        # Held by a writer until it has the SSL lock; the reader passes through it before taking the SSL lock.
        self._turnstile = threading.Lock()
        self._write_wants_read = False
        self._read_error: OSError | None = None

    def handshake_step(self) -> bool:
        """Go on with the TLS handshake; tell whether it is done. Before any other use, on one thread."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self.reading.wants_other = False
        except ssl.SSLWantWriteError:
            self.reading.wants_other = True
        else:
            self.reading.wants_other = False
            return True
        return False

    @property
    def version(self) -> str:
        """The version of TLS that was agreed on, such as ``TLSv1.3``."""
        return self._tls.version() or ""

    @property
    def certificate(self) -> bytes:
        """The server's certificate in its DER form, whether or not it was verified."""
        der = self._tls.getpeercert(binary_form=True)
        assert der is not None  # a server always has one
        return der

    def read_into(self, view: memoryview) -> int | None:
        """Receive what is there: whole TLS records (16 KiB at most each) until the view is full or none is left."""
        if self._read_error is not None:
            raise self._read_error
        total, self.drained = 0, False
        while total < len(view):
            try:
                got = self._read_record(view[total:])
            except OSError as exc:
                if not total:
                    raise
                self._read_error = exc  # what was read before it is handed out first
                return total
            if got is None:
                self.drained = total > 0 and not self.reading.wants_other
            if not got:
                return total or got
            total += got
        return total

    def _read_record(self, view: memoryview) -> int | None:
        with self._turnstile:
            pass
        with self._ssl_lock:
            self.reading.wants_other = False
            try:
                return self._tls.recv_into(view)
            except ssl.SSLWantReadError:
                return None
            except ssl.SSLWantWriteError:
                self.reading.wants_other = True
                return None
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                return 0

    def writer(self) -> Callable[[bytes | memoryview], int]:
        """Return what hands bytes over."""
        return self._write

    def _write(self, view: bytes | memoryview) -> int:
        """Hand over what fits; where that is nothing, the same bytes must come again (OpenSSL demands it)."""
        with self._turnstile:
            self._ssl_lock.acquire()
        try:
            self._write_wants_read = False
            return self._tls.send(view)
        except ssl.SSLWantWriteError:
            raise BlockingIOError from None
        except ssl.SSLWantReadError:
            self._write_wants_read = True
            raise BlockingIOError from None
        finally:
            self._ssl_lock.release()

    def wait_to_write(self, timeout: float) -> None:
        """Sleep until the writer may take something."""
        if self._write_wants_read:
            # What it waits for may be read by the reader's thread, so readiness alone would not wake it.
            _Readiness(self._sock, _READ).wait(min(timeout, _TLS_SLICE))
        else:
            super().wait_to_write(timeout)
