"""Functions that are called with messages: for those who would rather not write the loop."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

import attrs

from .errors import ConfigurationError
from .message import RealtimeMessage

__all__ = ["EVERY", "Handler", "Handlers"]

Handler = Callable[[RealtimeMessage], object]
_Given = TypeVar("_Given", bound=Handler)

EVERY = "*"  # in place of an event type: every message, binary frames and frames without an event too


@attrs.frozen(eq=False)
class _Entry:
    """One registration; equal to itself alone, so that a function that is registered twice is called twice."""

    kind: str
    call: Handler

    def takes(self, message: RealtimeMessage) -> bool:
        return self.kind in (EVERY, message.type)


class Handlers:
    """Who is called with what, in order of registration.

    Threads:
        Any thread adds, removes and dispatches. The functions run on the thread that dispatches.
    """

    def __init__(self) -> None:
        # Guards the replacing of _entries; the tuple itself never changes. Never held while a function runs.
        self._lock = threading.Lock()
        self._entries: tuple[_Entry, ...] = ()

    def add(self, kind: str, call: Handler) -> None:
        """Register a function behind those that there are.

        Raises:
            ConfigurationError: *kind* is no event type, or *call* nothing that can be called here.
        """
        _check(kind)
        if not callable(call):
            raise ConfigurationError(f"a handler must be a function that takes a message, not {call!r}")
        if inspect.iscoroutinefunction(call):
            raise ConfigurationError(f"a handler is called on the thread of run(), so it must not be async: {call!r}")
        with self._lock:
            self._entries = (*self._entries, _Entry(kind, call))

    def adder(self, kind: str) -> Callable[[_Given], _Given]:
        """Return a decorator that registers.

        Raises:
            ConfigurationError: *kind* is no event type; here already, because ``@session.on`` is easily written.
        """
        _check(kind)

        def register(call: _Given) -> _Given:
            self.add(kind, call)
            return call

        return register

    def remove(self, kind: str, call: Handler) -> None:
        """Take out the oldest registration of a function for *kind*.

        Raises:
            ConfigurationError: There is none.
        """
        _check(kind)
        with self._lock:
            for index, entry in enumerate(self._entries):
                if entry.kind == kind and entry.call == call:
                    self._entries = self._entries[:index] + self._entries[index + 1 :]
                    return
        raise ConfigurationError(f"{call!r} is not registered for {kind!r}")

    def dispatch(self, messages: Iterable[RealtimeMessage]) -> None:
        """Call the functions with each message, until there are no more.

        One that is removed meanwhile is not called any more; one that is added is called from the next message on.

        Raises:
            RealtimeError: An error event came that no function takes.
        """
        for message in messages:
            taken = False
            for entry in self._entries:  # as they are now
                if entry.takes(message) and entry in self._entries:
                    taken = True
                    entry.call(message)
            if message.error is not None and not taken:
                raise message.error


def _check(kind: object) -> None:
    if not isinstance(kind, str) or not kind:
        raise ConfigurationError(f'a handler is for an event type such as "response.done", or for "*"; not {kind!r}')
