"""Calls the user's callbacks, one after the other, on a thread of their own: a slow one holds up nothing else."""

from __future__ import annotations

import itertools
import logging
import queue
import threading
from collections.abc import Callable

__all__ = ["Herald"]

log = logging.getLogger("meshapi_rt")

_numbers = itertools.count(1)


class Herald:
    """Tells what happened, in order.

    Threads:
        ``meshapi-rt-agent-herald-N`` calls; it ends once it has told everything that came before :meth:`close`. Any
        thread may tell and close.
    """

    def __init__(self) -> None:
        self._news: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"meshapi-rt-agent-herald-{next(_numbers)}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def tell(self, call: Callable[[], object]) -> None:
        """Have something called; never waits."""
        self._news.put(call)

    def close(self, timeout: float) -> None:
        """Tell what is left, and end; a callback that hangs keeps its thread and nothing else."""
        self._news.put(None)
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _run(self) -> None:
        while (call := self._news.get()) is not None:
            _call(call)


def _call(call: Callable[[], object]) -> None:
    try:
        call()
    except Exception:
        log.exception("a callback of a voice agent failed")
