"""Deadlines that several steps share, and waits that a caller can cancel."""

from __future__ import annotations

import _thread
import math
import queue
import sys
import threading
import time
from typing import TypeAlias, TypeVar

from .errors import Cancelled, ConfigurationError

__all__ = ["Baton", "Batons", "Deadline", "Patience", "Wait", "begun", "patience", "seconds", "sleep_on", "taken"]

_T = TypeVar("_T")

# A lock or a poll that Ctrl-C cannot interrupt is waited for in slices. POSIX interrupts both, but not where the signal
# comes after CPython has looked for one and before the system waits; then it is noticed with the next slice.
_UNINTERRUPTIBLE = 0.1 if sys.platform == "win32" else 1.0
# A cancel event is looked at this often; design.md section 4 promises 50 ms.
_CANCEL_SLICE = 0.02
_LONGEST = 1e6  # seconds; locks, poll and select refuse much more with an OverflowError


def seconds(name: str, value: float | None) -> float | None:
    """Check a duration that a caller gave, in seconds; ``None`` means no limit."""
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or math.isnan(value) or value < 0:
        raise ConfigurationError(f"{name} must be a number of seconds, 0 or more, or None; not {value!r}")
    return float(value)


class Deadline:
    """A moment on the monotonic clock; ``None`` seconds is never."""

    __slots__ = ("_at",)

    def __init__(self, after: float | None) -> None:
        self._at = math.inf if after is None else time.monotonic() + min(after, _LONGEST)

    def left(self) -> float:
        """Return the seconds left, 0 when it has passed."""
        return max(0.0, self._at - time.monotonic())


class Wait:
    """One call's right to wait: until its deadline passes or its ``cancel`` event is set.

    A loop looks for what it waits for, then asks :meth:`slice` how long it may sleep before it looks again.
    """

    __slots__ = ("_began", "_cancel", "timeout")

    def __init__(self, timeout: float | None, cancel: threading.Event | None = None) -> None:
        if timeout is not None and not (type(timeout) is float and timeout >= 0):
            timeout = seconds("timeout", timeout)
        self.timeout = timeout
        self._began = time.monotonic()  # and no more: most calls find what they want without waiting
        self._cancel = cancel

    def again(self) -> Wait:
        """Return a wait of the same length that begins now."""
        return Wait(self.timeout, self._cancel)

    def within(self, seconds: float) -> Wait:
        """Return a wait for a step that may take *seconds*, and no longer than this one."""
        return Wait(min(seconds, self.left()), self._cancel)

    def left(self) -> float:
        """Return the seconds until the deadline; infinite without one."""
        if self.timeout is None:
            return math.inf
        return max(0.0, self._began + min(self.timeout, _LONGEST) - time.monotonic())

    def slice(self) -> float:
        """Return how long to sleep before looking again; 0 when time is up.

        Raises:
            Cancelled: The cancel event is set.
        """
        if self._cancel is None and self.timeout is None:  # mostly
            return _UNINTERRUPTIBLE
        if self._cancel is not None and self._cancel.is_set():
            raise Cancelled("the cancel event was set while waiting")
        return min(self.left(), _UNINTERRUPTIBLE if self._cancel is None else _CANCEL_SLICE)


Patience: TypeAlias = "Wait | float | None"
"""A wait under way, which others may share; or the seconds of one that begins when there is something to wait for."""


def patience(given: Patience) -> Patience:
    """Check seconds that a caller gave. (A float of 0 or more needs no check: who is in a hurry looks first.)"""
    return given if isinstance(given, Wait) else seconds("timeout", given)


def begun(given: Patience) -> Wait:
    """Return the wait, or one that begins now."""
    return given if isinstance(given, Wait) else Wait(given)


Baton: TypeAlias = _thread.LockType


class Batons:
    """Threads that wait for news, the longest first, each on a baton: a locked lock, which whoever has news releases.

    Who waits takes a baton, then looks once more, and only then sleeps on it. No lock is shared, so nobody who is
    woken runs into one: a third less per wake than a ``threading.Condition``, and a kilobyte less of memory.

    Attributes:
        out: Those that are taken. To be looked at; what is done with it here is atomic.
    """

    __slots__ = ("out",)

    def __init__(self) -> None:
        self.out: list[Baton] = []

    def take(self) -> Baton:
        """Begin to wait: from now on :meth:`wake` releases the baton that this returns."""
        baton = _thread.allocate_lock()
        baton.acquire()
        self.out.append(baton)
        return baton

    def give_back(self, baton: Baton) -> bool:
        """Stop waiting; tell whether the baton had been released meanwhile, so that news may be left to others."""
        try:
            self.out.remove(baton)
        except ValueError:
            return True
        return False

    def wake(self, count: int = sys.maxsize) -> None:
        """Release so many batons, or all that are out."""
        try:
            while count:
                self.out.pop(0).release()
                count -= 1
        except IndexError:  # that was the last
            pass


def sleep_on(baton: Baton, longest: float | None) -> bool:
    """Wait for a baton; tell whether it was released within so many seconds."""
    return baton.acquire(timeout=-1 if longest is None else longest)


def taken(source: queue.SimpleQueue[_T], timeout: float | None) -> _T:
    """Take the next of a queue; CPython 3.10 may wait for ever in ``get`` where time runs out at once.

    Raises:
        queue.Empty: There was none within *timeout* seconds.
    """
    try:
        return source.get_nowait()
    except queue.Empty:
        if timeout is not None and timeout <= 0:
            raise
    return source.get(timeout=timeout)
