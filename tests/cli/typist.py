"""Somebody at a terminal: runs a command in a pseudo-terminal that is its own, types, and looks at what it shows."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..faces import LIMIT

# Makes the terminal the controlling one, so that Ctrl-C and Ctrl-Z are signals, and heeds a hang-up also where the
# tests themselves run without a terminal (nohup), which programs inherit.
_LAUNCH = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGHUP, signal.SIG_DFL)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Typist:
    """A command and its terminal.

    Args:
        command: What to run.
        env: Its environment.
        cwd: Its folder.
        columns: The width of the terminal.
        stdout: Where results go, the terminal if nothing else is said.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        env: Mapping[str, str],
        cwd: Path,
        *,
        columns: int = 80,
        stdout: Any = None,
    ) -> None:
        self._ours, self._theirs = os.openpty()
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.before = self.settings()
        self.shown = ""
        self._seen = 0
        self.program = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, *map(str, command)],
            stdin=self._theirs,
            stdout=self._theirs if stdout is None else stdout,
            stderr=self._theirs,
            env=dict(env) | {"PYTHONIOENCODING": "utf-8"},
            cwd=cwd,
            start_new_session=True,
        )

    def __enter__(self) -> Typist:
        return self

    def __exit__(self, *_: object) -> None:
        if self.program.poll() is None:
            self.program.kill()
            self.program.wait(LIMIT)
        os.close(self._ours)
        os.close(self._theirs)

    def settings(self) -> list[Any]:
        """Return the settings of the terminal."""
        return termios.tcgetattr(self._theirs)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    def expect(self, pattern: str) -> re.Match[str]:
        """Wait until something is shown, behind what was waited for before."""
        end = time.monotonic() + LIMIT
        while (found := re.compile(pattern).search(self.shown, self._seen)) is None:
            assert time.monotonic() < end, f"{pattern!r} is not shown: {self.shown[self._seen :][-500:]!r}"
            assert self._read() or self.program.poll() is None or self._read(), f"it ended: {self.shown[-2000:]!r}"
        self._seen = found.end()
        return found

    def finish(self) -> int:
        """Wait for the end, and return the exit code."""
        end = time.monotonic() + LIMIT
        while self.program.poll() is None:
            assert time.monotonic() < end, f"it hangs: {self.shown[-500:]!r}"
            self._read()
        while self._read():
            pass
        return self.program.returncode

    def _read(self) -> bool:
        if not select.select([self._ours], [], [], 0.05)[0]:
            return False
        with contextlib.suppress(OSError):
            self.shown += os.read(self._ours, 65536).decode()
        return True

    @property
    def lines(self) -> list[str]:
        """What is left on the screen: lines without what was written over."""
        return [re.split(r"\r(?!$)", line.rstrip("\r"))[-1].rstrip() for line in self.shown.split("\n")]

    @property
    def pictures(self) -> list[str]:
        """What was drawn in the status line."""
        return [part.split("\n")[0].rstrip() for part in self.shown.split("\r") if part.strip()]
