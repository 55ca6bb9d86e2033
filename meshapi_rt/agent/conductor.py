"""The thread in the middle of a voice agent: it takes what comes, from the session and from other threads."""

from __future__ import annotations

import contextlib
import itertools
import logging
import queue
import threading
import time

from ..errors import MeshAPIError, TimedOut
from ..session import RealtimeSession
from ..streams import EventStream
from .conduct import Conduct
from .orders import Order

__all__ = ["Conductor"]

log = logging.getLogger("meshapi_rt")

_TICK = 0.005  # seconds between two looks at the speaker and at orders: a quarter of what a turn may cost
_FAREWELL = 0.5  # seconds that the server has at the end to confirm a truncation
_numbers = itertools.count(1)


class Conductor:
    """Has everything done in turn.

    Args:
        session: What it listens to.
        conduct: What it does.

    Threads:
        ``meshapi-rt-agent-N`` does everything, from :meth:`start` to :meth:`stop`, the end of the session, or a
        failure that nobody takes. Any thread may call the methods.

    Attributes:
        failure: What ended it, or ``None``.
        over: Set at the end.
    """

    def __init__(self, session: RealtimeSession, conduct: Conduct) -> None:
        self._session = session
        self._conduct = conduct
        self._orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._stopping = False
        self.failure: MeshAPIError | None = None
        self.over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"meshapi-rt-agent-{next(_numbers)}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def order(self, order: Order) -> None:
        """Have something done; within 5 ms."""
        self._orders.put(order)

    def stop(self, timeout: float) -> None:
        """End; the thread does not wait for itself."""
        self._stopping = True
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    # -- the thread ---

    def _run(self) -> None:
        conduct, stream = self._conduct, self._session.events(timeout=_TICK)
        try:
            conduct.begin()
            while not self._stopping and conduct.failure is None and self._step(stream):
                pass
            self._finish(stream)
        except MeshAPIError as exc:
            self.failure = exc
        except Exception as exc:
            log.exception("a voice agent failed")
            self.failure = MeshAPIError(f"the voice agent failed: {exc!r}")
            self.failure.__cause__ = exc
        finally:
            self.failure = conduct.failure or self.failure
            stream.close()
            conduct.end()
            self.over.set()

    def _step(self, stream: EventStream) -> bool:
        """Take what comes next; false at the end."""
        going = self._receive(stream)
        with contextlib.suppress(queue.Empty):
            while True:
                self._conduct.obey(self._orders.get_nowait())
        self._conduct.tick(time.monotonic())
        return going and not self._conduct.through

    def _receive(self, stream: EventStream) -> bool:
        """Take the next message, if one comes soon; false at the end of the session."""
        try:
            message = next(stream)
        except TimedOut:
            return True
        except StopIteration:
            return False
        self._conduct.take(message)
        return True

    def _finish(self, stream: EventStream) -> None:
        """Fall silent, and let the server know what was heard."""
        self._conduct.silence(cancel=True)
        deadline = time.monotonic() + _FAREWELL
        while self._conduct.words.waiting and time.monotonic() < deadline and self._receive(stream):
            pass
