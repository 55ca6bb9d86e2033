"""What a responder yields: text, audio, function calls, or a failure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

import attrs
import numpy as np
from numpy.typing import NDArray

from .. import pcm

__all__ = ["Audio", "Fail", "Piece", "Text", "ToolCall"]


@attrs.frozen
class Text:
    """Text of the answer; a plain ``str`` does the same.

    Where the client wants audio it is spoken as a quiet tone per word, and this is the transcript.
    """

    text: str = attrs.field(validator=attrs.validators.instance_of(str))


def _to_samples(audio: pcm.AudioLike) -> NDArray[np.int16]:
    return pcm.as_int16(audio)


@attrs.frozen(eq=False)
class Audio:
    """Speech of the answer.

    Where the client wants text, the transcript is the answer.

    Attributes:
        pcm: Mono at 24 kHz: PCM16 bytes, an ``int16`` array, or floats in [-1, 1].
        transcript: What is said, or ``None`` for a note of the length.
    """

    pcm: NDArray[np.int16] = attrs.field(converter=_to_samples)
    transcript: str | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.instance_of(str))
    )


def _to_json(arguments: str | Mapping[str, Any]) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


@attrs.frozen
class ToolCall:
    """A call of one of the client's functions. Several of them in one answer are parallel calls.

    Attributes:
        name: The function.
        arguments: A JSON string, sent as it is, or a mapping.
        call_id: At most 32 characters; ``None`` has one made.
    """

    name: str = attrs.field(validator=attrs.validators.instance_of(str))
    arguments: str = attrs.field(default="{}", converter=_to_json)
    call_id: str | None = attrs.field(default=None)

    @call_id.validator
    def _check_call_id(self, _: object, value: object) -> None:
        if value is not None and not (isinstance(value, str) and 0 < len(value) <= 32):
            raise ValueError("call_id takes 1 to 32 characters, or None to have one made")  # protocol.md 1.5


@attrs.frozen
class Fail:
    """The end of the answer: ``response.done`` says ``failed``, with this error. The session lives on."""

    code: str = attrs.field(default="server_error", validator=attrs.validators.instance_of(str))
    message: str = attrs.field(default="The responder failed on purpose.", validator=attrs.validators.instance_of(str))
    type: str = attrs.field(default="server_error", validator=attrs.validators.instance_of(str))


Piece: TypeAlias = str | Text | Audio | ToolCall | Fail
"""One thing that a responder yields."""
