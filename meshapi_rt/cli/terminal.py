"""What a user of the shell sees: results on stdout, everything else on stderr, a meter on a terminal."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import shutil
import sys
import time
import unicodedata
from typing import TextIO

from ..errors import MeshAPIError

__all__ = ["Meter", "OutputGone", "Screen", "bar", "cells", "figure", "json_line", "one_line", "printable", "tail"]

FLOOR_DBFS = -60.0  # what a meter shows as nothing
_METER_CELLS = 20
_REDRAW = 0.07  # seconds between two pictures of the meter
_PLAIN_EVERY = 10.0  # seconds of audio between two lines where there is no terminal
_NARROW = 64  # columns that the whole line takes

# What a server sends may hold escape sequences, which a terminal would obey.
_CONTROL = {code: "?" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def printable(text: str) -> str:
    """Return text without control characters, but with its line ends and tabs."""
    return text.replace("\r\n", "\n").translate(_CONTROL)


def one_line(text: str) -> str:
    """Return text as one printable line."""
    return printable(" ".join(text.split()))


def json_line(text: str) -> str:
    r"""Return the JSON text of a frame as one line of ASCII.

    Line ends can only stand between its tokens, and characters beyond ASCII only inside of its strings, where
    ``\uXXXX`` says the same.
    """
    flat = text.replace("\r", " ").replace("\n", " ")
    if flat.isascii():
        return flat
    return re.sub(r"[^\x00-\x7f]", lambda match: json.dumps(match.group())[1:-1], flat)


def cells(text: str) -> int:
    """Return how many columns of a terminal printable text takes."""
    if text.isascii():
        return len(text)
    return sum(_width(character) for character in text)


def _width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) == "Cf":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def tail(text: str, columns: int) -> str:
    """Return text that is at most so wide: the end of what is wider."""
    if cells(text) <= columns:
        return text
    left, start = columns - 3, len(text)
    while start and left >= _width(text[start - 1]):
        start -= 1
        left -= _width(text[start])
    return ("..." + text[start:])[: max(0, columns)]


def _head(text: str, columns: int) -> str:
    while cells(text) > columns:
        text = text[:-1]
    return text


def bar(level: float, width: int) -> str:
    """Draw a level in dBFS."""
    loud = round(width * (1 - min(0.0, max(level, FLOOR_DBFS)) / FLOOR_DBFS))
    return f"|{'#' * loud:<{width}}|"


def figure(level: float) -> str:
    """Write a level in dBFS, in nine characters."""
    return f"{level:4.0f} dBFS" if level > FLOOR_DBFS else "  silence"


class OutputGone(Exception):
    """Nobody reads stdout any more: `head` has seen enough."""


class Screen:
    """The two streams of a command. Neither fails for characters that its encoding lacks.

    Args:
        out: For results; ``None`` where there is none.
        err: For progress and failures, which are dropped when nobody can read them.
    """

    def __init__(self, out: TextIO | None, err: TextIO | None) -> None:
        self._out = out
        self._err = err
        self._status = 0  # the width of the line that the next one replaces
        for stream in (out, err):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")

    @property
    def live(self) -> bool:
        """Whether a line can be drawn again and again: stderr is a terminal."""
        return self._err is not None and self._err.isatty() and os.environ.get("TERM") != "dumb"

    @property
    def styled(self) -> bool:
        """Whether results may be bold or dim: stdout is a terminal that can, and nobody objects (NO_COLOR)."""
        plain = os.environ.get("TERM") == "dumb" or os.environ.get("NO_COLOR")
        if sys.platform == "win32" and "WT_SESSION" not in os.environ:
            return False  # older consoles show escape sequences as they are
        return self.out_is_terminal and not plain

    @property
    def out_is_terminal(self) -> bool:
        """Whether results are read by a person."""
        return self._out is not None and self._out.isatty()

    @property
    def columns(self) -> int:
        """The width of that terminal."""
        columns = 0
        if self._err is not None:
            with contextlib.suppress(OSError, ValueError):
                columns = os.get_terminal_size(self._err.fileno()).columns
        return columns or shutil.get_terminal_size().columns  # 0: a terminal that does not know

    def out(self, text: str) -> None:
        """Write *text*, as it is, to stdout.

        Raises:
            OutputGone: Nobody reads it.
            MeshAPIError: It cannot be written, for example because the disk is full.
        """
        if self.out_is_terminal:
            self.end_status()
        self._write_out(text)

    def flush(self) -> None:
        """Bring out what others have printed; nobody minds if that fails."""
        with contextlib.suppress(OutputGone, MeshAPIError):
            self._write_out("")

    def _write_out(self, text: str) -> None:
        if self._out is None:
            return
        try:
            self._out.write(text)
            self._out.flush()
        except OSError as exc:
            out, self._out = self._out, None
            _let_go(out)
            if exc.errno in (errno.EPIPE, errno.EINVAL):  # EINVAL: the same on Windows
                raise OutputGone from None
            raise MeshAPIError(f"cannot write to standard output: {exc.strerror}") from exc

    def note(self, line: str) -> None:
        """Write a line to stderr."""
        self.end_status()
        self._write_err(line + "\n")

    def status(self, line: str) -> None:
        """Show a line on the terminal in place of the one before; without a terminal do nothing."""
        if self.live:
            line = _head(line, self.columns - 1)
            width, before = cells(line), self._status
            self._status = max(width, before)  # first: a signal may end the writing in the middle
            self._write_err("\r" + line + " " * (before - width))
            self._status = width

    def wipe_status(self) -> None:
        """Take the status line away; what comes next is written in its place."""
        if self._status:
            self._write_err("\r" + " " * self._status + "\r")
            self._status = 0

    def end_status(self) -> None:
        """Leave the last status line as it is, and go on below it."""
        if self._status:
            self._status = 0
            self._write_err("\n")

    def _write_err(self, text: str) -> None:
        if self._err is None:
            return
        try:
            self._err.write(text)
            self._err.flush()
        except OSError:
            err, self._err = self._err, None
            _let_go(err)


def _let_go(stream: TextIO) -> None:
    """Point a stream that cannot be written to at nothing, else Python complains about it when it exits."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class Meter:
    """How much of a recording is sent and how loud it is: live on a terminal, now and then a line elsewhere.

    Args:
        screen: Where to show it.
        total: Seconds of the whole recording.
    """

    def __init__(self, screen: Screen, total: float) -> None:
        self._screen = screen
        self._total = total
        self._drawn_at = 0.0
        self._told = 0.0  # seconds of audio in the last plain line

    def show(self, sent: float, level: float) -> None:
        """Show *sent* seconds of the total, and the *level* in dBFS of what was sent last."""
        done = sent >= self._total
        if self._screen.live:
            now = time.monotonic()
            if done or now - self._drawn_at >= _REDRAW:
                self._drawn_at = now
                self._screen.status(self._picture(sent, level))
        elif sent - self._told >= _PLAIN_EVERY and not done:
            self._told = sent
            self._screen.note(f"sent {sent:.0f} of {self._total:.0f} s")

    def _picture(self, sent: float, level: float) -> str:
        text = f"sending {sent:5.1f} of {self._total:.1f} s"
        if self._screen.columns < _NARROW:
            return text
        return f"{text}  {bar(level, _METER_CELLS)} {figure(level)}"
