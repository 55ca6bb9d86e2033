"""From what a responder yields to what goes on the wire: words, tones, and uneven pieces of audio."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

from .plan import ResponsePlan
from .speech import describe, speak_word
from .values import Audio, Fail, Piece, Text, ToolCall

__all__ = ["Rendered", "Renderer", "Spoken", "Written"]

# Bytes per audio delta. Uneven, and mostly odd: clients may rely on neither (protocol.md, section 5).
_DELTA_BYTES = (3001, 4800, 7777, 1203, 9601, 2400, 5555, 14399, 333)


@attrs.frozen
class Written:
    """A delta of text, or of the transcript where the answer is spoken."""

    delta: str


@attrs.frozen
class Spoken:
    """A delta of audio, in the wire format."""

    delta: bytes


Rendered: TypeAlias = Written | Spoken | ToolCall | Fail


class Renderer:
    """Renders the pieces of one response.

    Args:
        plan: What the response shall be.
        number: Which response of the session it is; it settles where the sizes of the deltas begin.
    """

    def __init__(self, plan: ResponsePlan, number: int) -> None:
        self._plan = plan
        self._format = plan.wire_format
        start = number % len(_DELTA_BYTES)
        self._sizes = itertools.cycle(_DELTA_BYTES[start:] + _DELTA_BYTES[:start])

    def render(self, piece: Piece) -> Iterator[Rendered]:
        """Render one piece.

        Raises:
            TypeError: It is nothing that a responder may yield.
        """
        if isinstance(piece, (ToolCall, Fail)):
            yield piece
        elif isinstance(piece, Audio):
            transcript = describe(piece.pcm) if piece.transcript is None else piece.transcript
            yield from self._words(transcript, piece.pcm)
        elif isinstance(piece, (str, Text)):
            text = piece if isinstance(piece, str) else piece.text
            yield from self._words(text, None)
        else:
            raise TypeError(f"a responder yields str, Text, Audio, ToolCall or Fail, not {type(piece).__name__}")

    def _words(self, text: str, samples: NDArray[np.int16] | None) -> Iterator[Rendered]:
        # A word goes with the space before it, as a model's tokens do.
        words = re.findall(r"\s*\S+|\s+$", text)
        tones = self._plan.modality == "audio" and samples is None
        for word in words:
            yield Written(word)
            if tones and word.strip():
                yield from self._deltas(speak_word(word.strip(), self._plan.speed))
        if samples is not None and self._plan.modality == "audio":
            yield from self._deltas(samples)

    def _deltas(self, samples: NDArray[np.int16]) -> Iterator[Spoken]:
        data = self._format.from_pcm(samples)
        at = 0
        while at < len(data):
            size = next(self._sizes)
            yield Spoken(data[at : at + size])
            at += size
