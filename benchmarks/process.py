"""Fresh processes for what is measured, in an environment of their own; none outlives its time."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["ROOT", "Stuck", "TurnFailed", "Worker", "python"]

ROOT = Path(__file__).parent.parent
_PATIENCE = 300  # seconds for one turn


class TurnFailed(Exception):
    """A client did not come to the end of its turn; the text is the last thing that its process said."""


class Stuck(TurnFailed):
    """It did not come to the end of its turn in time."""


class Worker:
    """A process in which one client takes turns, see ``worker``; a context, at whose end the process is gone.

    Args:
        env: Its environment.
        patience: Seconds for each turn.
    """

    def __init__(self, env: dict[str, str], patience: float = _PATIENCE) -> None:
        self._patience = patience
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker"],
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )

    def turn(self, asked: dict[str, Any]) -> dict[str, float]:
        """Have a turn taken; return its figures.

        Raises:
            Stuck: It took too long.
            TurnFailed: It has none for another reason. In both cases the process is gone.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        too_late = threading.Event()
        timer = threading.Timer(self._patience, self._give_up, [too_late])
        timer.start()
        try:
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except OSError:  # it ended before it was asked
            answer = ""
        finally:
            timer.cancel()
        if answer:
            figures: dict[str, float] = json.loads(answer)
            return figures
        if too_late.is_set():
            raise Stuck(f"it did not end within {self._patience:g} s")
        self._process.wait()
        self._said.seek(0)
        raise TurnFailed(self._said.read().strip().rsplit("\n", maxsplit=1)[-1])

    def _give_up(self, too_late: threading.Event) -> None:
        too_late.set()
        self._process.kill()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _exc: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._process.kill()
        with self._process:  # its pipes are closed, too
            self._said.close()


def python(arguments: list[str], env: dict[str, str], patience: float = _PATIENCE) -> str:
    """Run this Python, for so many seconds at most; return what it printed."""
    command = [sys.executable, *arguments]
    done = subprocess.run(  # noqa: S603
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=patience, check=True
    )
    return done.stdout
