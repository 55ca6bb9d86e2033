"""Standard input without waiting for it: single keys or lines of a terminal, or whatever a pipe brings.

A terminal that gives single keys is as it was before on every way out of the ``with`` block, and while the program
is suspended.
"""

from __future__ import annotations

import abc
import codecs
import os
import queue
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

from ...waiting import taken

__all__ = ["Keyboard", "is_terminal", "keyboard"]

_SIZE = 4096  # bytes at a time
_POLL = 0.01  # seconds between two looks at a console that cannot be waited for


class Keyboard:
    """Standard input that nobody types on; the base of the others.

    Threads:
        One, the main thread.

    Attributes:
        ended: Nothing more comes.
    """

    def __init__(self) -> None:
        self.ended = True

    def read(self, timeout: float) -> str:
        """Return what has been typed since the last call, as soon as there is something; nothing after *timeout*."""
        time.sleep(timeout)
        return ""

    def __enter__(self) -> Keyboard:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _Stream(Keyboard, abc.ABC):
    """Bytes that become text."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = False
        encoding = getattr(sys.stdin, "encoding", None) or "utf-8"
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="replace")

    def read(self, timeout: float) -> str:
        data = b"" if self.ended else self._bytes(timeout)
        if self.ended:
            return super().read(timeout)
        if data is None:
            return ""
        self.ended = not data
        return self._decoder.decode(data, final=not data)

    @abc.abstractmethod
    def _bytes(self, timeout: float) -> bytes | None:
        """Return what there is within *timeout*; ``None`` for nothing yet, ``b""`` at the end."""


if sys.platform == "win32":
    import msvcrt

    def _in_foreground(_fd: int) -> bool:
        return True

    class _Lines(_Stream):
        """Lines of a console or a pipe, which Windows cannot wait for with a limit.

        Threads:
            ``meshapi-rt-stdin`` reads; a daemon that ends with the input or the process.
        """

        def __init__(self) -> None:
            super().__init__()
            self._read: queue.SimpleQueue[bytes] = queue.SimpleQueue()
            threading.Thread(target=self._run, name="meshapi-rt-stdin", daemon=True).start()

        def _run(self) -> None:
            # Not the buffer above it: that holds a lock while it waits, which the interpreter wants when it exits.
            raw: Any = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
            data = b"?"
            while data:
                try:
                    data = raw.read(_SIZE) or b""
                except OSError:
                    data = b""
                self._read.put(data)

        def _bytes(self, timeout: float) -> bytes | None:
            try:
                return taken(self._read, timeout)
            except queue.Empty:
                return None

    class _SingleKeys(Keyboard):
        """A console, key by key; it has no settings that would have to be set back."""

        def __init__(self) -> None:
            super().__init__()
            self.ended = False

        def read(self, timeout: float) -> str:
            deadline = time.monotonic() + timeout
            typed = ""
            while not typed and time.monotonic() < deadline:
                while msvcrt.kbhit():
                    key = msvcrt.getwch()
                    if key in ("\0", "\xe0"):  # an arrow or a function key: the next one says which
                        msvcrt.getwch()
                    else:
                        typed += key
                if not typed:
                    time.sleep(_POLL)
            return typed

else:
    import select
    import termios

    def _in_foreground(fd: int) -> bool:
        try:
            return os.tcgetpgrp(fd) == os.getpgrp()
        except OSError:  # not the terminal of this session: there is no background either
            return True

    class _Lines(_Stream):
        """Lines of a terminal, or what a pipe or a file brings."""

        def __init__(self) -> None:
            super().__init__()
            self._fd = sys.stdin.fileno()

        def _bytes(self, timeout: float) -> bytes | None:
            if not select.select([self._fd], [], [], timeout)[0]:
                return None
            try:
                return os.read(self._fd, _SIZE)
            except OSError:  # the terminal is gone
                return b""

    class _SingleKeys(_Lines):
        """A terminal, key by key and without echo; Ctrl-C and Ctrl-Z are signals as ever."""

        def __enter__(self) -> Keyboard:
            self._before = termios.tcgetattr(self._fd)
            self._handlers: dict[int, Any] = {}
            if threading.current_thread() is threading.main_thread():
                for number, handler in ((signal.SIGTSTP, self._suspend), (signal.SIGCONT, self._resume)):
                    self._handlers[number] = signal.signal(number, handler)
            self._set(single=True)
            return self

        def __exit__(self, *_: object) -> None:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            self._set(single=False)

        def _set(self, *, single: bool) -> None:
            settings = list(self._before)
            if single:
                settings[3] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
                settings[6] = [*settings[6]]
                settings[6][termios.VMIN], settings[6][termios.VTIME] = 1, 0
            try:
                termios.tcsetattr(self._fd, termios.TCSANOW, settings)
            except (termios.error, OSError):  # the terminal is gone: there is nothing to set
                self.ended = True

        def _suspend(self, number: int, _frame: FrameType | None) -> None:
            """Give the terminal back, and stop as everybody does."""
            self._set(single=False)
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
            signal.signal(number, self._suspend)  # here it goes on
            self._resume(number, None)  # a process that no shell watches did not stop, and is not told to go on

        def _resume(self, _number: int, _frame: FrameType | None) -> None:
            if _in_foreground(self._fd):  # else the shell has the terminal; it tells when that changes
                self._set(single=True)


def is_terminal() -> bool:
    """Tell whether somebody can type: standard input is a terminal, and this is no job in the background of one."""
    return sys.stdin is not None and sys.stdin.isatty() and _in_foreground(sys.stdin.fileno())


def keyboard(*, single: bool) -> Keyboard:
    """Open standard input.

    Args:
        single: Key by key, where it is a terminal; else lines.
    """
    if sys.stdin is None or sys.stdin.closed:
        return Keyboard()
    if sys.stdin.isatty() and not is_terminal():
        return Keyboard()
    try:
        return _SingleKeys() if single else _Lines()
    except (OSError, ValueError, AttributeError):  # a replacement without a file behind it
        return Keyboard()
