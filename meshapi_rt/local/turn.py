"""What a responder is asked: the conversation so far and what the answer should be like."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from .items import Item, Sound

__all__ = ["Turn", "TurnItem"]


@attrs.frozen(kw_only=True)
class TurnItem:
    """One item of the conversation, as it was when it was looked at.

    Attributes:
        id: The item's id.
        type: ``message``, ``function_call``, ``function_call_output``, or one of the ``mcp`` types.
        role: ``user``, ``assistant`` or ``system`` for messages, else ``None``.
        status: ``completed``, ``incomplete`` or ``in_progress``.
        text: The text parts, joined by line ends; ``""`` where there are none.
        transcript: What the audio says, or ``None`` where nobody knows.
        name: Of a function call.
        arguments: Of a function call, a JSON string.
        call_id: Of a function call and of its output.
        output: Of a function call's output.
    """

    id: str
    type: str
    role: str | None = None
    status: str = "completed"
    text: str = ""
    transcript: str | None = None
    name: str | None = None
    arguments: str | None = None
    call_id: str | None = None
    output: str | None = None
    _sounds: tuple[Sound, ...] = attrs.field(default=(), repr=False)

    @classmethod
    def of(cls, item: Item) -> TurnItem:
        """Take a picture of an item."""
        texts = [part.fields["text"] for part in item.parts if part.fields.get("text") is not None]
        spoken = [part.fields["transcript"] for part in item.parts if part.fields.get("transcript")]
        sounds = tuple(part.sound.copy() for part in item.parts if part.sound is not None)
        known = {name: item.fields.get(name) for name in ("name", "arguments", "call_id", "output")}
        return cls(
            id=item.id,
            type=item.type,
            role=item.role,
            status=item.status,
            text="\n".join(texts),
            transcript=" ".join(spoken) if spoken else None,
            sounds=sounds,
            **known,
        )

    @property
    def audio(self) -> NDArray[np.int16] | None:
        """The audio: ``int16`` samples at 24 kHz, shape ``(frames,)``, or ``None`` where there is none."""
        if not self._sounds:
            return None
        return np.concatenate([sound.pcm() for sound in self._sounds])


@attrs.frozen(kw_only=True)
class Turn:
    """One answer to be given.

    Attributes:
        items: What the answer may look at, oldest first.
        instructions: The session's, or those of this response.
        tools: The client's tools, as in the session object.
        tool_choice: ``none``, ``auto``, ``required``, or a mapping that names one.
        modality: ``audio`` or ``text``.
        voice: A name, or a mapping with an id.
        metadata: What ``response.create`` said, or ``None``.
        out_of_band: The answer does not join the conversation.
        model: The upstream name of the model.
        session_id: The session.
        response_id: The response.
        cancelled: Set when nobody waits for the answer any more. A responder that waits should wait
            with ``turn.cancelled.wait(seconds)``.
    """

    items: Sequence[TurnItem]
    instructions: str
    tools: Sequence[Mapping[str, Any]]
    tool_choice: Any
    modality: str
    voice: Any
    metadata: Mapping[str, str] | None
    out_of_band: bool
    model: str
    session_id: str
    response_id: str
    cancelled: threading.Event = attrs.field(factory=threading.Event, repr=False, eq=False)

    @property
    def last_user_item(self) -> TurnItem | None:
        """What the user said last, or ``None``."""
        return next((item for item in reversed(self.items) if item.role == "user"), None)

    @property
    def text(self) -> str:
        """What the user said last, as text: typed, or the transcript of speech; ``""`` if neither."""
        item = self.last_user_item
        return "" if item is None else item.text or item.transcript or ""

    @property
    def audio(self) -> NDArray[np.int16] | None:
        """What the user said last, as ``int16`` samples at 24 kHz, or ``None``."""
        item = self.last_user_item
        return None if item is None else item.audio

    @property
    def outputs(self) -> Sequence[TurnItem]:
        """The function call outputs that came after everything else, oldest first."""
        found: list[TurnItem] = []
        for item in reversed(self.items):
            if item.type != "function_call_output":
                break
            found.insert(0, item)
        return found
