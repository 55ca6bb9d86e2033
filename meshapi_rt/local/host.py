"""What a session asks of the connection that carries it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import attrs
import numpy as np
from numpy.typing import NDArray

from .rendering import Renderer
from .response import ResponseBuilder
from .turn import Turn

__all__ = ["Host", "Running", "Timer", "TranscriptionJob"]


@attrs.define(eq=False)
class Running:
    """A response under way: the question to the responder, and the events that its answer becomes."""

    turn: Turn
    builder: ResponseBuilder
    renderer: Renderer


@attrs.frozen(eq=False)
class TranscriptionJob:
    """Speech that is to be written down.

    Attributes:
        item_id: The item that holds it.
        samples: The speech, 24 kHz.
        model: The transcription model that the session names, ``""`` for none.
        logprobs: The session asks for log probabilities.
    """

    item_id: str
    samples: NDArray[np.int16]
    model: str
    logprobs: bool


class Timer(Protocol):
    """Something that will happen."""

    def cancel(self) -> None:
        """Let it not happen."""


class Host(Protocol):
    """The session's surroundings. Everything here returns at once, and is called on the loop's thread."""

    def send(self, event: dict[str, Any]) -> None:
        """Send an event; those without ``event_id`` are given one."""

    def answer(self, running: Running) -> None:
        """Have the responder answer, on a thread of its own."""

    def transcribe(self, job: TranscriptionJob) -> None:
        """Have speech written down, on a thread of its own."""

    def call_later(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Do something later, unless the session has ended."""
