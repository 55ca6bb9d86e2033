"""Calls the user's callbacks, one after the other, on a thread of their own: a slow one holds up nothing else."""

from __future__ import annotations

import itertools
import logging
import queue
import threading
from collections.abc import Callable
from functools import partial

from ..errors import MeshAPIError
from ..message import RealtimeMessage
from .states import AgentState
from .utterances import Utterance

__all__ = ["Herald", "Listener"]

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


class Listener:
    """The user, who hears of some things and not of others; each call returns at once.

    Args:
        herald: Who tells.
        on_state: As given to the agent; likewise the others.
        on_transcript: Of utterances.
        on_error: Of what did not end the session.
        on_message: Of messages of the server.
    """

    def __init__(
        self,
        herald: Herald,
        *,
        on_state: Callable[[AgentState], object] | None,
        on_transcript: Callable[[Utterance], object] | None,
        on_error: Callable[[MeshAPIError], object] | None,
        on_message: Callable[[RealtimeMessage], object] | None,
    ) -> None:
        self._herald = herald
        self._on_state, self._on_transcript, self._on_error = on_state, on_transcript, on_error
        self._on_message = on_message

    def state(self, state: AgentState) -> None:
        """Tell what the agent does now."""
        if self._on_state is not None:
            self._herald.tell(partial(self._on_state, state))

    def utterance(self, utterance: Utterance) -> None:
        """Tell what somebody says."""
        if self._on_transcript is not None:
            self._herald.tell(partial(self._on_transcript, utterance))

    def error(self, error: MeshAPIError) -> bool:
        """Tell what went wrong; false: nobody takes it."""
        if self._on_error is None:
            return False
        self._herald.tell(partial(self._on_error, error))
        return True

    def message(self, message: RealtimeMessage) -> None:
        """Tell what the server says."""
        if self._on_message is not None:
            self._herald.tell(partial(self._on_message, message))
