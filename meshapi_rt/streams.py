"""The messages of a session as an iterator and as a pair of queues."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple, NoReturn

from .errors import MeshAPIError, SessionClosed, TimedOut
from .inbox import Inbox, again
from .message import RealtimeMessage
from .waiting import Wait

__all__ = ["EventStream", "MessageQueue", "StreamQueues"]


class StreamQueues(NamedTuple):
    """The pair of queues of an :class:`EventStream`, the twin of the Go SDK's two channels."""

    messages: MessageQueue
    errors: queue.Queue[MeshAPIError | None]


class MessageQueue(queue.Queue["RealtimeMessage | None"]):
    """The messages of a stream as a ``queue.Queue``: for every consumer ``None`` follows the last one."""

    def __init__(self, inbox: Inbox, stream: EventStream) -> None:
        super().__init__()
        self._inbox = inbox
        self._stream = stream

    def get(self, block: bool = True, timeout: float | None = None) -> RealtimeMessage | None:
        """Take the next message; ``None`` at the end, again and again.

        Args:
            block: Whether to wait.
            timeout: Seconds to wait at most; ``None`` for without limit.

        Raises:
            queue.Empty: None came in time.
        """
        return self._inbox.get(Wait(timeout if block else 0), self._stream)

    def get_nowait(self) -> RealtimeMessage | None:
        """Take the next message if there is one, or ``None`` at the end."""
        return self.get(block=False)

    def qsize(self) -> int:
        """Return how many messages wait."""
        return len(self._inbox)

    def empty(self) -> bool:
        """Tell whether a ``get_nowait()`` would raise; at the end it would not."""
        return not len(self._inbox) and self._inbox.ended is None and not self._stream.closed

    def full(self) -> bool:
        """Return ``False``: the bound is the session's."""
        return False

    def put(self, item: object, block: bool = True, timeout: float | None = None) -> NoReturn:  # noqa: ARG002
        """Refuse: only the session puts messages here."""
        raise TypeError("only the session puts messages into this queue")

    def put_nowait(self, item: object) -> NoReturn:
        """Refuse: only the session puts messages here."""
        self.put(item)

    def task_done(self) -> None:
        """Do nothing: nobody counts."""

    def join(self) -> NoReturn:
        """Refuse: messages have no task to be done."""
        raise TypeError("messages of a session are not counted as tasks: wait for the None at their end instead")


class EventStream:
    """The messages of a session, as an iterator and as a pair of queues.

    Iterating yields :class:`RealtimeMessage` and ends quietly when the session is closed in good order; any other
    end is raised. Several streams and ``receive()`` share the messages: each gets each message once. A stream
    keeps its session alive.

    Attributes:
        closed: Whether :meth:`close` was called.
    """

    def __init__(
        self,
        inbox: Inbox,
        owner: object,
        *,
        raise_errors: bool,
        timeout: float | None,
        cancel: threading.Event | None,
    ) -> None:
        self._inbox = inbox
        self._owner = owner  # the session: it must not be garbage while somebody listens
        self._raise_errors = raise_errors
        self._wait = Wait(timeout, cancel)  # checked now; of one without a timeout every message can make use
        self.closed = False
        self._errors: queue.Queue[MeshAPIError | None] | None = None  # made when asked for: most loops never do
        # Guards _errors and _entry. Held for attribute access only.
        self._lock = threading.Lock()
        self._entry: list[MeshAPIError | None] = []  # the one of errors, when there is one
        inbox.add(self)

    @property
    def messages(self) -> MessageQueue:
        """The messages as a ``queue.Queue``; ``None`` follows the last one, for every consumer."""
        return MessageQueue(self._inbox, self)  # not kept: a stream in no circle is garbage as soon as its loop is left

    @property
    def errors(self) -> queue.Queue[MeshAPIError | None]:
        """Gets exactly one entry, at the end: the exception that ended the session, or ``None``."""
        with self._lock:
            if self._errors is None:
                self._errors = queue.Queue(maxsize=1)
                for entry in self._entry:
                    self._errors.put_nowait(entry)
            return self._errors

    @property
    def queues(self) -> StreamQueues:
        """The pair ``(messages, errors)``."""
        return StreamQueues(self.messages, self.errors)

    def close(self) -> None:
        """Stop this stream, and nothing else: its loops end, its queues get their end markers. Any thread."""
        self.closed = True
        self._tell(None)
        self._inbox.wake()

    def __enter__(self) -> EventStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[RealtimeMessage]:
        if _is_unpacked():
            raise TypeError("an EventStream cannot be unpacked: write `messages, errors = session.events().queues`")
        return self

    def __next__(self) -> RealtimeMessage:
        """Wait for the next message.

        Raises:
            RealtimeError: An in-band error, with ``on_error="raise"``; the next call goes on behind it.
            TimedOut: None came within ``timeout`` seconds; the session goes on.
            Cancelled: The ``cancel`` event was set; the session goes on.
            ConnectionLost: The session ended in any way but a proper close (or the ``RealtimeError`` that ended it).
        """
        message = None if self.closed else self._inbox.take()
        if message is None:
            wait = self._wait
            try:
                message = self._inbox.get(wait if wait.timeout is None else wait.again(), self)
            except queue.Empty:
                raise TimedOut(f"no message came within {wait.timeout:g} s; the session is still open") from None
        if message is None:
            raise self._end()
        if message.error is not None and self._raise_errors:
            raise message.error
        return message

    def _end(self) -> BaseException:
        """Return what a loop ends with."""
        end = self._inbox.ended
        if self.closed or end is None or isinstance(end, SessionClosed):
            return StopIteration()
        return again(end)

    def orphan(self, end: MeshAPIError) -> None:
        """The same in a forked child."""
        self._lock = threading.Lock()  # the old ones may be held by a thread that does not exist here
        if self._errors is not None:
            queue.Queue.__init__(self._errors, maxsize=1)
        self._entry = []
        self.tell_end(end)

    def tell_end(self, end: MeshAPIError) -> None:
        """Take note that the session has ended."""
        self._tell(None if isinstance(end, SessionClosed) else again(end))

    def _tell(self, entry: MeshAPIError | None) -> None:
        with self._lock:
            if self._entry:
                return
            self._entry.append(entry)
            errors = self._errors
        if errors is not None:
            with contextlib.suppress(queue.Full):  # a user's own entry
                errors.put_nowait(entry)


def _is_unpacked() -> bool:
    """Tell whether ``__iter__`` was called to unpack: ``messages, errors = session.events()``, as in Go.

    The caller's byte code says so. Where frames cannot be looked at, nobody is warned.
    """
    try:
        caller: Any = sys._getframe(2)
        opcode = caller.f_code.co_code[caller.f_lasti]
    except (AttributeError, IndexError, ValueError):
        return False
    return opcode in _UNPACKING


def _unpacking_opcodes() -> frozenset[int]:
    import opcode  # noqa: PLC0415 - its table alone is wanted

    return frozenset(opcode.opmap[name] for name in ("UNPACK_SEQUENCE", "UNPACK_EX") if name in opcode.opmap)


_UNPACKING = _unpacking_opcodes()
